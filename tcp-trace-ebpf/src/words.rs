//! Bytes that records carry as they are.

/// 16 bytes as they lie in memory. In words, because programs that copy bytes one by one take many times as long.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words(pub [u32; 4]);

impl Words {
    /// The same bytes.
    pub fn bytes(self) -> [u8; 16] {
        core::array::from_fn(|at| self.0[at / 4].to_ne_bytes()[at % 4])
    }
}

impl From<[u8; 16]> for Words {
    fn from(bytes: [u8; 16]) -> Self {
        Self(core::array::from_fn(|word| u32::from_ne_bytes(core::array::from_fn(|at| bytes[4 * word + at]))))
    }
}
