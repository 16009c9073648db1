//! Mutations of known inputs from a fixed seed, for the run without libFuzzer.

/// Pieces that get far into the readers.
const PIECES: [&[u8]; 40] = [
    b"MSH|^~\\&|",
    b"\rPID|",
    b"\rOBX|",
    b"\rFHS|",
    b"\rBHS|^~\\&",
    b"\rBTS|2",
    b"\rFTS|1",
    b"\rZZZ|",
    b"\rADD|",
    b"|",
    b"^",
    b"~",
    b"\\",
    b"&",
    b"#",
    b"\"\"",
    b"\r",
    b"\n",
    b"\r\n",
    b"\x0B",
    b"\x1C",
    b"\x1C\r",
    b"\0",
    b"\\F\\",
    b"\\X0D\\",
    b"\\.br\\",
    b"\\C2842\\",
    b"ADT^A01",
    b"ORU^R01^ORU_R01",
    b"2.5.1",
    b"\xEF\xBB\xBF",
    b"\x1B$B;3\x1B(B",
    b"UNICODE UTF-8",
    b"BIG-5",
    b"\xA4\x5C",
    b"\xFF",
    b"<PID.3>",
    b"</",
    b"<![CDATA[",
    b"&#10;",
];

/// A small, fast, repeatable source of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One below `count`; 0 when there is none.
    pub fn below(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { (self.draw() % count as u64) as usize }
    }
}

/// One of the seeds, changed in a few places, at most `bytes_max` long.
pub fn mutation(numbers: &mut Numbers, seeds: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut bytes = seeds.get(numbers.below(seeds.len())).cloned().unwrap_or_default();
    bytes.truncate(bytes_max);
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len() + 1);
        let end = (at + numbers.below(32)).min(bytes.len());
        match numbers.below(7) {
            0 => {
                let piece = PIECES[numbers.below(PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            1 => {
                let piece = PIECES[numbers.below(PIECES.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                for _ in 0..numbers.below(4) {
                    bytes.splice(at..at, copy.iter().copied());
                }
            }
            4 if at < bytes.len() => bytes[at] = numbers.draw() as u8,
            5 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            _ => {
                let other = seeds.get(numbers.below(seeds.len())).map_or(&[][..], Vec::as_slice);
                let from = numbers.below(other.len() + 1);
                let to = (from + numbers.below(200)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes.truncate(bytes_max);
    bytes
}
