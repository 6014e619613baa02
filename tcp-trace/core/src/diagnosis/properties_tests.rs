//! What holds of all rules together, over histories that are made up at random.

use std::collections::HashSet;

use proptest::prelude::*;
use tcp_trace_model::{
    event::{Direction, Flags, Role},
    record::{By, Connection, Finding, How, Http, Outcome},
};

use super::{
    Facts, History, Thresholds, judge,
    testing::Host,
    testing_http::{cut, exchange, life, segment, summary, unanswered},
};

/// How one connection ended that carried two requests.
#[derive(Clone, Copy, Debug)]
struct Scene {
    by: By,
    how: How,
    unread: u32,
    idle_ms: u64,
    is_cut: bool,
    is_answered: bool,
    process_ended: bool,
    has_server: bool,
    total_ms: u64,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let by = prop_oneof![Just(By::Local), Just(By::Peer)];
    let how = prop_oneof![Just(How::Fin), Just(How::Rst), Just(How::Timeout), Just(How::Open)];
    let unread = prop_oneof![Just(0_u32), Just(160), Just(100), Just(5_000)];
    (by, how, unread, 0_u64..5_000, any::<[bool; 4]>(), 1_u64..3_000).prop_map(
        |(by, how, unread, idle_ms, [is_cut, is_answered, process_ended, has_server], total_ms)| Scene {
            by,
            how,
            unread,
            idle_ms,
            is_cut,
            is_answered,
            process_ended,
            has_server,
            total_ms,
        },
    )
}

fn history(scene: Scene) -> History {
    let started = 20 + scene.idle_ms;
    let make = |role| -> Vec<Http> {
        let first = exchange(role, 0, 0);
        let mut second = match (scene.is_answered, scene.is_cut) {
            (true, _) => exchange(role, 1, started),
            (false, true) => Http { ..cut(role, Outcome::Truncated) },
            (false, false) => unanswered(role, 1, started, Outcome::NoResponse),
        };
        second.exchange.index = 1;
        second.exchange.timing.started = super::testing_http::at(started);
        second.exchange.timing.idle_us = Some(scene.idle_ms * 1_000);
        second.exchange.timing.total_us = scene.total_ms * 1_000;
        second.time = super::testing_http::at(started + scene.total_ms);
        vec![first, second]
    };
    let end = |role: Role, by| -> Connection {
        let mut end = summary(role, by, scene.how);
        end.closed = (!end.open).then(|| super::testing_http::at(started + scene.total_ms));
        end
    };
    let opposite = if scene.by == By::Local { By::Peer } else { By::Local };
    let mut history = History::default();
    life(&mut history, Vec::new(), make(Role::Client), end(Role::Client, scene.by));
    if scene.has_server {
        let mut server = end(Role::Server, opposite);
        (server.receive_queue, server.close.process_ended) = (scene.unread, scene.process_ended);
        let flags = if scene.how == How::Rst { Flags::RST } else { Flags::FIN };
        let segments = vec![segment(Role::Server, Direction::Out, flags, started)];
        life(&mut history, segments, make(Role::Server), server);
    }
    history
}

fn found(history: &History) -> Vec<Finding> {
    let host = Host::new();
    judge(&Facts::new(&host.snapshot, None, history), &Thresholds::DEFAULT).findings
}

proptest! {
    #[test]
    fn no_exchange_is_in_two_findings(scene in scenes()) {
        let findings = found(&history(scene));
        let mut seen = HashSet::new();
        for finding in &findings {
            for connection in &finding.connections {
                let (local, peer) = (connection.network.local, connection.network.peer);
                let ends = (local.port.min(peer.port), local.port.max(peer.port));
                for note in &connection.notes {
                    let request = note.split(':').next().unwrap_or_default().to_owned();
                    prop_assert!(seen.insert((ends, request)), "{findings:#?}");
                }
            }
        }
    }

    #[test]
    fn exchanges_that_go_well_and_quickly_are_no_finding(
        exchanges in prop::collection::vec((0_u64..10_000, 1_u64..900), 1..20),
        by in prop_oneof![Just(By::Local), Just(By::Peer)],
    ) {
        let mut history = History::default();
        let mut at_ms = 0;
        let mut all = Vec::new();
        for (index, (idle_ms, took_ms)) in (0..).zip(exchanges) {
            at_ms += idle_ms;
            let mut http = exchange(Role::Client, index, at_ms);
            http.exchange.timing.idle_us = Some(idle_ms * 1_000);
            http.exchange.timing.total_us = took_ms * 1_000;
            at_ms += took_ms;
            all.push(http);
        }
        life(&mut history, Vec::new(), all, summary(Role::Client, by, How::Fin));
        prop_assert_eq!(found(&history), []);
    }

    #[test]
    fn without_the_servers_end_there_is_no_further_finding(scene in scenes()) {
        let with = found(&history(Scene { has_server: true, ..scene })).len();
        let without = found(&history(Scene { has_server: false, ..scene })).len();
        prop_assert!(without <= with.max(1));
    }
}
