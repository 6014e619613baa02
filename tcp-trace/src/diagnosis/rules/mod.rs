//! The rules, one file each, and the table of them.

pub(super) mod close_wait;

use super::{Facts, Thresholds};
use crate::record::Finding;

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its findings' code.
    pub code: &'static str,
    /// The topic of `explain` that says more; a finding may name a closer one.
    pub explain: &'static str,
    /// Adds what it finds. Code, time and topic are filled in by the caller.
    pub judge: fn(&Facts<'_>, &Thresholds, &mut Vec<Finding>),
}

/// All rules. Of findings that are equally severe, those of earlier rules come first.
pub const RULES: &[Rule] =
    &[Rule { code: "close_wait", explain: "CLOSE_WAIT-leak", judge: close_wait::judge }];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{Language, Library};

    #[test]
    fn every_rule_is_explained_in_both_languages() {
        for language in [Language::En, Language::Zh] {
            let library = Library::new(language);
            for Rule { code, explain, .. } in RULES {
                assert!(library.named(&[(*explain).to_owned()]).is_some(), "{code}: {explain}");
            }
        }
    }

    #[test]
    fn no_code_is_two_rules() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(RULES[..index].iter().all(|other| other.code != rule.code), "{}", rule.code);
        }
    }
}
