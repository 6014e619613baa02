//! `explain`: the notes that are in the binary. Needs no privileges.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use tcp_trace_core::explain::{Language, Library, Page, nothing_found};

use super::{
    CliError,
    args::{Explain, NotesLanguage},
    output,
};

pub(super) fn run(arguments: &Explain) -> Result<ExitCode, CliError> {
    let language = arguments.lang.map_or_else(locale_language, Language::from);
    let library = Library::new(language);
    let palette = output::palette(arguments.colour);
    let words = &arguments.topic;
    let text = if words.is_empty() {
        Page::list(&library, &palette)
    } else if let Some(topic) = library.named(words) {
        Page::topic(topic, language, &palette)
    } else if let Some(topics) = library.listed(words) {
        let pages = topics.into_iter().map(|topic| Page::topic(topic, language, &palette));
        pages.collect::<Vec<_>>().join("\n")
    } else {
        let found = library.containing(words);
        if found.is_empty() {
            return Err(CliError::usage(nothing_found(words, &library.nearest(words), language)));
        }
        Page::found(&found, language, &palette)
    };
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        // The reader of the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::io(format!("cannot write {}", output::NAME), error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The language of the user's locale.
fn locale_language() -> Language {
    let variables = ["LC_ALL", "LC_MESSAGES", "LANG"].map(env::var_os);
    Language::of_locale(variables.each_ref().map(Option::as_deref))
}

impl From<NotesLanguage> for Language {
    fn from(chosen: NotesLanguage) -> Self {
        match chosen {
            NotesLanguage::En => Self::En,
            NotesLanguage::Zh => Self::Zh,
        }
    }
}
