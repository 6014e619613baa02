//! A server's own certificate (RFC 5246, section 7.4.2; RFC 5280, section 4.1).

use std::net::IpAddr;

use tcp_trace_model::{
    record::{Text, TlsCertificate},
    time::Time,
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::reader::Reader;

/// Bytes of a name that are kept.
const NAME_MAX: usize = 512;
/// Names that are kept.
const NAMES_MAX: usize = 32;

/// Reads the first certificate in the body of a Certificate message; `None` when there is none, or it cannot be decoded.
pub(super) fn read(body: &[u8]) -> Option<TlsCertificate> {
    let mut chain = Reader(Reader(body).vector(3)?);
    of_der(chain.vector(3)?)
}

fn of_der(der: &[u8]) -> Option<TlsCertificate> {
    let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
    let certificate = certificate.tbs_certificate();
    let text = |name: &dyn std::fmt::Display| {
        let name = name.to_string();
        Text::from(&name[..name.floor_char_boundary(NAME_MAX)])
    };
    let names = certificate.get_extension::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
    let validity = certificate.validity();
    let time = |time: x509_cert::time::Time| u64::try_from(time.to_unix_duration().as_nanos()).ok().map(Time);
    Some(TlsCertificate {
        subject: text(certificate.subject()),
        issuer: text(certificate.issuer()),
        names: names.iter().flatten().filter_map(name).take(NAMES_MAX).collect(),
        not_before: time(validity.not_before),
        not_after: time(validity.not_after),
    })
}

/// A host or an address; others are for other uses.
fn name(name: &GeneralName) -> Option<Text> {
    match name {
        GeneralName::DnsName(name) => {
            Some(Text::from(&name.as_bytes()[..name.as_bytes().len().min(NAME_MAX)]))
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let address = v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))?;
            Some(Text::from(address.to_string().as_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::vector;

    /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=Example, Inc./CN=www.example.com" -days 3650
    /// -addext subjectAltName=DNS:www.example.com,IP:192.0.2.1,IP:2001:db8::1,email:a@example.com -outform DER`
    const EXAMPLE: &[u8] = include_bytes!("example.der");

    fn message(certificates: &[&[u8]]) -> Vec<u8> {
        vector(3, &certificates.iter().flat_map(|one| vector(3, one)).collect::<Vec<_>>())
    }

    #[test]
    fn names_and_dates_are_those_that_openssl_wrote() {
        let certificate = read(&message(&[EXAMPLE, b"not read"])).unwrap();
        assert_eq!(certificate.subject.printable().to_string(), "CN=www.example.com,O=Example\\, Inc.");
        assert_eq!(certificate.issuer, certificate.subject);
        let names: Vec<_> = certificate.names.iter().map(|name| name.printable().to_string()).collect();
        assert_eq!(names, ["www.example.com", "192.0.2.1", "2001:db8::1"]);
        assert_eq!(certificate.not_before.unwrap().to_string(), "2026-12-01T03:43:58.000000000Z");
        assert_eq!(certificate.not_after.unwrap().to_string(), "2036-11-28T03:43:58.000000000Z");
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        assert_eq!(read(&message(&[])), None);
        assert_eq!(read(&message(&[b"x"])), None);
        assert_eq!(read(&message(&[&EXAMPLE[..EXAMPLE.len() - 1]])), None);
        assert_eq!(read(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(at in 0..EXAMPLE.len(), byte in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let mut damaged = EXAMPLE.to_vec();
            damaged[at] = byte;
            of_der(&damaged);
            of_der(&bytes);
        }
    }
}
