//! A source file as the layout rules see it: its code without comments and tests, and where it is in its crate.

/// A source file.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path in the project.
    pub(super) name: String,
    /// Its modules, from the root of the crate; none for the root itself and for tests.
    modules: Vec<String>,
    /// Its code; comments and tests are left out, lines are kept.
    pub(super) code: String,
}

impl Source {
    /// Of a file with this path in the project and this path below its crate's `src`.
    pub(super) fn new(name: String, path: &str, text: &str) -> Self {
        let mut modules: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if modules.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            modules.pop();
        }
        let is_test = modules.iter().any(|module| module == "tests" || module.ends_with("_tests"));
        let code = if is_test { String::new() } else { without_tests(text) };
        Self { name, modules, code }
    }

    /// The module directly below the root of the crate that it belongs to.
    pub(super) fn top_module(&self) -> Option<&str> {
        self.modules.first().map(String::as_str)
    }

    /// What follows `crate::`, or as many `super::` as lead there, with the number of the line. Of a group, each member.
    pub(super) fn uses_of_root(&self) -> Vec<(usize, &str)> {
        let up = "super::".repeat(self.modules.len());
        let mut uses = Vec::new();
        for root in ["crate::", up.as_str()].into_iter().filter(|root| !root.is_empty()) {
            for (index, _) in self.code.match_indices(root) {
                let before = &self.code[..index];
                if before
                    .ends_with(|character: char| character.is_alphanumeric() || "_:$".contains(character))
                {
                    continue;
                }
                let line = before.matches('\n').count() + 1;
                uses.extend(first_names(&self.code[index + root.len()..]).map(|name| (line, name)));
            }
        }
        uses
    }
}

/// The first name of a path, or of each path of a group `{..}`.
fn first_names(path: &str) -> impl Iterator<Item = &str> {
    let members = match path.strip_prefix('{') {
        Some(group) => members(group),
        None => vec![path],
    };
    members.into_iter().filter_map(|member| {
        let member = member.trim_start();
        let end = member.find(|character: char| !character.is_alphanumeric() && character != '_');
        Some(&member[..end.unwrap_or(member.len())]).filter(|name| !name.is_empty())
    })
}

/// The members of a group, whose opening brace is before `group`.
fn members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..index]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    members
}

/// The code up to the tests, which stand at a file's end, with empty lines where comments were.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_module = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(is_module) {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line.split(" // ").next().unwrap_or(line));
        }
        code.push('\n');
    }
    code
}
