//! What arrives as it has to be read. `gzip` and `base64` get their place here; so far bytes are taken as they come.

/// The bytes of an interchange.
pub fn decode(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}
