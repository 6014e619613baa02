//! What callgrind wrote: instructions by function (its format: valgrind's manual, "Callgrind Format Specification").

use std::collections::HashMap;

/// The text of an output file.
pub(crate) struct Callgrind(pub(crate) String);

impl Callgrind {
    /// Instructions of the whole run.
    pub(crate) fn total(&self) -> Option<u64> {
        self.0.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
    }

    /// Functions with the instructions of their own, without those of what they call, most first.
    pub(crate) fn functions(&self) -> Vec<(&str, u64)> {
        let (mut names, mut sums) = (HashMap::new(), HashMap::new());
        let mut function = "";
        let mut is_of_call = false;
        for line in self.0.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = full_name(name, &mut names);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                full_name(name, &mut names);
            } else if line.starts_with("calls=") {
                is_of_call = true;
            } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
                // The line behind `calls` has what the called function took.
                let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
                if !std::mem::take(&mut is_of_call) {
                    *sums.entry(function).or_default() += cost.unwrap_or(0);
                }
            }
        }
        let mut functions: Vec<_> = sums.into_iter().collect();
        functions.sort_by_key(|(name, instructions)| (std::cmp::Reverse(*instructions), *name));
        functions
    }
}

/// A name is written once, as `(ID) NAME`, and then as `(ID)`.
fn full_name<'a>(written: &'a str, names: &mut HashMap<&'a str, &'a str>) -> &'a str {
    match written.split_once(' ') {
        Some((id, name)) => {
            names.insert(id, name);
            name
        }
        None => names.get(written).copied().unwrap_or(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_those_of_the_function_itself() {
        let text = "events: Ir\n\nfl=(1) a.rs\nfn=(1) parse\n10 5\n+1 7\ncfn=(2) copy\ncalls=3 20\n11 900\n* 2\n\n\
            fn=(2)\n20 900\n\nfn=(1)\n12 1\n\ntotals: 915\n";
        let callgrind = Callgrind(text.to_owned());
        assert_eq!(callgrind.functions(), [("copy", 900), ("parse", 15)]);
        assert_eq!(callgrind.total(), Some(915));
    }
}
