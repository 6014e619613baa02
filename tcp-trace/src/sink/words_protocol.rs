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
        (Some("tls"), _) => {
            let sni = server.as_ref().filter(|server| server.source == ServerSource::Sni);
            let to = sni.map_or(String::new(), |server| format!(" to {}", recorded(&server.address)));
            format!("TLS{to} (encrypted: what is inside is not shown)")
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
