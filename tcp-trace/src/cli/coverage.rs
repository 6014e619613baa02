//! What `diagnose` could not see or remember, and what that costs, in sentences.

use tcp_trace_core::{
    diagnosis::{
        Facts, History, Snapshot,
        snapshot::{Blindspots, Socket},
    },
    prose::counted,
};

/// A sentence for each. `may_inspect` says whether this process has the capability to inspect all others.
pub(super) fn sentences(facts: &Facts<'_>, may_inspect: bool) -> Vec<String> {
    let mut said = of_snapshot(facts.now, may_inspect);
    said.extend(of_history(facts.history));
    said.extend(without_route(facts));
    said
}

/// A connect() that finds no route changes no state of its socket (`tcp_v4_connect()` looks for one before): only the
/// kernel's counter shows it. That of IPv6 is useless: resolvers try addresses of both kinds.
fn without_route(facts: &Facts<'_>) -> Option<String> {
    let networks = facts.now.networks.iter();
    let count: u64 = networks.filter_map(|network| facts.growth(network.netns, "OutNoRoutes")).sum();
    (count > 0).then(|| {
        format!(
            "connects or packets without an IPv4 route meanwhile (ENETUNREACH): {count}; the kernel does not say whose"
        )
    })
}

fn of_snapshot(now: &Snapshot, may_inspect: bool) -> Vec<String> {
    let Blindspots { processes, namespaces_of, namespaces, is_incomplete, malformed, holders } =
        &now.blindspots;
    let is_unknown =
        |socket: &&Socket| socket.is_chosen && !socket.has_no_file() && socket.holders.is_empty();
    let unknown = now.sockets.iter().filter(is_unknown).count();
    let mut said = Vec::new();
    if *processes > 0 && unknown > 0 {
        said.push(format!(
            "{} without a known process: cannot inspect {}{}",
            counted(unknown, "socket"),
            counted(*processes, "process"),
            if may_inspect {
                ", even with CAP_SYS_PTRACE"
            } else {
                ". Root, or CAP_SYS_PTRACE, can inspect all"
            },
        ));
    }
    if *namespaces_of > 0 {
        said.push(format!(
            "cannot see the network namespaces of {}{}: their sockets are not examined unless another visible process \
             is in the same namespace{}",
            counted(*namespaces_of, "process"),
            if may_inspect { ", even with CAP_SYS_PTRACE" } else { "" },
            if may_inspect { "" } else { ". Root, or CAP_SYS_PTRACE, can see all" },
        ));
    }
    if !namespaces.is_empty() {
        said.push(format!(
            "cannot list the sockets of {}: this needs CAP_SYS_ADMIN",
            counted(namespaces.len(), "other network namespace"),
        ));
    }
    if *is_incomplete {
        said.push("sockets come and go so fast that the kernel's list is incomplete".to_owned());
    }
    if *malformed > 0 {
        said.push(format!("left out {} that could not be decoded", counted(*malformed, "socket")));
    }
    if *holders > 0 {
        said.push(format!("too many descriptors: {} not examined", counted(*holders, "socket descriptor")));
    }
    said
}

