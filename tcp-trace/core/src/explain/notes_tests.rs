//! The notes themselves: complete, the same in both languages, and no wider than a terminal.

use std::collections::HashMap;

use tcp_trace_model::http2::{ErrorCode, GrpcStatus};

use super::{Block, Language, Library, Page, Topic, library::NOTES};
use crate::prose::{Palette, width};

/// Columns that a summary may have.
const SUMMARY_MAX: usize = 70;
/// Columns that a line of a file may have.
const SOURCE_MAX: usize = 120;
const LANGUAGES: [Language; 2] = [Language::En, Language::Zh];

fn names(library: &Library) -> Vec<&'static str> {
    library.topics().map(Topic::name).collect()
}

#[test]
fn both_languages_have_the_same_topics_in_the_same_order() {
    let [english, chinese] = LANGUAGES.map(Library::new);
    assert_eq!(names(&english), names(&chinese));
    for (one, other) in english.groups().iter().zip(chinese.groups()) {
        assert_eq!(one.topics.len(), other.topics.len(), "{}", one.title);
    }
    for (one, other) in english.topics().zip(chinese.topics()) {
        assert_eq!(one.see, other.see, "see of {}", one.name());
        assert_eq!(one.body.is_empty(), other.body.is_empty(), "body of {}", one.name());
    }
}

#[test]
fn every_topic_is_complete() {
    for library in LANGUAGES.map(Library::new) {
        assert!(library.groups().iter().all(|group| !group.title.is_empty() && !group.topics.is_empty()));
        for topic in library.topics() {
            let name = topic.name();
            assert!(!name.is_empty() && !topic.summary.is_empty(), "{topic:?}");
            // Of a status code that is rarely seen, the summary says enough.
            assert!(!topic.body.is_empty() || name.parse::<u16>().is_ok(), "{name} has no body");
            assert!(width(topic.summary) <= SUMMARY_MAX, "{name}: {} columns", width(topic.summary));
            assert!(!topic.summary.starts_with("see:"), "{name} has no summary");
            for block in &topic.body {
                // A head in the middle of a body is a blank line too many.
                assert!(
                    !block.text().starts_with("see:") && !block.text().starts_with('#'),
                    "{name}: {block:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_referred_to_exists() {
    for library in LANGUAGES.map(Library::new) {
        let all = names(&library);
        for topic in library.topics() {
            for see in &topic.see {
                assert!(all.contains(see) && *see != topic.name(), "{} refers to {see}", topic.name());
            }
        }
    }
}

#[test]
fn no_name_means_two_topics() {
    let normal = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
    for library in LANGUAGES.map(Library::new) {
        let mut owners = HashMap::new();
        for topic in library.topics() {
            for name in &topic.names {
                let owner = owners.insert(normal(name), topic.name());
                assert!(
                    owner.is_none_or(|owner| owner == topic.name()),
                    "{name} is {owner:?} and {}",
                    topic.name()
                );
            }
        }
    }
}

#[test]
fn everything_fits_on_a_terminal() {
    for language in LANGUAGES {
        let library = Library::new(language);
        let mut pages = vec![Page::list(&library, &Palette::PLAIN)];
        pages.extend(library.topics().map(|topic| Page::topic(topic, language, &Palette::PLAIN)));
        for line in pages.iter().flat_map(|page| page.lines()) {
            assert!(width(line) <= 80, "{} columns: {line}", width(line));
            assert_eq!(line.trim_end(), line);
        }
    }
}

#[test]
fn the_files_are_tidy() {
    for text in NOTES.iter().flatten() {
        assert!(text.starts_with("= ") && text.ends_with('\n') && !text.contains("\n\n\n"));
        for line in text.lines() {
            assert!(width(line) <= SOURCE_MAX, "{} columns: {line}", width(line));
            assert!(line.trim_end() == line && !line.contains('\t'), "{line:?}");
            assert!(!line.starts_with('#') || line.starts_with("# "), "{line}");
        }
    }
    // What is Chinese in one file has no wide punctuation in the other.
    for [english, chinese] in NOTES {
        assert!(
            english.lines().filter(|line| !line.starts_with('#')).all(|line| !line.contains(['，', '。']))
        );
        assert!(chinese.contains('。'));
    }
}

#[test]
fn what_tcp_trace_prints_is_explained() {
    let library = Library::new(Language::En);
    for name in PRINTED {
        assert!(library.named(&[(*name).to_owned()]).is_some(), "{name}");
    }
    // The registry of HTTP's status codes, as of 2025.
    let codes = (100..=104).chain(200..=208).chain([226]).chain(300..=308).chain(400..=418);
    let codes = codes.chain(421..=426).chain([428, 429, 431, 451]).chain(500..=508).chain([510, 511]);
    for code in codes {
        assert!(library.named(&[code.to_string()]).is_some(), "{code}");
    }
    // OK needs no explanation; what others are called too, such as NOT_FOUND, is explained with those.
    for (_, name) in ErrorCode::NAMES.iter().chain(&GrpcStatus::NAMES[1..]) {
        assert!(library.named(&[(*name).to_owned()]).is_some(), "{name}");
    }
}

/// Names of states and errors, words of the table and the ladder, values of the recording format, and the kernel's reasons.
const PRINTED: &[&str] = &[
    "ClientHello",
    "ServerHello",
    "HelloRetryRequest",
    "resumed",
    "early_data",
    "close_notify",
    "maybe_alert",
    "unknown_ca",
    "certificate_expired",
    "handshake_failure",
    "protocol_version",
    "unrecognized_name",
    "no_application_protocol",
    "bad_certificate",
    "CLOSE",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "LAST_ACK",
    "CLOSING",
    "TIME_WAIT",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "ECONNRESET",
    "EPIPE",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "GAP",
    "LOST",
    "~",
    "estimated",
    "ok",
    "no_response",
    "reset",
    "upgraded",
    "complete",
    "truncated",
    "fin",
    "rst",
    "timeout",
    "refused",
    "error",
    "abandoned",
    "open",
    "unknown",
    "TCP_ABORT_ON_CLOSE",
    "TCP_ABORT_ON_DATA",
    "TCP_ABORT_ON_LINGER",
    "TCP_ABORT_ON_MEMORY",
    "TCP_STATE",
    "TCP_KEEPALIVE_TIMEOUT",
    "TCP_DISCONNECT_WITH_DATA",
    "TCP_TIMEWAIT_SOCKET",
    "NO_SOCKET",
    "INVALID_SYN",
    "TCP_FLAGS",
    "again",
    "it was cut short",
    "reused by a new connection",
    "TCP_INVALID_ACK_SEQUENCE",
    "TCP_RFC7323_PAWS",
    "TCP_TOO_OLD_ACK",
    "TCP_OLD_ACK",
    "TCP_ACK_UNSENT_DATA",
    "MPTCP_RST_EUNSPEC",
    "ERROR",
];

#[test]
fn verbatim_lines_are_short_and_the_rest_is_prose() {
    for library in LANGUAGES.map(Library::new) {
        for block in library.topics().flat_map(|topic| &topic.body) {
            if let Block::Verbatim(line) = block {
                assert!(width(line) <= 80, "{line}");
            }
        }
    }
}
