//! Circles between the top-level modules of a crate: who uses whom must have an end.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Who uses whom, with the places of the uses.
#[derive(Debug, Default)]
struct Graph<'a> {
    uses: BTreeMap<(&'a str, &'a str), Vec<String>>,
}

/// What breaks the rule in a crate, of all its source files. `allowed` are edges, `FROM -> TO`, that may close a circle; one
/// that closes none any more breaks the rule too.
pub(super) fn cycles(sources: &[Source], allowed: &[&str]) -> Vec<String> {
    let modules: BTreeSet<&str> = sources.iter().filter_map(Source::top_module).collect();
    let mut graph = Graph::default();
    for source in sources {
        let Some(from) = source.top_module() else { continue };
        for (line, to) in source.uses_of_root() {
            if let Some(to) = modules.get(to).filter(|to| **to != from) {
                graph.uses.entry((from, to)).or_default().push(format!("{}:{line}", source.name));
            }
        }
    }
    let mut violations = Vec::new();
    for edge in allowed {
        let Some((from, to)) = edge.split_once(" -> ") else {
            continue;
        };
        if !graph.uses.contains_key(&(from, to)) || !graph.reaches(to, from) {
            violations.push(format!("ARCHITECTURE.md: `{edge}` closes no circle of modules any more"));
        }
    }
    graph.uses.retain(|(from, to), _| !allowed.contains(&format!("{from} -> {to}").as_str()));
    while let Some((edge, places)) = graph.rarest_of_a_circle() {
        let (from, to) = edge;
        let back = graph.way(to, from).join(" -> ");
        violations.push(format!("{}: closes a circle of modules: {from} -> {back}", places.join(", ")));
        graph.uses.remove(&edge);
    }
    violations
}

impl<'a> Graph<'a> {
    /// Of the edges that lie on a circle, the one with the fewest uses: the one that is cut most easily.
    fn rarest_of_a_circle(&self) -> Option<((&'a str, &'a str), Vec<String>)> {
        let circular = self.uses.iter().filter(|((from, to), _)| self.reaches(to, from));
        circular.min_by_key(|(_, places)| places.len()).map(|(edge, places)| (*edge, places.clone()))
    }

    fn reaches(&self, from: &str, to: &str) -> bool {
        !self.way(from, to).is_empty()
    }

    /// The modules on a shortest way, both ends included; none when there is no way.
    fn way(&self, from: &str, to: &str) -> Vec<&'a str> {
        let known = |name: &str| self.uses.keys().map(|(user, _)| *user).find(|user| *user == name);
        let mut ways: Vec<Vec<&str>> = known(from).map(|from| vec![from]).into_iter().collect();
        let mut seen: BTreeSet<&str> = ways.iter().flatten().copied().collect();
        while !ways.is_empty() {
            let mut next = Vec::new();
            for way in ways {
                let last = way.last().copied().unwrap_or_default();
                if last == to {
                    return way;
                }
                for (_, used) in self.uses.keys().filter(|(user, _)| *user == last) {
                    if seen.insert(used) {
                        next.push([way.as_slice(), &[*used]].concat());
                    }
                }
            }
            ways = next;
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(format!("a/src/{path}"), path, text)
    }

    #[test]
    fn a_circle_is_named_with_the_edge_that_closes_it() {
        let sources = [
            source("lib.rs", "pub mod http;\npub mod dns;\npub mod text;"),
            source("http/mod.rs", "use crate::{\n    dns::{Name, Type},\n    text::Text,\n};"),
            source("http/head.rs", "use crate::text::Text;\nfn f() -> super::super::dns::Name {}"),
            source("dns.rs", "use super::text;"),
            source("text.rs", "//! x\nfn f(a: crate::http::Head) {}"),
        ];
        let expected = "a/src/dns.rs:1: closes a circle of modules: dns -> text -> http -> dns";
        let found = cycles(&sources, &[]);
        // What remains without that edge is a circle too.
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], expected);
        assert_eq!(found[1], "a/src/text.rs:2: closes a circle of modules: text -> http -> text");
        assert!(cycles(&sources, &["text -> http"]).is_empty());
        assert_eq!(
            cycles(&sources[..4], &["text -> http"]),
            ["ARCHITECTURE.md: `text -> http` closes no circle of modules any more"]
        );
    }

    #[test]
    fn tests_comments_and_strings_of_other_crates_use_nothing() {
        let sources = [
            source("a.rs", "use crate::b::B;\n#[cfg(test)]\nmod tests {\n    use crate::c;\n}\n"),
            source("b.rs", "// crate::a\nuse other_crate::a;\nuse super::super_a;\n"),
            source("b_tests.rs", "use crate::a;"),
            source("c/tests.rs", "use crate::a;"),
            source("c.rs", "use crate::a;\nuse self::a;"),
        ];
        assert!(cycles(&sources, &[]).is_empty());
    }
}
