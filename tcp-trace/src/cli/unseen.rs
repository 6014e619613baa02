//! What `diagnose` could not see or remember, and what that costs, in sentences.

use super::args_diagnose::counted;
use crate::diagnosis::{
    History, Snapshot,
    snapshot::{Socket, Unseen},
};

/// A sentence for each.
pub(super) fn sentences(now: &Snapshot, history: &History) -> Vec<String> {
    let mut said = of_snapshot(now);
    said.extend(of_history(history));
    said
}

fn of_snapshot(now: &Snapshot) -> Vec<String> {
    let Unseen { processes, namespaces, is_incomplete, malformed, holders } = &now.unseen;
    let is_unknown =
        |socket: &&Socket| socket.is_chosen && !socket.has_no_file() && socket.holders.is_empty();
    let unknown = now.sockets.iter().filter(is_unknown).count();
    let mut said = Vec::new();
    if *processes > 0 && unknown > 0 {
        said.push(format!(
            "{unknown} sockets have no process here: {processes} processes could not be looked into. As root, or with \
             CAP_SYS_PTRACE, all are seen"
        ));
    }
    if !namespaces.is_empty() {
        said.push(format!(
            "the sockets of {} could not be listed: it needs CAP_SYS_ADMIN",
            counted(namespaces.len(), "other network namespace"),
        ));
    }
    if *is_incomplete {
        said.push("sockets come and go so fast that the kernel's list is not complete".to_owned());
    }
    if *malformed > 0 {
        said.push(format!("sockets that could not be understood and are left out: {malformed}"));
    }
    if *holders > 0 {
        said.push(format!("descriptors of sockets that were too many to look at: {holders}"));
    }
    said
}

fn of_history(history: &History) -> Vec<String> {
    let (lost, forgotten) = (history.lost, history.forgotten);
    let (connects, exchanges) = (history.attempts().uncounted, history.exchanges().uncounted);
    let mut said = Vec::new();
    if lost > 0 {
        said.push(format!(
            "{} lost: of some connections not all is known, and HTTP that broke off since is not judged",
            if lost == 1 { "1 event was".to_owned() } else { format!("{lost} events were") },
        ));
    }
    if forgotten > 0 {
        said.push(format!("connections that were too many to remember and are not judged: {forgotten}"));
    }
    if connects > 0 {
        said.push(format!(
            "connections to destinations that were too many to tell apart, so that their failures are not judged: \
             {connects}"
        ));
    }
    if exchanges > 0 {
        said.push(format!(
            "HTTP exchanges that were too many to remember, so that their slowness, idle times and small writes are not \
             judged: {exchanges}"
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_all_was_seen_there_is_nothing_to_say() {
        assert_eq!(sentences(&Snapshot::default(), &History::default()), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_said() {
        let unseen = Unseen {
            processes: 3,
            namespaces: vec![4_026_531_840],
            is_incomplete: true,
            malformed: 1,
            holders: 2,
        };
        let now = Snapshot { unseen, ..Snapshot::default() };
        let mut history = History::default();
        (history.lost, history.forgotten) = (1, 4);
        let said = sentences(&now, &history);
        let words = ["1 other network namespace could", "not complete", ": 1", ": 2", "1 event was lost", ": 4"];
        assert_eq!(said.len(), words.len(), "{said:#?}");
        for (sentence, words) in said.iter().zip(words) {
            assert!(sentence.contains(words), "{sentence}");
        }
    }
}
