//! What protocols are called in text.

use std::borrow::Cow;

/// Whether connections of a protocol have records of their own beside the summary, by its recorded name.
pub fn has_own_records(recorded: &str) -> bool {
    matches!(recorded, "dns" | "http" | "http/2" | "websocket")
}

/// A protocol by its recorded name, as people write it.
pub fn protocol_name(recorded: &str) -> Cow<'_, str> {
    const WORDS: [(&str, &str); 11] = [
        ("cassandra", "Cassandra"),
        ("fastcgi", "FastCGI"),
        ("kafka", "Kafka"),
        ("memcached", "memcached"),
        ("mongodb", "MongoDB"),
        ("mysql", "MySQL"),
        ("postgresql", "PostgreSQL"),
        ("redis", "Redis"),
        ("rsync", "rsync"),
        ("telnet", "Telnet"),
        ("websocket", "WebSocket"),
    ];
    match WORDS.iter().find(|(name, _)| *name == recorded) {
        Some((_, word)) => (*word).into(),
        // All others are abbreviations.
        None => recorded.to_ascii_uppercase().into(),
    }
}
