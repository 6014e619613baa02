//! Handshakes that succeed.

use std::process::Command;

use tcp_trace_model::{
    event::Role,
    record::{TlsClosing, TlsOutcome},
};

use tcp_trace_tests::{Nginx, Tracer, curl, free_port, output};

use crate::{Seen, openssl::Certificate, session};

/// What the client says behind a word, up to the end of the line or to a comma.
fn said<'a>(seen: &'a Seen, word: &str) -> &'a str {
    let (_, rest) = seen.client.split_once(word).unwrap_or_else(|| panic!("no {word:?}: {}", seen.client));
    rest.lines().next().unwrap_or_default().split(',').next().unwrap_or_default().trim()
}

/// What both ends saw is what tshark and the client say.
fn assert_same(seen: &Seen, version: &str, cipher: &str, group: &str) {
    assert!(seen.is_success, "{}", seen.client);
    seen.diagnosis.expect_none();
    for (end, tls) in seen.handshakes() {
        assert_eq!(tls.outcome, TlsOutcome::Established, "{end}: {tls:?}");
        assert_eq!(tls.version.as_deref(), Some(version), "{end}");
        assert_eq!(tls.cipher.as_deref(), Some(cipher), "{end}");
        assert_eq!(tls.curve.as_deref(), Some(group), "{end}");
        assert_eq!(
            tls.client.server_name.as_ref().map(|name| name.printable().to_string()).as_deref(),
            Some("www.example.com")
        );
        assert!(!tls.incomplete && tls.alerts.is_empty(), "{end}: {tls:?}");
        let timing = &tls.timing;
        let handshake_us = timing.handshake_us.expect("it was established");
        assert!(timing.server_hello_us.expect("it came") <= handshake_us, "{timing:?}");
        assert!(timing.client_us + timing.server_us <= handshake_us + 4, "{timing:?}");
    }
}

/// Bytes of data that each end sent, by tshark: after its last record of the handshake, whose lengths are left out of `packets`.
fn lengths(seen: &Seen, is_client: bool) -> Vec<u64> {
    let of = seen.packets.iter().filter(|packet| packet.is_client == is_client);
    of.flat_map(|packet| packet.lengths.iter().copied()).collect()
}

#[test]
fn tls_1_3_is_what_openssl_and_tshark_say() {
    let certificate = Certificate::valid_for(30);
    let seen = session(&certificate, &[], &[&["-servername", "www.example.com", "-groups", "X25519:P-256"]]);
    let cipher = said(&seen, "Cipher is ");
    assert_same(&seen, "1.3", cipher, "x25519");
    assert!(seen.client.contains("Server Temp Key: X25519"), "{}", seen.client);
    let hello = seen.packets.iter().find(|packet| packet.messages.iter().any(|kind| kind == "2"));
    let hello = hello.expect("tshark saw the server's hello");
    assert_eq!(
        (&hello.versions[..], &hello.groups[..]),
        (&["0x0304".to_owned()][..], &["29".to_owned()][..])
    );
    assert_eq!(hello.ciphers, [suite(cipher, 1).0], "{cipher}");
    let summary = seen.summary(Role::Client);
    assert_eq!((summary.resumed, &summary.certificate), (Some(false), &None));
    // The records behind the client's Finished: the request, and the alert with which it closes, if it does.
    let data = summary.data.as_deref().expect("it was established");
    let sent = lengths(&seen, true);
    let finished = sent.iter().position(|length| [53, 69].contains(length)).expect("the client's Finished");
    assert_eq!(data.sent.bytes, sent[finished + 1..].iter().sum::<u64>(), "{sent:?}");
    // Its own, and the peer's: what one end sent is what the other received.
    let other = seen.summary(Role::Server).data.as_deref().expect("it was established");
    assert_eq!((data.sent.bytes, data.received.bytes), (other.received.bytes, other.sent.bytes));
    assert_eq!(data.received.end, Some(TlsClosing::MaybeAlert), "{data:?}");
}

