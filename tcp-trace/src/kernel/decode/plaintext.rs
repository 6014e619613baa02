//! What calls of TLS libraries reported.

use std::mem::offset_of;

use tcp_trace_ebpf::{
    CIPHERTEXT_MAX, LATE, LIBRARY_GNUTLS, LIBRARY_GO, LIBRARY_OPENSSL, LIBRARY_RUSTLS, RawCiphertext,
    RawHeader, RawPlaintext, RawTlsObject, RawTlsObjectGone, SENT, TAKEN,
};
use tcp_trace_model::event::{Ciphertext, Passage, Plaintext, TlsLibrary, TlsObject};

use super::{DecodeError, captured_of, direction, fixed, u8_at, u32_at, u64_at};

pub(super) fn plaintext(bytes: &[u8]) -> Result<Plaintext<'_>, DecodeError> {
    let (raw, payload) = fixed::<{ size_of::<RawPlaintext>() }>(bytes)?;
    let length = u32_at(raw, offset_of!(RawPlaintext, length));
    let captured = u32_at(raw, offset_of!(RawPlaintext, captured));
    let socket = u64_at(raw, offset_of!(RawPlaintext, socket));
    let attributes = u8_at(raw, offset_of!(RawPlaintext, attributes));
    Ok(Plaintext {
        object: object(raw, offset_of!(RawPlaintext, object)),
        library: library(u8_at(raw, offset_of!(RawPlaintext, library)))?,
        direction: direction(u8_at(raw, offset_of!(RawPlaintext, direction)))?,
        offset: u64_at(raw, offset_of!(RawPlaintext, offset)),
        length,
        payload: captured_of(bytes, payload, captured, length)?,
        socket: (socket != 0).then_some(socket),
        is_late: attributes & LATE != 0,
        passage: if attributes & TAKEN != 0 {
            Passage::Taken
        } else if attributes & SENT != 0 {
            Passage::Sent(u64_at(raw, offset_of!(RawPlaintext, header) + offset_of!(RawHeader, cookie)))
        } else {
            Passage::Whole
        },
    })
}

pub(super) fn ciphertext(bytes: &[u8]) -> Result<Ciphertext<'_>, DecodeError> {
    let (raw, _) = fixed::<{ size_of::<RawCiphertext>() }>(bytes)?;
    let captured = u32_at(raw, offset_of!(RawCiphertext, captured));
    let at = offset_of!(RawCiphertext, bytes);
    Ok(Ciphertext {
        object: object(raw, offset_of!(RawCiphertext, object)),
        direction: direction(u8_at(raw, offset_of!(RawCiphertext, direction)))?,
        bytes: raw[at..at + CIPHERTEXT_MAX]
            .get(..captured as usize)
            .ok_or(DecodeError::Value { field: "captured", value: captured.into() })?,
    })
}

pub(super) fn object_gone(bytes: &[u8]) -> Result<TlsObject, DecodeError> {
    let (raw, _) = fixed::<{ size_of::<RawTlsObjectGone>() }>(bytes)?;
    Ok(object(raw, offset_of!(RawTlsObjectGone, object)))
}

/// The [`RawTlsObject`] at `at`.
fn object(raw: &[u8], at: usize) -> TlsObject {
    TlsObject {
        pid: u32_at(raw, at + offset_of!(RawTlsObject, pid)),
        address: u64_at(raw, at + offset_of!(RawTlsObject, address)),
        generation: u32_at(raw, at + offset_of!(RawTlsObject, generation)),
    }
}

fn library(number: u8) -> Result<TlsLibrary, DecodeError> {
    Ok(match number {
        LIBRARY_OPENSSL => TlsLibrary::OpenSsl,
        LIBRARY_GNUTLS => TlsLibrary::GnuTls,
        LIBRARY_GO => TlsLibrary::Go,
        LIBRARY_RUSTLS => TlsLibrary::Rustls,
        value => return Err(DecodeError::Value { field: "library", value: value.into() }),
    })
}

#[cfg(test)]
mod tests {
    use tcp_trace_ebpf::{DIRECTION_IN, KIND_CIPHERTEXT, KIND_PLAINTEXT, KIND_TLS_OBJECT_GONE};
    use tcp_trace_model::event::{Direction, Event, EventKind};

