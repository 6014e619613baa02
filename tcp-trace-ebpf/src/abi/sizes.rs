//! How much fits: payload, stacks, and how soon the reader is woken for it.

/// The payload areas that a segment record can have, in bytes: powers of two, so that the verifier can
/// bound the copy. The record with the smallest area that holds a segment's payload is used. There is no
/// loop over parts: older verifiers walk every path through every round of it.
pub const PAYLOAD_SIZES: [usize; 7] = [256, 1024, 4096, 16384, 32768, 65536, PAYLOAD_MAX];
/// The largest payload that is captured whole. On loopback, segments of up to some 113 KiB reach the hook and are split
/// only behind it; with BIG TCP there may be longer ones. The rest of a longer one is counted as lost.
pub const PAYLOAD_MAX: usize = 131_072;
/// For a record with more payload than this, the third of [`PAYLOAD_SIZES`], the reader is woken.
pub const UNHURRIED_MAX: usize = PAYLOAD_SIZES[2];
/// The largest payload of a datagram that is captured whole: the third of [`PAYLOAD_SIZES`], and the largest that DNS
/// servers send by default (RFC 6891, section 6.2.5). The rest of a longer one is counted as lost.
pub const DATAGRAM_MAX: usize = PAYLOAD_SIZES[2];

/// After the reader was woken on a CPU, it is not woken there again for this long: it is busy, or polls sooner than that.
pub const WAKE_PAUSE_NS: u64 = 1_000_000;

/// Bytes of a user stack that are copied at a time: a part that cannot be read ends the copy.
pub const STACK_PART: usize = 1024;
/// Bytes of a user stack that are copied at most, from the stack pointer on.
pub const STACK_MAX: usize = 16 * STACK_PART;

/// Changes of the user of one connection that are reported; further ones are not.
pub const CHANGES_MAX: u8 = u8::MAX;

/// Sockets whose last use is remembered: the most recently used ones.
pub const LAST_USES_MAX: usize = 65536;
