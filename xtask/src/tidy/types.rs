//! Types that do too much: many methods over many fields.

use std::collections::BTreeMap;

use super::source::Source;

/// Most methods of a type that has more fields than [`FIELDS_MAX`].
const METHODS_MAX: usize = 25;
/// Most fields of a type that has more methods than [`METHODS_MAX`].
const FIELDS_MAX: usize = 10;

/// What breaks the rule in a crate, of all its source files. `allowed` are types that may; one that keeps the rule now breaks
/// it too. The code is as rustfmt leaves it.
pub(super) fn too_large(sources: &[Source], allowed: &[&str]) -> Vec<String> {
    // Where a type is, how many fields it has, and how many methods.
    let mut types: BTreeMap<&str, (String, usize, usize)> = BTreeMap::new();
    for item in sources.iter().flat_map(items) {
        match item {
            Item::Struct { name, place, fields } => {
                let (of, count, _) = types.entry(name).or_default();
                (*of, *count) = (place, fields);
            }
            Item::Methods { of, count } => types.entry(of).or_default().2 += count,
        }
    }
    let mut violations = Vec::new();
    for (name, (place, fields, methods)) in &types {
        let is_large = *methods > METHODS_MAX && *fields > FIELDS_MAX;
        if is_large && !allowed.contains(name) {
            violations.push(format!("{place}: {name} has {methods} methods over {fields} fields"));
        }
        if !is_large && allowed.contains(name) {
            violations.push(format!("ARCHITECTURE.md: `{name}` is not too large any more"));
        }
    }
    violations
}

enum Item<'a> {
    Struct { name: &'a str, place: String, fields: usize },
    Methods { of: &'a str, count: usize },
}

/// Structs with named fields and inherent implementations, which rustfmt begins and ends at the first column.
fn items(source: &Source) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let lines: Vec<&str> = source.code.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let body = || lines[index + 1..].iter().take_while(|line| **line != "}");
        let word = visible(line);
        if let Some(rest) = word.strip_prefix("struct ").filter(|_| line.ends_with('{')) {
            let place = format!("{}:{}", source.name, index + 1);
            items.push(Item::Struct {
                name: name(rest),
                place,
                fields: body().filter(|line| is_field(line)).count(),
            });
        } else if line.starts_with("impl") && line.ends_with('{') && !line.contains(" for ") {
            let of = name(after_parameters(&line["impl".len()..]).trim_start());
            items.push(Item::Methods { of, count: body().filter(|line| is_method(line)).count() });
        }
    }
    items
}

/// Without `pub` and what follows it in parentheses.
fn visible(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else {
        return line;
    };
    let rest = if rest.starts_with('(') { rest.split_once(')').map_or(rest, |(_, rest)| rest) } else { rest };
    rest.trim_start()
}

/// The name that a text begins with.
fn name(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_');
    &text[..end.unwrap_or(text.len())]
}

/// What follows the parameters of `impl<..>`.
fn after_parameters(text: &str) -> &str {
    let mut depth = 0;
    for (index, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ if depth == 0 => return &text[index..],
            _ => {}
        }
    }
    text
}

fn member(line: &str) -> Option<&str> {
    line.strip_prefix("    ").filter(|line| !line.starts_with([' ', '}', '#', '/'])).map(visible)
}

fn is_field(line: &str) -> bool {
    member(line).is_some_and(|line| line[name(line).len()..].starts_with(':'))
}

fn is_method(line: &str) -> bool {
    let qualifiers = ["const", "async", "unsafe"];
    let words = member(line).unwrap_or_default().split(' ');
    words.into_iter().find(|word| !qualifiers.contains(word)) == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: usize, methods: usize) -> Vec<Source> {
        let fields: String =
            (0..fields).map(|n| format!("    /// A field: {n}.\n    pub(crate) f{n}: u8,\n")).collect();
        let method = |n| format!("    pub const fn m{n}(&self) {{\n        fn inner() {{}}\n    }}\n");
        let methods: Vec<String> = (0..methods).map(method).collect();
        let (first, second) = methods.split_at(3);
        let declaration = format!(
            "pub struct Large<'a, T> {{\n{fields}}}\n\nimpl<'a, T: Into<u8>> Large<'a, T> {{\n{}}}\n",
            first.concat()
        );
        let others = format!(
            "impl Large<'_, u8> {{\n{}}}\n\nimpl Drop for Large<'_, u8> {{\n    fn drop(&mut self) {{}}\n}}\n",
            second.concat()
        );
        vec![
            Source::new("x/src/a.rs".to_owned(), "a.rs", &declaration),
            Source::new("x/src/b.rs".to_owned(), "b.rs", &others),
        ]
    }

    #[test]
    fn many_methods_over_many_fields_are_too_much() {
        for (fields, methods, allowed, expected) in [
            (11, 25, &[][..], None),
            (10, 26, &[], None),
            (11, 26, &[], Some("x/src/a.rs:1: Large has 26 methods over 11 fields")),
            (11, 26, &["Large"], None),
            (10, 26, &["Large"], Some("ARCHITECTURE.md: `Large` is not too large any more")),
        ] {
            let found = too_large(&of(fields, methods), allowed);
            assert_eq!(found.first().map(String::as_str), expected, "{fields} fields, {methods} methods");
        }
    }
}
