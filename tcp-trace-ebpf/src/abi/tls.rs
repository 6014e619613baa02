//! What the programs on the functions of TLS libraries and user space agree on: hooks, and plaintext that is not needed.

use crate::PAYLOAD_SIZES;

/// Bytes of plaintext in one record at most.
pub const PLAINTEXT_PART: usize = PAYLOAD_SIZES[3];
/// Records of that size for one call at most. Of what follows, only the length is reported: each costs the verifier as much as all else that the
/// program does, and so every start of a session.
pub const PLAINTEXT_PARTS_MAX: u32 = 16;
/// Bytes of a TLS record that are reported as ciphertext: enough to be unlike any other record's.
pub const CIPHERTEXT_MAX: usize = 32;
/// Fewer bytes than these are not reported: they may be like another record's.
pub const CIPHERTEXT_MIN: usize = 16;
/// Ciphertexts of an object that are all reported; after them, only each whose number is a power of two.
pub const CIPHERTEXTS_ALL: u32 = 8;

/// TLS objects that are remembered: the most recently used ones. Another is a new one when it is used again.
pub const TLS_OBJECTS_MAX: usize = 32768;
/// Threads inside calls of TLS libraries that are remembered: those that began last.
pub const TLS_THREADS_MAX: usize = 8192;
/// Goroutines inside calls of Go's `crypto/tls` that are remembered: those that began last. One waits in such a call while its
/// connection is idle.
pub const TLS_GOROUTINES_MAX: usize = 16384;

/// Bit of a hook's cookie: the call receives; else it sends.
pub const CALL_RECEIVES: u64 = 1;
/// Bit of a hook's cookie: the call returns a `ssize_t` with the number of bytes; else an `int`.
pub const CALL_RETURNS_LONG: u64 = 2;
/// Bit of a hook's cookie: the number of bytes is where the fourth argument points to.
pub const CALL_COUNTS_AT_FOURTH: u64 = 4;
/// Bit of a hook's cookie: the number of bytes is where the fifth argument points to.
pub const CALL_COUNTS_AT_FIFTH: u64 = 8;
/// Bit of a hook's cookie: the plaintext is not in the process's memory.
pub const CALL_HAS_NO_BUFFER: u64 = 16;
/// Bit of a hook's cookie: what calls inside of it pass is not reported, as it was reported before, or may be passed again.
pub const CALL_IS_SILENT: u64 = 32;
/// Bit of a hook's cookie: the object's beginning is not seen, because of this call.
pub const CALL_MAKES_LATE: u64 = 64;
/// Bit of the cookie of a hook where a Go function returns: it keeps its receiver and the address of its buffer where its caller has room for
/// them, so a call is known whose beginning was not seen.
pub const CALL_KEEPS_ARGUMENTS: u64 = 128;
/// Bit of the cookie of a hook where a Go function begins: the receiver says at [`GO_COMPLETE_OLD`] whether its handshake is complete, else at
/// [`GO_COMPLETE`].
pub const CALL_IS_OLD: u64 = 256;
/// Where a `tls.Conn` has a byte that is 1 when its handshake is complete (`isHandshakeComplete`, or `handshakeStatus`), since Go 1.21.
pub const GO_COMPLETE: u64 = 40;
/// And before.
pub const GO_COMPLETE_OLD: u64 = 32;
/// Bit of a hook's cookie: the call reads what a connection of rustls will decrypt (`DeframerVecBuffer::read()`).
pub const CALL_READS: u64 = 512;
/// Bit of a hook's cookie: the call decrypts that (`ConnectionCore::process_new_packets()`).
pub const CALL_DECRYPTS: u64 = 1024;
/// Bit of a hook's cookie: the call takes what a connection of rustls is to send (`CommonState::buffer_plaintext()`).
pub const CALL_TAKES: u64 = 2048;
/// Bit of a hook's cookie: the call writes that, encrypted (`ChunkVecBuffer::write_to()`).
pub const CALL_WRITES: u64 = 4096;
/// From which bit on a hook's cookie has the library, one of the `LIBRARY_` constants.
pub const CALL_LIBRARY_SHIFT: u32 = 16;

/// From which bit on a hook's cookie says how far the stack pointer is below what it is at the function's beginning or end.
pub const CALL_STACK_SHIFT: u32 = 24;

/// OpenSSL and what has its functions.
pub const LIBRARY_OPENSSL: u8 = 0;
/// GnuTLS.
pub const LIBRARY_GNUTLS: u8 = 1;
/// Go's `crypto/tls`.
pub const LIBRARY_GO: u8 = 2;
/// rustls.
pub const LIBRARY_RUSTLS: u8 = 3;

/// Bit of [`RawPlaintext::attributes`](crate::RawPlaintext::attributes): the object was there before it was watched.
pub const LATE: u8 = 1;
/// Bit of [`RawPlaintext::attributes`](crate::RawPlaintext::attributes): it was taken, and another record with [`SENT`] says on which socket
/// it is sent. The object's address is that of the library's state (`CommonState`), where another may be later.
pub const TAKEN: u8 = 2;
/// Bit of [`RawPlaintext::attributes`](crate::RawPlaintext::attributes): it was [`TAKEN`] before, by what is at the address that the header
/// has instead of a cookie.
pub const SENT: u8 = 4;

/// Bit of an object's address that is a socket's cookie: objects of rustls are moved, so they are known by their sockets.
pub const OBJECT_IS_SOCKET: u64 = 1 << 63;

/// [`TlsKey::direction`] of what is remembered of a connection of rustls by the address of the buffer into which it reads: the socket that it was
/// read from last.
pub const KEY_READER: u32 = 2;
/// [`TlsKey::direction`] of what is remembered by the address of its state: what it was given to send.
pub const KEY_TAKEN: u32 = 3;
/// [`TlsKey::direction`] of what is remembered of a process with rustls: how far behind its state a connection has what it will write.
pub const KEY_DISTANCE: u32 = 4;
/// [`TlsKey::direction`] of what is remembered of a thread until that is known: where the last connection's state is, and what is behind it.
pub const KEY_STATE: u32 = 5;
/// [`TlsKey::direction`] of what is remembered by the address of its state, of plaintext that came from no socket.
pub const KEY_UNREAD: u32 = 6;

/// [`MACHINE`](crate::globals::MACHINE): x86-64.
pub const MACHINE_X86_64: u8 = 0;
/// [`MACHINE`](crate::globals::MACHINE): AArch64.
pub const MACHINE_AARCH64: u8 = 1;

/// Where a TLS object is. Key of [`maps::TLS_SKIPS`](crate::maps::TLS_SKIPS).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsKey {
    /// Address in its process.
    pub address: u64,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// [`DIRECTION_OUT`](crate::DIRECTION_OUT) or [`DIRECTION_IN`](crate::DIRECTION_IN); 0 where an object is meant; else one of the `KEY_`
    /// constants.
    pub direction: u32,
}

/// Plaintext that user space does not need. Value of [`maps::TLS_SKIPS`](crate::maps::TLS_SKIPS).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsSkip {
    /// Before which offset.
    pub until: u64,
    /// Of which object at the address.
    pub generation: u32,
    /// Always 0.
    pub padding: u32,
}
