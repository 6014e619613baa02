//! TLS, in words.

use tcp_trace_core::prose::{Micros, Phrase, Tone};
use tcp_trace_model::record::{Tls, TlsAlert, TlsEnd, TlsOutcome};

use super::words::{printable, recorded};

/// What the server chose: `1.3 TLS_AES_256_GCM_SHA384 x25519 h2`.
pub(super) fn chosen(tls: &Tls) -> String {
    let names = [&tls.version, &tls.cipher, &tls.curve].into_iter().flatten().map(|name| recorded(name));
    let protocol = tls.next_protocol.as_ref().map(printable);
    names.chain(protocol).collect::<Vec<_>>().join(" ")
}

/// What a client offered: `1.3 1.2, h2 http/1.1`.
pub(super) fn offered(tls: &Tls) -> String {
    let versions = tls.client.versions.iter().map(|name| recorded(name)).collect::<Vec<_>>().join(" ");
    let protocols = tls.client.alpn.iter().map(printable).collect::<Vec<_>>().join(" ");
    if protocols.is_empty() { versions } else { format!("{versions}, {protocols}") }
}

/// Which alert it is.
pub(super) fn alert_name(alert: &TlsAlert) -> String {
    alert.name.as_ref().map_or("an encrypted alert".to_owned(), |name| recorded(name))
}

/// An end of TLS.
fn end(end: TlsEnd) -> &'static str {
    match end {
        TlsEnd::Client => "client",
        TlsEnd::Server => "server",
    }
}

/// Why it failed, or is not known to have ended; `None` if it was established.
pub(super) fn failure(tls: &Tls) -> Option<String> {
    let fatal = tls.alerts.iter().find(|alert| alert.fatal != Some(false));
    match tls.outcome {
        TlsOutcome::Established => None,
        TlsOutcome::Alert => Some(fatal.map_or("an alert".to_owned(), |alert| {
            format!("the {} sent {}", end(alert.by), alert_name(alert))
        })),
        TlsOutcome::Closed if tls.timing.server_hello_us.is_none() => {
            Some("the connection ended before the server's hello".to_owned())
        }
        TlsOutcome::Closed => Some("the connection ended before the handshake did".to_owned()),
        TlsOutcome::NotTls => Some("the server's answer is not TLS".to_owned()),
        TlsOutcome::Open => Some("not over yet".to_owned()),
        TlsOutcome::Unknown => Some("its end was not seen".to_owned()),
    }
}

/// How long it took, and who was waited for.
pub(super) fn took(tls: &Tls) -> Option<String> {
    let timing = &tls.timing;
    let (whole, server, client) =
        (Micros(timing.handshake_us?), Micros(timing.server_us), Micros(timing.client_us));
    Some(format!("in {whole} (server {server}, client {client})"))
}

/// A handshake that has ended.
pub(super) fn handshake(tls: &Tls) -> Phrase {
    let name = tls.client.server_name.as_ref();
    let to = name.map_or(String::new(), |name| format!(" to {}", printable(name)));
    let chosen = chosen(tls);
    let space = if chosen.is_empty() { "" } else { " " };
    let mut phrase = Phrase::plain(format!("TLS{space}{chosen}{to}"));
    for (is_so, words) in [
        (tls.resumed == Some(true), "resumed"),
        (tls.hello_retry_request, "after HelloRetryRequest"),
        (
            tls.early_data.is_some_and(|early| early.bytes > 0 && early.accepted != Some(false)),
            "with early data",
        ),
        (tls.early_data.is_some_and(|early| early.accepted == Some(false)), "early data refused"),
    ] {
        if is_so {
            phrase = phrase.and(Tone::Plain, format!(", {words}"));
        }
    }
    let phrase = match failure(tls) {
        Some(why) if tls.outcome.is_failure() => {
            phrase.and(Tone::Plain, "  ").and(Tone::Failure, format!("FAILED: {why}"))
        }
        Some(why) => phrase.and(Tone::Plain, "  ").and(Tone::Warning, why),
        None => phrase,
    };
    match took(tls) {
        Some(took) => phrase.and(Tone::Aside, format!("  {took}")),
        None => phrase,
    }
}
