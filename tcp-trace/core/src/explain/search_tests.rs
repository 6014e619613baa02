//! Names and words as people type them.

use super::*;
use crate::explain::Language;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn names(topics: &[&Topic]) -> Vec<&'static str> {
    topics.iter().map(|topic| topic.name()).collect()
}

#[test]
fn a_list_with_commas_means_each_of_its_topics() {
    let library = Library::new(Language::En);
    let listed = |text: &str| {
        let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        let topics = library.listed(&words)?;
        Some(topics.into_iter().map(Topic::name).collect::<Vec<_>>())
    };
    assert_eq!(listed("time-wait, handshake,RST"), Some(vec!["TIME_WAIT", "three-way-handshake", "RST"]));
    assert_eq!(listed("TIME_WAIT"), None, "no list");
    assert_eq!(listed("TIME_WAIT, nothing"), None);
}

#[test]
fn a_name_is_found_however_it_is_written() {
    for language in [Language::En, Language::Zh] {
        let library = Library::new(language);
        for (typed, expected) in [
            ("TIME_WAIT", "TIME_WAIT"),
            ("time-wait", "TIME_WAIT"),
            ("TimeWait", "TIME_WAIT"),
            ("time wait", "TIME_WAIT"),
            ("FIN-WAIT-1", "FIN_WAIT1"),
            ("estab", "ESTABLISHED"),
            ("三次握手", "three-way-handshake"),
            ("three way handshake", "three-way-handshake"),
        ] {
            let found = library.named(&words(typed)).map(Topic::name);
            assert_eq!(found, Some(expected), "{typed} in {language:?}");
        }
        assert_eq!(library.named(&words("no such thing")), None);
    }
}

#[test]
fn what_contains_all_words_is_found_names_first() {
    let library = Library::new(Language::En);
    let found = library.containing(&words("listen"));
    assert_eq!(found[0].name(), "LISTEN");
    assert!(found.len() > 1 && found.len() <= FOUND_MAX, "{:?}", names(&found));
    let both = library.containing(&words("listen somaxconn"));
    assert!(!both.is_empty() && both.len() < found.len(), "{:?}", names(&both));
    // Words of one argument are words too.
    assert_eq!(names(&library.containing(&["listen somaxconn".to_owned()])), names(&both));
    assert!(library.containing(&words("listen qqqq")).is_empty());
    assert!(library.containing(&[]).is_empty());
}

#[test]
fn chinese_is_searched_too() {
    let library = Library::new(Language::Zh);
    let found = library.containing(&words("半连接"));
    assert!(names(&found).contains(&"SYN_RECV"), "{:?}", names(&found));
}

#[test]
fn words_are_found_at_their_beginning_whatever_joins_them() {
    for (text, word, expected) in [
        ("an RST comes", "rst", true),
        ("the first one", "rst", false),
        ("retransmission", "retrans", true),
        ("keep-alive", "keepalive", true),
        ("net.ipv4.tcp_tw_reuse", "twreuse", true),
        ("net.ipv4.tcp_tw_reuse", "tcptwreuse", true),
        ("收到RST之后", "rst", true),
        ("半连接队列", "队列", true),
        ("一直等待", "直等", true),
        ("status 404", "404", true),
        ("1404", "404", false),
    ] {
        assert_eq!(contains(text, word), expected, "{word} in {text}");
    }
}

#[test]
fn what_is_near_is_suggested() {
    let library = Library::new(Language::En);
    for (typed, expected) in [("TIMEWIAT", "TIME_WAIT"), ("time_wai", "TIME_WAIT"), ("LSITEN", "LISTEN")] {
        let nearest = library.nearest(&words(typed));
        assert!(nearest.iter().any(|name| normal(name) == normal(expected)), "{typed}: {nearest:?}");
    }
    assert!(library.nearest(&words("qqqqqqqqqqqq")).is_empty());
}

#[test]
fn distances_are_counted_in_letters() {
    for (one, other, expected) in [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("abc", "axc", 1),
        ("abc", "acb", 1),
        ("连接", "连", 1),
    ] {
        assert_eq!(distance(one, other), expected, "{one} {other}");
        assert_eq!(distance(other, one), expected, "{other} {one}");
    }
}
