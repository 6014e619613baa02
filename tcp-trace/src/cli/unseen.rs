//! What `diagnose` could not see or remember, and what that costs, in sentences.

use tcp_trace_core::{
    diagnosis::{
        Facts, History, Snapshot,
        snapshot::{Socket, Unseen},
    },
    prose::counted,
};

/// A sentence for each.
pub(super) fn sentences(facts: &Facts<'_>) -> Vec<String> {
    let mut said = of_snapshot(facts.now);
    said.extend(of_history(facts.history));
    said.extend(without_route(facts));
    said
}

/// A connect() that finds no route changes no state of its socket (`tcp_v4_connect()` looks for one before): only the
/// kernel's counter tells. That of IPv6 says nothing: resolvers try addresses of both kinds.
fn without_route(facts: &Facts<'_>) -> Option<String> {
    let networks = facts.now.networks.iter();
    let count: u64 = networks.filter_map(|network| facts.growth(network.netns, "OutNoRoutes")).sum();
    (count > 0).then(|| {
        format!(
            "connects or packets that found no route over IPv4 meanwhile (ENETUNREACH): {count}; the kernel does not tell \
             whose"
        )
    })
}

fn of_snapshot(now: &Snapshot) -> Vec<String> {
    let Unseen { processes, namespaces_of, namespaces, is_incomplete, malformed, holders } = &now.unseen;
    let is_unknown =
        |socket: &&Socket| socket.is_chosen && !socket.has_no_file() && socket.holders.is_empty();
    let unknown = now.sockets.iter().filter(is_unknown).count();
    let mut said = Vec::new();
    if *processes > 0 && unknown > 0 {
        said.push(format!(
            "{} known: {} could not be looked into. As root, or with CAP_SYS_PTRACE, all are seen",
            if unknown == 1 {
                "of 1 socket the process is not".to_owned()
            } else {
                format!("of {unknown} sockets the processes are not")
            },
            counted(*processes, "process"),
        ));
    }
    if *namespaces_of > 0 {
        said.push(format!(
            "the network namespaces of {} could not be seen: what is in them is not judged, unless another process is \
             there too. As root, or with CAP_SYS_PTRACE, all are seen",
            counted(*namespaces_of, "process"),
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
    let (connects, exchanges) = (history.attempts().uncounted, history.exchanges());
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
    if exchanges.uncounted > 0 {
        said.push(format!(
            "HTTP exchanges of servers and processes that were too many to tell apart, so that their idle times, small \
             writes and numbers of responses are not judged: {}",
            exchanges.uncounted
        ));
    }
    if exchanges.forgotten_slow > 0 {
        said.push(format!(
            "slow HTTP exchanges that were too many to remember, so that their slowness is not judged: {}",
            exchanges.forgotten_slow
        ));
    }
    if exchanges.forgotten_errors > 0 {
        said.push(format!(
            "HTTP responses with 408, 502, 503 or 504 that were too many to remember, so that their causes are not \
             judged: {}",
            exchanges.forgotten_errors
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use tcp_trace_core::diagnosis::{
        attempts::DESTINATIONS_MAX,
        exchanges::{GATEWAY_MAX, PAIRS_MAX, SLOW_LEAST_US, SLOW_MAX},
        snapshot::Network,
        testing_http::{exchange, summary},
    };
    use tcp_trace_model::{
        event::Role,
        record::{By, Connection, How, Http, Process, Record},
    };

    use super::*;

    /// A history with one of everything too many.
    fn crowded() -> History {
        let mut history = History::default();
        let process = |number: usize| Some(Process { pid: 100 + number as u32, ..Process::default() });
        for number in 0..=DESTINATIONS_MAX {
            let end = summary(Role::Client, By::Local, How::Fin);
            history.record(&Record::Connection(Box::new(Connection { process: process(number), ..end })));
        }
        // Of each process requests and responses are told apart.
        for number in 0..=PAIRS_MAX / 2 {
            let http = Http { process: process(number), ..exchange(Role::Client, 0, 0) };
            history.record(&Record::Http(Box::new(http)));
        }
        for number in 0..=SLOW_MAX.max(GATEWAY_MAX) {
            let mut http = Http { process: process(0), ..exchange(Role::Client, number as u64, 0) };
            http.timing.total_us = SLOW_LEAST_US;
            http.http.response.as_mut().unwrap().status_code = 503;
            history.record(&Record::Http(Box::new(http)));
        }
        history
    }

    #[test]
    fn where_all_was_seen_there_is_nothing_to_say() {
        let (now, history) = (Snapshot::default(), History::default());
        assert_eq!(sentences(&Facts::new(&now, None, &history)), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_missing_is_said() {
        let unseen = Unseen {
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
        let now = Snapshot { unseen, networks: networks(12), ..Snapshot::default() };
        let mut history = crowded();
        (history.lost, history.forgotten) = (1, 4);
        let said = sentences(&Facts::new(&now, Some(&before), &history));
        let words = [
            "namespaces of 5 processes could not",
            "1 other network namespace could",
            "not complete",
            ": 1",
            ": 2",
            "1 event was lost",
            "connections that were too many to remember and are not judged: 4",
            "connections to destinations that were too many to tell apart, so that their failures are not judged: 1",
            "idle times, small writes and numbers of responses are not judged: 1",
            "slow HTTP exchanges that were too many to remember, so that their slowness is not judged: 1",
            "with 408, 502, 503 or 504 that were too many to remember, so that their causes are not judged: 1",
            "(ENETUNREACH): 7;",
        ];
        assert_eq!(said.len(), words.len(), "{said:#?}");
        for (sentence, words) in said.iter().zip(words) {
            assert!(sentence.contains(words), "{sentence}");
        }
    }
}
