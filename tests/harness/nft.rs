//! Address translation by nft.

use std::{io::Write as _, process::Stdio};

use crate::Namespace;

/// Start of a chain for what processes of the host send.
pub const OUTPUT: &str = "type nat hook output priority -100;";
/// Start of a chain for what comes from outside.
pub const PREROUTING: &str = "type nat hook prerouting priority -100;";
/// Start of a chain for what leaves the host.
pub const POSTROUTING: &str = "type nat hook postrouting priority 100;";

/// Sets rules in a namespace, each element a chain: its start, and its rules.
pub fn translate(namespace: &Namespace, chains: &[&str]) {
    let chains: String = chains
        .iter()
        .enumerate()
        .map(|(number, chain)| format!("chain c{number} {{ {chain}\n}}\n"))
        .collect();
    let ruleset = format!("table inet nat {{\n{chains}}}\n");
    let mut nft =
        namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft can be started");
    nft.stdin.take().expect("it is piped").write_all(ruleset.as_bytes()).expect("nft reads");
    assert!(nft.wait().expect("it ends").success(), "{ruleset}");
}
