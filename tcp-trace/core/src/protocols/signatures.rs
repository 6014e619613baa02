//! Protocols that are recognised by their first bytes and read no further.

use super::Guess;
use crate::http::ANSWER_MAX;

/// The first bytes of both ends, as far as they have come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening<'a> {
    pub(super) client: &'a [u8],
    pub(super) server: &'a [u8],
}

/// Whether a connection begins with a protocol.
type Begins = fn(Opening<'_>) -> Guess;

/// By name: that of the service in IANA's registry (RFC 6335), where it has one. The first that says `Yes` counts.
const SIGNATURES: &[(&str, Begins)] = &[
    // RFC 9113, section 3.4: the preface.
    ("http/2", |of| Guess::begins(of.client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    // RFC 8446, section 5.1: a handshake record, with a ClientHello.
    ("tls", |of| like(of.client, b"\x16\x03...\x01")),
    // RFC 4253, section 4.2: either end may speak first.
    ("ssh", |of| any([of.client, of.server].map(|bytes| Guess::begins(bytes, b"SSH-")))),
    // PostgreSQL's message formats: StartupMessage 3.x; or a request for TLS, GSSAPI or a cancellation (1234.5678 to 5680).
    ("postgresql", |of| any([startup(of.client), like(of.client, b"\0\0\0.\x04\xd2\x16.")])),
    // MySQL's HandshakeV10: length, sequence number 0, version 10.
    ("mysql", |of| like(of.server, b"..\0\0\x0a")),
    // Redis's serialization protocol: an array of bulk strings.
    ("redis", |of| redis(of.client)),
    // RFC 5321, section 4.2. FTP greets with the same code: the client's first command decides.
    ("smtp", |of| greeted(of, b"220", &[b"EHLO ", b"HELO ", b"LHLO "])),
    // RFC 959, section 4.1; RFC 4217.
    ("ftp", |of| greeted(of, b"220", &[b"USER ", b"AUTH ", b"FEAT"])),
    // RFC 9051, section 7.1.
    ("imap", |of| any([Guess::begins(of.server, b"* OK"), Guess::begins(of.server, b"* PREAUTH")])),
    // RFC 1939, sections 4 and 7; RFC 2449. Redis answers with the same word.
    ("pop3", |of| greeted(of, b"+OK", &[b"USER ", b"APOP ", b"CAPA", b"STLS"])),
    // AMQP 0-9-1, section 4.2.2, and 1.0, section 2.2.
    ("amqp", |of| Guess::begins(of.client, b"AMQP")),
    // MQTT 3.1.1 and 5.0, section 3.1: CONNECT, its length in one byte or two, the protocol's name.
    ("mqtt", |of| any([like(of.client, b"\x10.\0\x04MQTT"), like(of.client, b"\x10..\0\x04MQTT")])),
    // MongoDB's wire protocol: length, request, response to none, OP_MSG (2013) or OP_QUERY (2004).
    ("mongodb", |of| {
        any([
            like(of.client, b"........\0\0\0\0\xdd\x07\0\0"),
            like(of.client, b"........\0\0\0\0\xd4\x07\0\0"),
        ])
    }),
    // Kafka's protocol guide: length, then ApiVersions (18), which clients send first.
    ("kafka", |of| like(of.client, b"\0\0..\0\x12\0.")),
    // CQL's native protocol, section 2: a request of version 3 to 5, OPTIONS (5) or STARTUP (1).
    ("cassandra", |of| {
        any([
            like(of.client, b"\x04\0..\x05\0\0\0\0"),
            like(of.client, b"\x04\0..\x01\0\0\0"),
            like(of.client, b"\x05\0..\x05\0\0\0\0"),
        ])
    }),
    // NATS's client protocol: the server's INFO.
    ("nats", |of| Guess::begins(of.server, b"INFO {")),
    // memcached's protocol.txt.
    ("memcached", |of| {
        let commands: [&[u8]; 6] = [b"get ", b"gets ", b"set ", b"mg ", b"ms ", b"stats\r\n"];
        any(commands.map(|command| Guess::begins(of.client, command)))
    }),
    // RFC 4511, section 4.1.1: a short message, numbered 1, that binds (0x60) or searches (0x63).
    ("ldap", |of| any([like(of.client, b"0.\x02\x01\x01\x60"), like(of.client, b"0.\x02\x01\x01\x63")])),
    // FastCGI 1.0, section 3.3: FCGI_BEGIN_REQUEST of request 1.
    ("fastcgi", |of| Guess::begins(of.client, b"\x01\x01\0\x01\0\x08\0\0")),
    // MS-TDS, section 2.2.3.1: PRELOGIN in one packet.
    ("tds", |of| like(of.client, b"\x12\x01..\0\0")),
    // RFC 6143, section 7.1.1.
    ("rfb", |of| Guess::begins(of.server, b"RFB 00")),
    // MS-RDPBCGR, section 2.2.1.1: an X.224 connection request.
    ("rdp", |of| like(of.client, b"\x03\0...\xe0")),
    // MS-SMB2, section 2.1: a direct TCP header, then SMB 1 or 2.
    ("smb", |of| any([like(of.client, b"\0...\xfeSMB"), like(of.client, b"\0...\xffSMB")])),
    // RFC 3261, section 7.1.
    ("sip", |of| first_line_ends(of.client, b" SIP/2.0")),
    // RFC 2326, section 6.1, and RFC 7826, section 20.2.
    ("rtsp", |of| any([b" RTSP/1.0", b" RTSP/2.0"].map(|version| first_line_ends(of.client, version)))),
    // rsync's daemon: its version.
    ("rsync", |of| Guess::begins(of.server, b"@RSYNCD:")),
    // RFC 854: WILL, WONT, DO or DONT, of either end.
    ("telnet", |of| any([of.client, of.server].map(telnet))),
];

/// Whether a connection that begins with this protocol may be TLS, or be so later: by STARTTLS (RFC 3207, RFC 4217, RFC 2595, RFC 4511,
/// section 4.14), or by what the protocol has of its own.
pub(crate) fn may_go_over_to_tls(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "tls",
        "smtp",
        "ftp",
        "imap",
        "pop3",
        "ldap",
        "postgresql",
        "mysql",
        "amqp",
        "nats",
        "tds",
        "rfb",
        "rdp",
        "telnet",
    ];
    NAMES.contains(&name)
}

/// What a connection begins with, if that is known; `Err` with whether more bytes may tell.
pub(super) fn recognise(of: Opening<'_>) -> Result<&'static str, bool> {
    let mut is_possible = false;
    for (name, begins) in SIGNATURES {
        match begins(of) {
            Guess::Yes => return Ok(name),
            Guess::Maybe => is_possible = true,
            Guess::No => {}
        }
    }
    Err(is_possible)
}

/// What a client speaks that a server has greeted in another protocol, where that shows: HTTP/1 or TLS.
pub(super) fn spoken(client: &[u8]) -> Option<&'static str> {
    let is_http =
        [b" HTTP/1.1", b" HTTP/1.0"].iter().any(|version| first_line_ends(client, *version) == Guess::Yes);
    match like(client, b"\x16\x03...\x01") {
        Guess::Yes => Some("tls"),
        _ => is_http.then_some("http"),
    }
}

/// What a server answers in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The client's protocol, as far as one can tell.
    Same,
    /// Another one, or [`UNKNOWN`].
    Other(&'static str),
    /// More bytes may tell.
    Undecided,
}

/// The name of an answer in a protocol that is not known, and not the client's.
pub(super) const UNKNOWN: &str = "unknown";

/// What a server answers a client in that speaks `name`. Servers refuse what they do not understand in their own protocol.
pub(super) fn answer(name: &'static str, server: &[u8]) -> Answer {
    let answer = match server {
        // RFC 9112, section 4.
        _ if server.starts_with(b"HTTP/1.") => Some("http"),
        // RFC 8446, section 5.1: an alert or a handshake message.
        [0x15 | 0x16, 3, _, ..] => Some("tls"),
        // RFC 9113, section 3.4: SETTINGS.
        [0, 0, _, 4, ..] if name == "http/2" => Some(name),
        [0, 0, _, 4, 0, 0, 0, 0, 0, ..] => Some("http/2"),
        _ => recognise(Opening { client: &[], server }).ok(),
    };
    match answer {
        Some(answer) if answer == name => Answer::Same,
        Some(answer @ ("http" | "http/2" | "tls")) => Answer::Other(answer),
        // A reply of Redis may begin as a greeting of POP3 does.
        Some(answer) if ["http", "http/2", "tls"].contains(&name) => Answer::Other(answer),
        None if server.len() < ANSWER_MAX => Answer::Undecided,
        None if ["http/2", "tls"].contains(&name) => Answer::Other(UNKNOWN),
        _ => Answer::Same,
    }
}

/// The best of several guesses.
fn any<const N: usize>(guesses: [Guess; N]) -> Guess {
    match guesses {
        _ if guesses.contains(&Guess::Yes) => Guess::Yes,
        _ if guesses.contains(&Guess::Maybe) => Guess::Maybe,
        _ => Guess::No,
    }
}

/// Whether `bytes` begin like `pattern`, in which a dot is any byte.
fn like(bytes: &[u8], pattern: &[u8]) -> Guess {
    match bytes.iter().zip(pattern).all(|(byte, expected)| byte == expected || *expected == b'.') {
        false => Guess::No,
        true if bytes.len() < pattern.len() => Guess::Maybe,
        true => Guess::Yes,
    }
}

/// A StartupMessage: its length, version 3.x, and the name of the first parameter.
fn startup(bytes: &[u8]) -> Guess {
    match (like(bytes, b"\0\0..\0\x03\0."), bytes.get(8)) {
        (Guess::Yes, None) => Guess::Maybe,
        (Guess::Yes, Some(letter)) if !letter.is_ascii_lowercase() => Guess::No,
        (guess, _) => guess,
    }
}

/// `*2`, CRLF, `$`.
fn redis(bytes: &[u8]) -> Guess {
    let Some(rest) = bytes.strip_prefix(b"*") else { return Guess::begins(bytes, b"*") };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (digits, rest.len() - digits) {
        (0, 1..) => Guess::No,
        (_, 0) => Guess::Maybe,
        _ => Guess::begins(&rest[digits..], b"\r\n$"),
    }
}

/// A server that begins with `word`, and of the client one of these commands, in any case.
fn greeted(of: Opening<'_>, word: &[u8], commands: &[&[u8]]) -> Guess {
    let is_command = |command: &&[u8]| {
        let length = of.client.len().min(command.len());
        let is_like = of.client[..length].eq_ignore_ascii_case(&command[..length]);
        is_like.then_some(length == command.len())
    };
    match (Guess::begins(of.server, word), commands.iter().filter_map(is_command).max()) {
        (Guess::Yes, Some(true)) => Guess::Yes,
        (Guess::No, _) | (_, None) => Guess::No,
        _ => Guess::Maybe,
    }
}

/// Whether the first line ends with a protocol's version.
fn first_line_ends(bytes: &[u8], version: &[u8]) -> Guess {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if bytes[..end].trim_ascii_end().ends_with(version) => Guess::Yes,
        Some(_) => Guess::No,
        None if bytes.iter().all(u8::is_ascii_graphic)
            || bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) =>
        {
            Guess::Maybe
        }
        None => Guess::No,
    }
}

