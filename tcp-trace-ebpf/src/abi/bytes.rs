//! Bytes that records carry as they are.

/// 16 bytes as they lie in memory: an address or a `comm`. As `u32` words: byte-wise copies cost several times more in BPF.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes16(pub [u32; 4]);

impl Bytes16 {
    /// The same bytes.
    pub fn bytes(self) -> [u8; 16] {
        core::array::from_fn(|at| self.0[at / 4].to_ne_bytes()[at % 4])
    }
}

impl From<[u8; 16]> for Bytes16 {
    fn from(bytes: [u8; 16]) -> Self {
        Self(core::array::from_fn(|word| u32::from_ne_bytes(core::array::from_fn(|at| bytes[4 * word + at]))))
    }
}
