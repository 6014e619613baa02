//! Names of what TLS writes as numbers, from IANA's registries "Transport Layer Security (TLS) Parameters".

use std::borrow::Cow;

use super::cipher_suites;

/// A name, or the number where there is none.
type Name = Cow<'static, str>;

/// `close_notify` (RFC 8446, section 6.1).
pub(super) const CLOSE_NOTIFY: u8 = 0;
/// TLS 1.3 and 1.2.
pub(super) const TLS_1_3: u16 = 0x0304;
pub(super) const TLS_1_2: u16 = 0x0303;

/// Whether clients send it without a meaning, so that servers keep ignoring what they do not know (GREASE, RFC 8701).
pub(super) fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && high & 0x0f == 0x0a
}

fn name_or_number(name: Option<&'static str>, number: u16) -> Name {
    name.map_or_else(|| Cow::Owned(format!("{number:#06x}")), Cow::Borrowed)
}

pub(super) fn cipher_suite(number: u16) -> Name {
    name_or_number(cipher_suites::name(number), number)
}

pub(super) fn version(number: u16) -> Name {
    let name = match number {
        0x0300 => "ssl3",
        0x0301 => "1.0",
        0x0302 => "1.1",
        TLS_1_2 => "1.2",
        TLS_1_3 => "1.3",
        _ => return name_or_number(None, number),
    };
    Cow::Borrowed(name)
}

/// Of "TLS Supported Groups".
pub(super) fn group(number: u16) -> Name {
    let name = match number {
        0x0001 => "sect163k1",
        0x0002 => "sect163r1",
        0x0003 => "sect163r2",
        0x0006 => "sect233k1",
        0x0007 => "sect233r1",
        0x0009 => "sect283k1",
        0x000a => "sect283r1",
        0x000b => "sect409k1",
        0x000c => "sect409r1",
        0x000d => "sect571k1",
        0x000e => "sect571r1",
        0x0010 => "secp160r1",
        0x0012 => "secp192k1",
        0x0013 => "secp192r1",
        0x0014 => "secp224k1",
        0x0015 => "secp224r1",
        0x0016 => "secp256k1",
        0x0017 => "secp256r1",
        0x0018 => "secp384r1",
        0x0019 => "secp521r1",
        0x001a => "brainpoolP256r1",
        0x001b => "brainpoolP384r1",
        0x001c => "brainpoolP512r1",
        0x001d => "x25519",
        0x001e => "x448",
        0x001f => "brainpoolP256r1tls13",
        0x0020 => "brainpoolP384r1tls13",
        0x0021 => "brainpoolP512r1tls13",
        0x0029 => "curveSM2",
        0x0100 => "ffdhe2048",
        0x0101 => "ffdhe3072",
        0x0102 => "ffdhe4096",
        0x0103 => "ffdhe6144",
        0x0104 => "ffdhe8192",
        0x0200 => "MLKEM512",
        0x0201 => "MLKEM768",
        0x0202 => "MLKEM1024",
        0x11eb => "SecP256r1MLKEM768",
        0x11ec => "X25519MLKEM768",
        0x11ed => "SecP384r1MLKEM1024",
        0x6399 => "X25519Kyber768Draft00",
        0x639a => "SecP256r1Kyber768Draft00",
        _ => return name_or_number(None, number),
    };
    Cow::Borrowed(name)
}

/// Of "TLS Alerts".
pub(super) fn alert(number: u8) -> Name {
    let name = match number {
        CLOSE_NOTIFY => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        117 => "general_error",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => return Cow::Owned(number.to_string()),
    };
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_name_stay_numbers() {
        assert_eq!(cipher_suite(0x1302), "TLS_AES_256_GCM_SHA384");
        assert_eq!(cipher_suite(0x00ee), "0x00ee");
        assert_eq!(version(0x0304), "1.3");
        assert_eq!(version(0x7f1c), "0x7f1c");
        assert_eq!(group(0x11ec), "X25519MLKEM768");
        assert_eq!(group(0xfe30), "0xfe30");
        assert_eq!(alert(48), "unknown_ca");
        assert_eq!(alert(200), "200");
    }

    #[test]
    fn grease_is_two_equal_bytes() {
        assert!([0x0a0a, 0x1a1a, 0xfafa].into_iter().all(is_grease));
        assert!(![0x0a1a, 0x1301, 0x001d, 0x0b0b].into_iter().any(is_grease));
    }
}