/// IAC, a command, and an option.
fn telnet(bytes: &[u8]) -> Guess {
    any([b"\xff\xfb", b"\xff\xfc", b"\xff\xfd", b"\xff\xfe"].map(|command| Guess::begins(bytes, command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_recognised_by_the_first_bytes_of_either_end() {
        const KAFKA: &[u8] = b"\0\0\0\x23\0\x12\0\x03\0\0\0\0\0\x07client";
        const MONGODB: &[u8] = b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0\0\0\0\0admin.$cmd";
        const MYSQL: &[u8] = b"\x4a\0\0\0\x0a8.0.36\0";
        for (name, client, server) in [
            ("http/2", &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12"[..], &b""[..]),
            ("tls", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b""),
            ("ssh", b"SSH-2.0-OpenSSH_9.2", b""),
            ("ssh", b"", b"SSH-2.0-OpenSSH_9.2"),
            ("postgresql", b"\0\0\0\x08\x04\xd2\x16\x2f", b"N"),
            ("postgresql", b"\0\0\0\x54\0\x03\0\0user\0postgres\0", b""),
            ("mysql", b"", MYSQL),
            ("redis", b"*1\r\n$4\r\nPING\r\n", b""),
            ("smtp", b"ehlo localhost\r\n", b"220 mail.example ESMTP\r\n"),
            ("ftp", b"USER anonymous\r\n", b"220 (vsFTPd 3.0.3)\r\n"),
            ("imap", b"", b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
            ("pop3", b"CAPA\r\n", b"+OK ready\r\n"),
            ("amqp", b"AMQP\0\0\x09\x01", b""),
            ("mqtt", b"\x10\x10\0\x04MQTT\x04\x02", b""),
            ("mongodb", MONGODB, b""),
            ("kafka", KAFKA, b""),
            ("cassandra", b"\x04\0\0\x01\x05\0\0\0\0", b""),
            ("nats", b"", b"INFO {\"server_id\":\"N\"}\r\n"),
            ("memcached", b"get key\r\n", b""),
            ("ldap", b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03", b""),
            ("fastcgi", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0", b""),
            ("tds", b"\x12\x01\0\x2f\0\0\x01\0", b""),
            ("rfb", b"", b"RFB 003.008\n"),
            ("rdp", b"\x03\0\0\x13\x0e\xe0\0\0", b""),
            ("smb", b"\0\0\0\x45\xffSMBr", b""),
            ("sip", b"OPTIONS sip:a@b SIP/2.0\r\n", b""),
            ("rtsp", b"OPTIONS * RTSP/1.0\r\n", b""),
            ("rsync", b"", b"@RSYNCD: 31.0\n"),
            ("telnet", b"", b"\xff\xfd\x18"),
        ] {
            assert_eq!(recognise(Opening { client, server }), Ok(name), "{client:?} {server:?}");
            // Cut anywhere, it is undecided or already known, and never taken for another.
            for cut in 1..client.len().max(server.len()) {
                let of = Opening {
                    client: &client[..cut.min(client.len())],
                    server: &server[..cut.min(server.len())],
                };
                assert!(
                    [Ok(name), Err(true)].contains(&recognise(of)),
                    "{name} cut at {cut}: {:?}",
                    recognise(of)
                );
            }
        }
    }

    #[test]
    fn other_bytes_are_nothing() {
        for (client, server) in [
            (&b"hello there\r\n"[..], &b"hello\r\n"[..]),
            (b"\x99\x88\x77\x66\x55\x44\x33\x22\x11", b"\x99\x99\x99\x99\x99"),
            (b"NOOP now\r\n", b"220 ready\r\n"),
            (b"*x and y\r\n", b"-ERR\r\n"),
            // Redis, in words, and Kafka's Metadata.
            (b"AUTH secret\r\n", b"+OK\r\n"),
            (b"\0\0\0\x1f\0\x03\0\0\0\0\0\x01\0\x07client", b"\0\0\0\x20\0"),
        ] {
            assert_eq!(recognise(Opening { client, server }), Err(false), "{client:?} {server:?}");
        }
    }

    #[test]
    fn an_answer_in_another_protocol_is_recognised() {
        for (name, server, expected) in [
            ("tls", &b"HTTP/1.1 400 Bad Request\r\n"[..], Answer::Other("http")),
            ("http", b"\x15\x03\x01\0\x02\x02\x46", Answer::Other("tls")),
            ("http", b"SSH-2.0-OpenSSH_9.2", Answer::Other("ssh")),
            ("http/2", b"\0\0\x12\x04\0\0\0\0\0", Answer::Same),
            ("http/2", b"HTTP/1.1 400 Bad Request\r\n", Answer::Other("http")),
            ("tls", b"\x16\x03\x03\0\x7a", Answer::Same),
            ("tls", b"<html><body>", Answer::Other(UNKNOWN)),
            ("http", b"<html><body>", Answer::Same),
            ("redis", b"+OK\r\n+PONG\r\n", Answer::Same),
            ("redis", b"HTTP/1.1 400 Bad Request\r\n", Answer::Other("http")),
            ("tls", b"HTT", Answer::Undecided),
            ("tls", b"\x15", Answer::Undecided),
            ("tls", b"", Answer::Undecided),
        ] {
            assert_eq!(answer(name, server), expected, "{name} {server:?}");
        }
    }
}
