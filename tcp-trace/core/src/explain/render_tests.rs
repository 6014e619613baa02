//! Pages as they are printed.

use super::*;

fn topic() -> Topic {
    Topic {
        names: vec!["TIME_WAIT", "TIME-WAIT"],
        foreign_names: vec!["TIME_WAIT", "等待"],
        summary: "Both FINs are acknowledged.",
        see: vec!["RST"],
        body: vec![
            Block::Paragraph(
                "It keeps the addresses, so that old segments do not reach a new connection of them.".into(),
            ),
            Block::Item(
                "- ",
                "in the list of sockets, until twice the longest life of a segment has passed, it shows"
                    .into(),
            ),
            Block::Verbatim("    $ ss -t"),
            Block::Verbatim("    State"),
            Block::Paragraph("Then it is gone.".into()),
        ],
    }
}

#[test]
fn a_topic_has_its_names_its_text_and_what_is_close() {
    insta::assert_snapshot!(Page::topic(&topic(), Language::En, &Palette::PLAIN), @r"
    TIME_WAIT
    also: TIME-WAIT
    Both FINs are acknowledged.

    It keeps the addresses, so that old segments do not reach a new connection of
    them.
    - in the list of sockets, until twice the longest life of a segment has passed,
      it shows

        $ ss -t
        State

    Then it is gone.

    see also: RST
    ");
}

#[test]
fn in_chinese_the_words_around_are_chinese() {
    let text = Page::topic(&topic(), Language::Zh, &Palette::PLAIN);
    assert!(text.contains("又名：TIME-WAIT\n") && text.ends_with("\n另见：RST\n"), "{text}");
}

#[test]
fn what_is_found_is_listed_with_summaries() {
    let mut long = topic();
    long.names = vec!["TCP_DISCONNECT_WITH_DATA"];
    let found = Page::found(&[&topic(), &long], Language::En, &Palette::PLAIN);
    insta::assert_snapshot!(found, @r"
      TIME_WAIT            Both FINs are acknowledged.
      TCP_DISCONNECT_WITH_DATA
                           Both FINs are acknowledged.

    tcp-trace explain NAME shows one of these.
    ");
}

#[test]
fn colours_are_for_names_and_asides() {
    let text = Page::topic(&topic(), Language::En, &Palette::COLOURED);
    assert!(
        text.starts_with("\u{1b}[36mTIME_WAIT\u{1b}[0m\n\u{1b}[2malso: TIME-WAIT\u{1b}[0m\n"),
        "{text:?}"
    );
    let list = Page::list(&Library::new(Language::En), &Palette::PLAIN);
    assert!(!list.contains('\u{1b}'));
}

#[test]
fn nothing_found_says_what_to_do_next() {
    let words = ["TIMEWIAT".to_owned(), "\u{1b}[2J".to_owned()];
    for (nearest, language, expected) in [
        (&["TIME_WAIT"][..], Language::En, "no topic matches TIMEWIAT \\u{1b}[2J; did you mean TIME_WAIT?"),
        (&[], Language::En, "no topic matches TIMEWIAT \\u{1b}[2J: `tcp-trace explain` lists all topics"),
        (&["TIME_WAIT"], Language::Zh, "没有关于 TIMEWIAT \\u{1b}[2J 的内容；相近的有：TIME_WAIT"),
    ] {
        assert_eq!(nothing_found(&words, nearest, language), expected);
    }
}