#[test]
fn tls_1_2_shows_the_certificate_whole() {
    for certificate in [Certificate::valid_for(30), Certificate::large()] {
        let alpn = ["-alpn", "h2,http/1.1"];
        let client = ["-tls1_2", "-servername", "www.example.com", "-alpn", "http/1.1", "-groups", "P-256"];
        let seen = session(&certificate, &alpn, &[&client]);
        assert_same(&seen, "1.2", &suite(said(&seen, "Cipher is "), 3).1, "secp256r1");
        for (end, tls) in seen.handshakes() {
            let shown = tls.certificate.as_ref().unwrap_or_else(|| panic!("{end} has no certificate"));
            assert_eq!(shown.subject.printable().to_string(), "CN=www.example.com,O=Example");
            assert_eq!(shown.issuer, shown.subject);
            let date = |name: &str| -> u64 {
                let printed = certificate.said(&[name]);
                let date = printed.split_once('=').expect("it has a date").1.trim().to_owned();
                let seconds = Command::new("date").args(["-d", &date, "+%s"]).output().expect("date runs");
                String::from_utf8_lossy(&seconds.stdout).trim().parse().expect("a number")
            };
            assert_eq!(shown.not_before.expect("it has one").0, date("-startdate") * 1_000_000_000);
            assert_eq!(shown.not_after.expect("it has one").0, date("-enddate") * 1_000_000_000);
            let names = certificate.said(&["-ext", "subjectAltName"]);
            let names: Vec<_> =
                names.lines().last().unwrap_or_default().split(',').map(str::trim).take(32).collect();
            let seen_names: Vec<_> = shown.names.iter().map(|name| name.printable().to_string()).collect();
            let without_kind: Vec<_> =
                names.iter().map(|name| name.split_once(':').expect("a kind").1).collect();
            assert_eq!(seen_names, without_kind);
            assert_eq!(
                tls.next_protocol.as_ref().map(|name| name.printable().to_string()).as_deref(),
                Some("http/1.1")
            );
        }
        let data = seen.summary(Role::Client).data.as_deref().expect("it was established");
        assert_eq!(data.received.end, Some(TlsClosing::Alert), "{data:?}");
    }
}

/// The number of a cipher suite as tshark prints it, and IANA's name, by IANA's name or OpenSSL's: the second or the third word that
/// OpenSSL prints of it.
fn suite(name: &str, word: usize) -> (String, String) {
    let mut command = Command::new("openssl");
    let printed = output(command.args(["ciphers", "-V", "-stdname", "ALL:@SECLEVEL=0"])).stdout;
    let text = String::from_utf8(printed).expect("openssl prints text");
    let lines = text.lines().filter_map(|line| line.trim().split_once(" - "));
    let words = |rest: &str| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut suites = lines.map(|(number, rest)| (number.replace(",0x", "").to_lowercase(), words(rest)));
    let (number, words) = suites.find(|(_, words)| words[word - 1] == name).expect("openssl knows it");
    (number, words[0].clone())
}

#[test]
fn a_session_that_is_resumed_says_so() {
    for version in ["-tls1_2", "-tls1_3"] {
        let certificate = Certificate::valid_for(30);
        let file = certificate.beside("session");
        let base = [version, "-servername", "www.example.com"];
        let (first, second) =
            ([&base[..], &["-sess_out", &file]].concat(), [&base[..], &["-sess_in", &file]].concat());
        let seen = session(&certificate, &[], &[&first, &second]);
        assert!(seen.client.contains("Reused, TLSv1."), "{}", seen.client);
        for (end, tls) in seen.handshakes() {
            assert_eq!((tls.outcome, tls.resumed), (TlsOutcome::Established, Some(true)), "{end} {version}");
            assert!(tls.client.resumption && tls.certificate.is_none(), "{end} {version}");
        }
    }
}

#[test]
fn another_client_hello_is_requested_for_a_group_that_the_server_has() {
    let certificate = Certificate::valid_for(30);
    let client = ["-servername", "www.example.com", "-groups", "X25519:P-384"];
    let seen = session(&certificate, &["-groups", "P-384"], &[&client]);
    assert_same(&seen, "1.3", said(&seen, "Cipher is "), "secp384r1");
    let hellos = seen.packets.iter().flat_map(|packet| &packet.messages).filter(|kind| *kind == "1").count();
    assert_eq!(hellos, 2, "tshark saw two");
    assert!(seen.handshakes().iter().all(|(_, tls)| tls.hello_retry_request));
}

#[test]
fn a_large_download_by_curl_from_nginx_is_counted_and_not_read() {
    let certificate = Certificate::valid_for(30);
    let (plain, port) = (free_port(), free_port());
    let nginx = Nginx::start_with_tls(plain, port, &certificate.file(), &certificate.key());
    // 64 MiB of zeros on disk take no room.
    let size = 64 << 20;
    nginx.put("bulk", "");
    nginx.enlarge("bulk", size);
    let tracer = Tracer::start(&["--port", &port.to_string()]);
    let done = curl(&["--insecure", &format!("https://127.0.0.1:{port}/bulk")]);
    assert_eq!((done[0].http_code, done[0].size_download), (200, size));
    tracer.wait_for_lines("tls", 2);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for (role, is_received) in [(Role::Client, true), (Role::Server, false)] {
        let connections = recording.connections_of(role);
        let [connection] = connections.as_slice() else { panic!("{connections:#?}") };
        let tls = connection.tls.as_deref().expect("it is TLS");
        assert_eq!(tls.outcome, TlsOutcome::Established);
        let data = tls.data.as_deref().expect("it was established");
        let (bulk, bytes) = if is_received {
            (data.received, connection.bytes.received)
        } else {
            (data.sent, connection.bytes.sent)
        };
        // The handshake is some KiB of the rest.
        assert!(bulk.bytes > size && bulk.bytes <= bytes, "{role:?} {bulk:?} of {bytes}");
        assert!(bulk.unread > size / 2 && bulk.records >= 4, "{role:?} {bulk:?}");
    }
}
