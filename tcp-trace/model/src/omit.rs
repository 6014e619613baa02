//! When a field of a line is left out.

/// Whether a flag is.
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}

/// Whether a count is.
pub(crate) fn is_zero<N: Copy + Into<u64>>(number: &N) -> bool {
    (*number).into() == 0
}
