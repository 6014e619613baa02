//! What is wrong with what was typed, in one line, with what was meant or may be typed instead.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The line. clap's text has it too, among others, and a summary of the usage.
pub(super) fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut line = first_line(&text);
    let valid = words(error, ContextKind::ValidValue);
    if !valid.is_empty() {
        line += &format!("; possible values: {}", valid.join(", "));
    }
    let meant = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let meant: Vec<_> = meant.into_iter().flat_map(|kind| words(error, kind)).collect();
    if !meant.is_empty() {
        line += &format!("; did you mean {}?", meant.join(" or "));
    }
    if let Some(command) = command(error, &text) {
        line += &format!("; put a command to run after two dashes: -- {command}");
    }
    line
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // "the following arguments were not provided:" is worth nothing without what follows it.
    let rest: Vec<_> = text.lines().skip(1).take_while(|line| !line.is_empty()).map(str::trim).collect();
    if line.ends_with(':') { format!("{line} {}", rest.join(" ")) } else { line.to_owned() }
}

/// A word that no option is, where a command can be typed.
fn command(error: &clap::Error, text: &str) -> Option<String> {
    let takes_command = error.kind() == ErrorKind::UnknownArgument && text.contains("[-- <CMD>");
    let word = words(error, ContextKind::InvalidArg).into_iter().next();
    word.filter(|word| takes_command && !word.starts_with('-'))
}

/// What clap knows beside its text.
fn words(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(word)) => vec![word.clone()],
        Some(ContextValue::Strings(words)) => words.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{super::args::Cli, *};

    #[test]
    fn what_was_meant_is_reported() {
        for (typed, expected) in [
            (
                "live curl -v http://a/",
                "unexpected argument 'curl' found; put a command to run after two dashes: -- curl",
            ),
            (
                "record -o x --port 80 curl",
                "unexpected argument 'curl' found; put a command to run after two dashes: -- curl",
            ),
            ("diagnose curl", "unexpected argument 'curl' found"),
            ("live --prot 80", "unexpected argument '--prot' found; did you mean --port?"),
            (
                "live --format tabel",
                "invalid value 'tabel' for '--format <FORMAT>'; possible values: table, ladder, jsonl; did you mean \
                 table?",
            ),
            (
                "diagnose --format yaml",
                "invalid value 'yaml' for '--format <FORMAT>'; possible values: text, json",
            ),
            ("lieve", "unrecognized subcommand 'lieve'; did you mean live?"),
            ("show", "the following required arguments were not provided: <FILE>"),
        ] {
            let words = ["tcp-trace"].into_iter().chain(typed.split(' '));
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_eq!(in_one_line(&error), expected);
        }
    }
}