    use super::*;
    use crate::kernel::decode;

    const OBJECT: RawTlsObject = RawTlsObject { address: 0x5555_0000, pid: 17, generation: 9 };
    const DECODED: TlsObject = TlsObject { pid: 17, address: 0x5555_0000, generation: 9 };

    fn bytes_of<T: Copy>(record: &T) -> Vec<u8> {
        // SAFETY: the ABI's records are plain integers without hidden padding (asserted by their sizes).
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
    }

    fn header(kind: u32) -> RawHeader {
        RawHeader { time_ns: 1_000, cookie: 0, kind, padding: 0 }
    }

    fn plaintext() -> RawPlaintext {
        RawPlaintext {
            header: header(KIND_PLAINTEXT),
            object: OBJECT,
            offset: 100,
            socket: 4101,
            length: 20,
            captured: 3,
            direction: DIRECTION_IN,
            library: LIBRARY_GNUTLS,
            attributes: LATE,
            padding: [0; 5],
        }
    }

    fn kind(bytes: &[u8]) -> Result<EventKind<'_>, DecodeError> {
        decode(bytes, 0).map(|Event { kind, .. }| kind)
    }

    #[test]
    fn plaintext_has_what_was_captured() {
        let bytes = [bytes_of(&plaintext()), b"GET rest".to_vec()].concat();
        let expected = Plaintext {
            object: DECODED,
            library: TlsLibrary::GnuTls,
            direction: Direction::In,
            offset: 100,
            length: 20,
            payload: b"GET",
            socket: Some(4101),
            is_late: true,
            passage: Passage::Whole,
        };
        assert_eq!(kind(&bytes), Ok(EventKind::Plaintext(expected)));
        let bytes = bytes_of(&RawPlaintext { socket: 0, captured: 0, attributes: 0, ..plaintext() });
        let expected = Plaintext { socket: None, is_late: false, payload: b"", ..expected };
        assert_eq!(kind(&bytes), Ok(EventKind::Plaintext(expected)));
        let bytes = bytes_of(&RawPlaintext { socket: 0, captured: 0, attributes: TAKEN, ..plaintext() });
        let expected = Plaintext { passage: Passage::Taken, ..expected };
        assert_eq!(kind(&bytes), Ok(EventKind::Plaintext(expected)));
        let header = RawHeader { cookie: 0x7f00_1000, ..header(KIND_PLAINTEXT) };
        let raw = RawPlaintext { header, socket: 0, captured: 0, attributes: SENT, ..plaintext() };
        let expected = Plaintext { passage: Passage::Sent(0x7f00_1000), ..expected };
        assert_eq!(kind(&bytes_of(&raw)), Ok(EventKind::Plaintext(expected)));
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for (record, error) in [
            (plaintext(), DecodeError::Short { length: 72 }),
            (
                RawPlaintext { captured: 21, ..plaintext() },
                DecodeError::Value { field: "captured", value: 21 },
            ),
            (RawPlaintext { library: 4, ..plaintext() }, DecodeError::Value { field: "library", value: 4 }),
            (
                RawPlaintext { direction: 2, ..plaintext() },
                DecodeError::Value { field: "direction", value: 2 },
            ),
        ] {
            assert_eq!(kind(&bytes_of(&record)), Err(error));
        }
    }

    #[test]
    fn ciphertext_and_the_end_of_an_object() {
        let mut raw = RawCiphertext {
            header: header(KIND_CIPHERTEXT),
            object: OBJECT,
            captured: 16,
            direction: 0,
            padding: [0; 3],
            bytes: [0x17; CIPHERTEXT_MAX],
        };
        let expected = Ciphertext { object: DECODED, direction: Direction::Out, bytes: &[0x17; 16] };
        assert_eq!(kind(&bytes_of(&raw)), Ok(EventKind::Ciphertext(expected)));
        raw.captured = CIPHERTEXT_MAX as u32 + 1;
        assert_eq!(kind(&bytes_of(&raw)), Err(DecodeError::Value { field: "captured", value: 33 }));
        let gone = RawTlsObjectGone { header: header(KIND_TLS_OBJECT_GONE), object: OBJECT };
        assert_eq!(kind(&bytes_of(&gone)), Ok(EventKind::TlsObjectGone(DECODED)));
    }
}
