//! Types of extensions that are read (IANA, "TLS ExtensionType Values").

/// RFC 6066, section 3.
pub(super) const SERVER_NAME: u16 = 0;
/// RFC 8446, section 4.2.7.
pub(super) const SUPPORTED_GROUPS: u16 = 10;
/// RFC 7301.
pub(super) const ALPN: u16 = 16;
/// RFC 5077.
pub(super) const SESSION_TICKET: u16 = 35;
/// RFC 8446, section 4.2.11.
pub(super) const PRE_SHARED_KEY: u16 = 41;
/// Section 4.2.10.
pub(super) const EARLY_DATA: u16 = 42;
/// Section 4.2.1.
pub(super) const SUPPORTED_VERSIONS: u16 = 43;
/// Section 4.2.8.
pub(super) const KEY_SHARE: u16 = 51;
/// RFC 9849, section 5.
pub(super) const ECH: u16 = 0xfe0d;
