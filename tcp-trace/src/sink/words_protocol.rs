//! What a connection carried, in words.

use tcp_trace_core::prose::{Phrase, Size, Tone, has_own_records, protocol_name};
use tcp_trace_model::{
    event::Role,
    record::{Connection, ServerSource, Text},
};

use super::words::{printable, recorded};

/// A protocol by its recorded name.
pub(super) fn protocol(name: &str) -> String {
    if name == "unknown" { "of an unknown protocol".to_owned() } else { recorded(&protocol_name(name)) }
}

/// What a connection carried that nothing reads further; `None` where other records say it. `verbs` say who sent what the local
/// end sent, and what it received.
pub(super) fn carried(summary: &Connection, verbs: [&str; 2]) -> Option<Phrase> {
    let Connection { protocol, answer_protocol, first_bytes, server, connection, http, tls, .. } = summary;
    let inside = summary.decrypted.as_ref().map(|decrypted| decrypted.protocol.as_deref());
    let what = match (protocol.as_deref(), first_bytes) {
        (Some(name), _) if has_own_records(name) && answer_protocol.is_none() => {
            let surplus = http.as_ref().map_or(0, |http| http.surplus);
            let text = format!("{} behind the last response, which are not HTTP", Size(surplus));
            return (surplus > 0).then(|| Phrase::new(Tone::Failure, text));
        }
        // The line of its handshake says why.
        (Some("tls"), _)
            if answer_protocol.is_none() && tls.as_ref().is_some_and(|tls| tls.outcome.is_failure()) =>
        {
            return None;
        }
        (Some("tls"), _) if inside.flatten().is_some_and(has_own_records) => return None,
        (Some("tls"), _) => {
            let sni = server.as_ref().filter(|server| server.source == ServerSource::Sni);
            let to = sni.map_or(String::new(), |server| format!(" to {}", recorded(&server.address)));
            match inside {
                None => format!("TLS{to} (encrypted: what is inside is not shown)"),
                Some(None) => format!("TLS{to} (what is inside is no known protocol)"),
                Some(Some(name)) => format!("{} in TLS{to} (not decoded)", recorded(&protocol_name(name))),
            }
        }
        (Some("http"), _) => "HTTP".to_owned(),
        (Some(name), _) => format!("{} (not decoded)", recorded(&protocol_name(name))),
        (None, Some(first)) => {
            let part = |verb: &str, bytes: &Option<Text>| {
                bytes.as_ref().map(|bytes| format!("{verb} \"{}\"", printable(bytes)))
            };
            let parts = [part(verbs[0], &first.sent), part(verbs[1], &first.received)];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            format!("unknown protocol: {}", parts.join(", "))
        }
        (None, None) => return None,
    };
    let phrase = Phrase::plain(what);
    Some(match answer_protocol {
        Some(answer) if answer == "unknown" => {
            let bytes = first_bytes.as_ref().and_then(|first| match connection.role {
                Some(Role::Server) => first.sent.as_ref(),
                _ => first.received.as_ref(),
            });
            let bytes = bytes.map_or(String::new(), |bytes| format!(": \"{}\"", printable(bytes)));
            phrase.and(Tone::Failure, format!("; the server answered in another protocol{bytes}"))
        }
        Some(answer) => phrase
            .and(Tone::Failure, format!("; the server answered in {}", recorded(&protocol_name(answer)))),
        None => phrase,
    })
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::TlsLibrary,
        record::{Decrypted, TlsLink},
    };

    use super::*;

    #[test]
    fn what_is_inside_of_tls_is_said_as_far_as_it_is_known() {
        let decrypted = |protocol: Option<&str>| {
            let protocol = protocol.map(str::to_owned);
            Some(Box::new(Decrypted { link: TlsLink::Ciphertext, library: TlsLibrary::OpenSsl, protocol }))
        };
        for (decrypted, expected) in [
            (None, Some("TLS (encrypted: what is inside is not shown)")),
            (decrypted(None), Some("TLS (what is inside is no known protocol)")),
            (decrypted(Some("redis")), Some("Redis in TLS (not decoded)")),
            // Its exchanges have lines.
            (decrypted(Some("http/2")), None),
        ] {
            let summary = Connection { protocol: Some("tls".to_owned()), decrypted, ..Connection::default() };
            let text = carried(&summary, ["sent", "received"]).map(|phrase| phrase.to_string());
            assert_eq!(text.as_deref(), expected);
        }
    }
}