fn of_history(history: &History) -> Vec<String> {
    let (lost, forgotten) = (history.lost, history.forgotten);
    let (connects, exchanges) = (history.attempts().uncounted, history.exchanges());
    let mut said = Vec::new();
    if lost > 0 {
        let slow = match history.slow_unexamined() {
            0 => String::new(),
            count => format!(", and {count} that took long meanwhile"),
        };
        said.push(format!(
            "lost {}: some connections are incomplete, and HTTP exchanges that failed later{slow} are not examined",
            counted(lost, "event"),
        ));
    }
    if forgotten > 0 {
        said.push(format!("too many connections: {} not examined", counted(forgotten, "connection")));
    }
    if connects > 0 {
        said.push(format!(
            "too many destinations: failures of {} not examined",
            counted(connects, "connection")
        ));
    }
    if exchanges.uncounted > 0 {
        said.push(format!(
            "too many servers and processes: idle times, small writes and response counts of {} not examined",
            counted(exchanges.uncounted, "HTTP exchange")
        ));
    }
    if exchanges.forgotten_slow > 0 {
        said.push(format!(
            "too many slow exchanges: {} not examined",
            counted(exchanges.forgotten_slow, "slow HTTP exchange")
        ));
    }
    if exchanges.forgotten_errors > 0 {
        said.push(format!(
            "too many responses 408, 500, 502, 503 and 504: causes of {} not examined",
            counted(exchanges.forgotten_errors, "response")
        ));
    }
    if exchanges.forgotten_refused > 0 {
        said.push(format!(
            "too many streams for which a server did nothing: {} not examined",
            counted(exchanges.forgotten_refused, "HTTP/2 request")
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tcp_trace_core::diagnosis::{
        attempts::DESTINATIONS_MAX,
        exchanges::{GATEWAY_MAX, PAIRS_MAX, SLOW_LEAST_US, SLOW_MAX},
        snapshot::Network,
        testing_http::{exchange, summary},
    };
    use tcp_trace_model::{
        event::Role,
        record::{By, ConnectionInfo, How, Process, Record},
    };

    use super::*;

    /// A history with one of everything too many.
    fn crowded() -> History {
        let mut history = History::default();
        let of_process = |info: &mut Arc<ConnectionInfo>, number: usize| {
            let process = Process { pid: 100 + number as u32, ..Process::default() };
            Arc::make_mut(info).process = Some(Arc::new(process));
        };
        for number in 0..=DESTINATIONS_MAX {
            let mut end = summary(Role::Client, By::Local, How::Fin);
            of_process(&mut end.connection, number);
            history.record(&Record::Connection(Box::new(end)));
        }
        // Requests and responses of each process count separately.
        for number in 0..=PAIRS_MAX / 2 {
            let mut http = exchange(Role::Client, 0, 0);
            of_process(&mut http.connection, number);
            history.record(&Record::Http(http));
        }
        for number in 0..=SLOW_MAX.max(GATEWAY_MAX) {
            let mut http = exchange(Role::Client, number as u64, 0);
            of_process(&mut http.connection, 0);
            http.exchange.timing.total_us = SLOW_LEAST_US;
            http.exchange.response.as_mut().unwrap().status_code = 503;
            history.record(&Record::Http(http));
        }
        history
    }

    #[test]
    fn where_all_was_seen_there_is_nothing_to_say() {
        let (now, history) = (Snapshot::default(), History::default());
        assert_eq!(sentences(&Facts::new(&now, None, &history), false), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_said() {
        let blindspots = Blindspots {
            processes: 3,
            namespaces_of: 5,
            namespaces: vec![4_026_531_840],
            is_incomplete: true,
            malformed: 1,
            holders: 2,
        };
        let networks =
            |count| vec![Network { counters: vec![("OutNoRoutes".to_owned(), count)], ..Network::default() }];
        let before = Snapshot { networks: networks(5), ..Snapshot::default() };
        let now = Snapshot { blindspots, networks: networks(12), ..Snapshot::default() };
        let mut history = crowded();
        (history.lost, history.forgotten) = (1, 4);
        let said = sentences(&Facts::new(&now, Some(&before), &history), false);
        let words = [
            "cannot see the network namespaces of 5 processes",
            "cannot list the sockets of 1 other network namespace",
            "incomplete",
            "left out 1 socket that",
            "2 socket descriptors",
            "lost 1 event:",
            "4 connections not",
            "failures of 1 connection",
            "idle times, small writes and response counts of 1 HTTP exchange",
            "1 slow HTTP exchange",
            "causes of 1 response",
            "(ENETUNREACH): 7;",
        ];
        assert_eq!(said.len(), words.len(), "{said:#?}");
        for (sentence, words) in said.iter().zip(words) {
            assert!(sentence.contains(words), "{sentence}");
        }
    }
}
