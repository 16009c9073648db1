//! Japanese text by ISO 2022 escapes, as far as the usual decoder does not read it: JIS X 0212 (ISO IR159), and
//! half-width katakana of JIS X 0201 (ISO IR14) by escape or as bytes from 0xA1 on.

/// The same text in EUC-JP, which has all of these sets; none when the escapes or bytes are not of these sets.
pub(super) fn to_euc(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 2);
    let mut set = Set::Ascii;
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        if byte == 0x1B {
            let (next, length) = escape(rest)?;
            set = next;
            rest = &rest[length..];
            continue;
        }
        // Line ends and other controls are themselves in every set.
        if byte < 0x20 {
            out.push(byte);
            rest = &rest[1..];
            continue;
        }
        let length = match set {
            Set::Ascii if byte.is_ascii() => {
                out.push(byte);
                1
            }
            Set::Ascii | Set::Katakana => {
                let kana = byte | 0x80;
                if !(0xA1..=0xDF).contains(&kana) {
                    return None;
                }
                out.extend([0x8E, kana]);
                1
            }
            Set::Kanji | Set::Supplement => {
                let second = *rest.get(1)?;
                if !(0x21..=0x7E).contains(&byte) || !(0x21..=0x7E).contains(&second) {
                    return None;
                }
                if matches!(set, Set::Supplement) {
                    out.push(0x8F);
                }
                out.extend([byte | 0x80, second | 0x80]);
                2
            }
        };
        rest = &rest[length..];
    }
    Some(out)
}

#[derive(Clone, Copy)]
enum Set {
    Ascii,
    /// JIS X 0201, the half-width half.
    Katakana,
    /// JIS X 0208.
    Kanji,
    /// JIS X 0212.
    Supplement,
}

fn escape(bytes: &[u8]) -> Option<(Set, usize)> {
    Some(match bytes {
        [0x1B, b'(', b'B' | b'J', ..] => (Set::Ascii, 3),
        [0x1B, b'(', b'I', ..] | [0x1B, b')', b'I', ..] => (Set::Katakana, 3),
        [0x1B, b'$', b'@' | b'B', ..] => (Set::Kanji, 3),
        [0x1B, b'$', b'(', b'D', ..] => (Set::Supplement, 4),
        _ => return None,
    })
}
