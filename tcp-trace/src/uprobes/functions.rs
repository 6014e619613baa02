//! The functions of TLS libraries that are hooked.

use std::fmt;

use tcp_trace_ebpf::{
    CALL_COUNTS_AT_FIFTH, CALL_COUNTS_AT_FOURTH, CALL_HAS_NO_BUFFER, CALL_IS_SILENT, CALL_LIBRARY_SHIFT,
    CALL_MAKES_LATE, CALL_RECEIVES, CALL_RETURNS_LONG, LIBRARY_GNUTLS, LIBRARY_GO, LIBRARY_OPENSSL,
};
use tcp_trace_model::event::TlsLibrary;

use crate::kernel::HookKind;

/// A function, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) library: TlsLibrary,
    pub(super) kind: HookKind,
    /// Whether it passes application data: a file without any such function is no TLS library.
    pub(super) is_call: bool,
}

/// What every program has that uses Go's `crypto/tls`.
pub(super) const GO_READ: &str = "crypto/tls.(*Conn).Read";

const OPENSSL: u64 = (LIBRARY_OPENSSL as u64) << CALL_LIBRARY_SHIFT;
const GO: u64 = (LIBRARY_GO as u64) << CALL_LIBRARY_SHIFT;
const GNUTLS: u64 = (LIBRARY_GNUTLS as u64) << CALL_LIBRARY_SHIFT;

/// Of what a client sends with its first message: where the server refuses it, the client sends it again.
const EARLY: u64 = CALL_IS_SILENT | CALL_MAKES_LATE;

/// All of them. Peeks pass nothing.
pub(super) const FUNCTIONS: [Function; 28] = [
    openssl("SSL_read", HookKind::Call(OPENSSL | CALL_RECEIVES)),
    openssl("SSL_write", HookKind::Call(OPENSSL)),
    openssl("SSL_read_ex", HookKind::Call(OPENSSL | CALL_RECEIVES | CALL_COUNTS_AT_FOURTH)),
    openssl("SSL_read_early_data", HookKind::Call(OPENSSL | CALL_RECEIVES | CALL_COUNTS_AT_FOURTH)),
    openssl("SSL_write_early_data", HookKind::Call(OPENSSL | EARLY)),
    openssl("SSL_write_ex", HookKind::Call(OPENSSL | CALL_COUNTS_AT_FOURTH)),
    openssl("SSL_write_ex2", HookKind::Call(OPENSSL | CALL_COUNTS_AT_FIFTH)),
    openssl("SSL_sendfile", HookKind::Call(OPENSSL | CALL_RETURNS_LONG | CALL_HAS_NO_BUFFER)),
    openssl("SSL_new", HookKind::New),
    openssl("SSL_do_handshake", HookKind::Handshake),
    openssl("SSL_free", HookKind::Free),
    openssl("SSL_clear", HookKind::Free),
    openssl("BIO_write", HookKind::Ciphertext),
    gnutls("gnutls_record_send", HookKind::Call(GNUTLS | CALL_RETURNS_LONG)),
    gnutls("gnutls_record_send2", HookKind::Call(GNUTLS | CALL_RETURNS_LONG)),
    gnutls("gnutls_record_recv", HookKind::Call(GNUTLS | CALL_RECEIVES | CALL_RETURNS_LONG)),
    gnutls("gnutls_record_recv_seq", HookKind::Call(GNUTLS | CALL_RECEIVES | CALL_RETURNS_LONG)),
    gnutls("gnutls_record_recv_early_data", HookKind::Call(GNUTLS | CALL_RECEIVES | CALL_RETURNS_LONG)),
    gnutls(
        "gnutls_record_recv_packet",
        HookKind::Call(GNUTLS | CALL_RECEIVES | CALL_RETURNS_LONG | CALL_HAS_NO_BUFFER),
    ),
    gnutls("gnutls_record_send_early_data", HookKind::Call(GNUTLS | EARLY)),
    // It sends what gnutls_record_send() took and kept.
    gnutls("gnutls_record_uncork", HookKind::Call(GNUTLS | CALL_IS_SILENT)),
    gnutls("gnutls_handshake", HookKind::Handshake),
    gnutls("gnutls_deinit", HookKind::Free),
    go(GO_READ, HookKind::GoCall(GO | CALL_RECEIVES | CALL_RETURNS_LONG)),
    go("crypto/tls.(*Conn).Write", HookKind::GoCall(GO | CALL_RETURNS_LONG)),
    go("crypto/tls.(*Conn).clientHandshake", HookKind::GoHandshake),
    go("crypto/tls.(*Conn).serverHandshake", HookKind::GoHandshake),
    go("crypto/tls.(*Conn).Close", HookKind::GoClose),
];

const fn openssl(name: &'static str, kind: HookKind) -> Function {
    function(name, TlsLibrary::OpenSsl, kind)
}

const fn gnutls(name: &'static str, kind: HookKind) -> Function {
    function(name, TlsLibrary::GnuTls, kind)
}

const fn go(name: &'static str, kind: HookKind) -> Function {
    function(name, TlsLibrary::Go, kind)
}

const fn function(name: &'static str, library: TlsLibrary, kind: HookKind) -> Function {
    Function { name, library, kind, is_call: matches!(kind, HookKind::Call(_) | HookKind::GoCall(_)) }
}

/// How the names of symbols end in any file with some of them.
pub(super) const MARKS: [&[u8]; 4] =
    [b"SSL_write\0", b"BIO_write\0", b"gnutls_record_send\0", b"crypto/tls.(*Conn).Write\0"];

/// Why a function that passes plaintext is not hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unhooked {
    /// Its name.
    pub function: &'static str,
    /// Why.
    pub reason: Reason,
}

/// Why a function is not hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The symbol has no size, or its code is not in the file.
    NoCode,
    /// No instruction returns: it ends by jumping elsewhere.
    NoReturn,
    /// Its instructions cannot be decoded.
    Undecoded,
    /// The file is for another processor.
    Machine,
    /// Go called functions otherwise then.
    OldGo,
    /// Others have symbols, and this one has none: it is inside of those that call it.
    NoSymbol,
    /// It does not take its arguments as the versions do that are known.
    Unlike,
    /// Neither symbols nor the program's own table of functions say where it is.
    NoTable,
}

impl fmt::Display for Unhooked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::NoCode => "its code is not in the file",
            Reason::NoReturn => "it has no return instruction",
            Reason::Undecoded => "its instructions cannot be decoded",
            Reason::Machine => "it is for another kind of processor",
            Reason::OldGo => "it was built with Go 1.17 or earlier",
            Reason::NoSymbol => "it has no symbol: it is another version's, or inlined",
            Reason::Unlike => "it takes its arguments in a way that is not known",
            Reason::NoTable => {
                "neither symbols nor the program's table of functions (.gopclntab) say where it is"
            }
        };
        write!(formatter, "{}: {reason}", self.function)
    }
}
