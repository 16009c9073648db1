//! A made-up laboratory result of any size that is valid against 2.5.1.

/// A result of at least `size` bytes.
pub(crate) fn result(size: usize) -> Vec<u8> {
    let mut text = "MSH|^~\\&|LAB|NORTH|ENGINE|HUB|20260314093000||ORU^R01^ORU_R01|E000042|P|2.5.1\r\
        PID|1||70001^^^NORTH&1.2.3&ISO^MR~99^^^SSA^SS||Sample^Alex^Q||19800229|M|||1 Road^^Town^^12345||555-0100\r\
        PV1|1|I|WARD1^101^A|||||1234^Osei^Ama||||||||||||4711\rORC|RE|P1|F1||CM\r\
        OBR|1|P1|F1|24323-8^Comprehensive panel^LN|||20260314080000|||||||||1234^Osei^Ama\r"
        .to_owned();
    let mut number = 0;
    while text.len() < size {
        number += 1;
        text.push_str(&format!(
            "OBX|{}|NM|2823-3^Potassium^LN||4.{number}|mmol/L|3.5-5.1|N|||F|||20260314090000\r",
            number % 9_999 + 1
        ));
    }
    text.into_bytes()
}
