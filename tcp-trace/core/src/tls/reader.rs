//! Reads vectors and numbers as TLS writes them (RFC 8446, section 3).

/// What is left to read; `None` of anything is that it is not there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, at most 3.
    pub(super) fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A vector whose length stands before it in so many bytes.
    pub(super) fn vector(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }

    /// Numbers of two bytes, as far as they go.
    pub(super) fn shorts(self) -> impl Iterator<Item = u16> + use<'a> {
        self.0.as_chunks::<2>().0.iter().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Vectors one after the other, as far as they go; each length stands in so many bytes.
    pub(super) fn vectors(mut self, bytes: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        std::iter::from_fn(move || self.vector(bytes))
    }

    /// Extensions one after the other, as far as they go (RFC 8446, section 4.2).
    pub(super) fn extensions(mut self) -> impl Iterator<Item = (u16, Reader<'a>)> + use<'a> {
        std::iter::from_fn(move || Some((self.short()?, Reader(self.vector(2)?))))
    }
}
