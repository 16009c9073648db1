//! Messages of the made-up hospital, by what they tell.

/// Minute of registration in every message: contents must not depend on the clock.
const AT: &str = "20260301101500";

/// ADT^A04: a patient registers.
pub fn registration(control: &str, patient: u32) -> String {
    format!(
        "MSH|^~\\&|REG|NORTHGATE|ORDERLY|NORTHGATE|{AT}||ADT^A04^ADT_A01|{control}|P|2.4\rEVN|A04|{AT}\r{}{}",
        patient_segment(patient),
        visit_segment()
    )
}

/// ORM^O01: a doctor orders `test` under the placer number `order`.
pub fn order(control: &str, patient: u32, order: &str, test: &str) -> String {
    format!(
        "MSH|^~\\&|OE|NORTHGATE|ORDERLY|NORTHGATE|{AT}||ORM^O01|{control}|P|2.4\r{}{}\
         ORC|NW|{order}^OE|||||^^^{AT}^^R||{AT}|||2001^Lind^Anna\r\
         OBR|1|{order}^OE||{test}^{test}^L|||{AT}|||||||||2001^Lind^Anna\r",
        patient_segment(patient),
        visit_segment()
    )
}

/// ORU^R01: a final potassium result for the placer number `order`.
pub fn result(control: &str, patient: u32, order: &str, potassium: &str) -> String {
    format!(
        "MSH|^~\\&|LIS|NORTHGATE|ORDERLY|NORTHGATE|{AT}||ORU^R01^ORU_R01|{control}|P|2.5.1\r{}{}\
         ORC|RE|{order}^OE|L{order}^LIS\r\
         OBR|1|{order}^OE|L{order}^LIS|K^Potassium^L|||{AT}|||||||||2001^Lind^Anna||||||{AT}|||F\r\
         OBX|1|NM|2823-3^Potassium^LN||{potassium}|mmol/L|3.5-5.1|N|||F|||{AT}\r",
        patient_segment(patient),
        visit_segment()
    )
}

/// The laboratory's word that it took an order: ORR^O02 for an ORM, ORL^O22 for an OML.
pub fn confirmation(order: &orderly_hl7::Message) -> String {
    let kind = if order.text("MSH-9.1") == "OML" { "ORL^O22^ORL_O22" } else { "ORR^O02^ORR_O02" };
    let (control, version) = (order.text("MSH-10"), order.text("MSH-12"));
    let placer = order.text("ORC-2.1");
    format!(
        "MSH|^~\\&|LIS|NORTHGATE|ORDERLY|NORTHGATE|{AT}||{kind}|C{control}|P|{version}\rMSA|AA|{control}\r\
         PID|1||{}^^^NORTH^MR||{}^{}\rORC|OK|{placer}^{}|L{placer}^LIS\r",
        order.text("PID-3.1"),
        order.text("PID-5.1"),
        order.text("PID-5.2"),
        order.text("ORC-2.2"),
    )
}

fn patient_segment(patient: u32) -> String {
    format!("PID|1||{patient}^^^NORTH^MR||Aldermark^Testa||19800101|F|||1 Sample Street^^Northgate\r")
}

fn visit_segment() -> &'static str {
    "PV1|1|O|4A^401^1||||2001^Lind^Anna\r"
}
