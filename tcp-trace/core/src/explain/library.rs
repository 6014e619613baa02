//! All notes in one language.

use super::{Group, Language, Topic, topic::parse};

/// Embeds a file of notes in both languages.
macro_rules! notes {
    ($name:literal) => {
        [
            include_str!(concat!("../../notes/en/", $name, ".txt")),
            include_str!(concat!("../../notes/zh/", $name, ".txt")),
        ]
    };
}

/// The files, each in English and in Chinese, in the order in which they are listed.
pub(super) const NOTES: &[[&str; 2]] = &[
    notes!("states"),
    notes!("opening"),
    notes!("closing"),
    notes!("transfer"),
    notes!("errors"),
    notes!("http"),
    notes!("tls"),
    notes!("status"),
    notes!("http2"),
    notes!("failures"),
    notes!("output"),
    notes!("reasons"),
];

/// All notes in one language.
#[derive(Clone, Debug)]
pub struct Library {
    language: Language,
    groups: Vec<Group>,
}

impl Library {
    /// The notes that are in the binary.
    pub fn new(language: Language) -> Self {
        let groups = NOTES.iter().map(|[english, chinese]| {
            let (own, foreign) = match language {
                Language::En => (english, chinese),
                Language::Zh => (chinese, english),
            };
            let (mut group, foreign) = (parse(own), parse(foreign));
            for (topic, foreign) in group.topics.iter_mut().zip(foreign.topics) {
                topic.foreign_names = foreign.names;
            }
            group
        });
        Self { language, groups: groups.collect() }
    }

    /// Its language.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Its topics by what they are about.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// All topics.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.groups.iter().flat_map(|group| &group.topics)
    }
}
