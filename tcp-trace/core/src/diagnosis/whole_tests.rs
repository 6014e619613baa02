//! What holds of all findings, whatever was recorded.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tcp_trace_model::{
    event::Role,
    record::{ConnectionId, Filter, Finding, Record},
};

use super::{Facts, History, Thresholds, judge, recorded};
use crate::pipeline::testing::{LIVES, Life, play};

/// So strict that little is passed over.
const THRESHOLDS: Thresholds = Thresholds {
    min_age_us: 0,
    min_stall_us: 0,
    gateway_errors: 1,
    half_open: 1,
    time_wait: 1,
    ..Thresholds::DEFAULT
};

fn history(records: &[Record]) -> History {
    let mut history = History::default();
    records.iter().for_each(|record| history.record(record));
    history
}

/// What is found in these records, as in a recording.
fn findings(records: &[Record], filter: &Filter) -> Vec<Finding> {
    let history = history(records);
    let mut now = recorded::snapshot(&history);
    now.choose(filter);
    judge(&Facts::new(&now, None, &history), &THRESHOLDS).findings
}

fn connection(record: &Record) -> Option<ConnectionId> {
    match record {
        Record::Transition(transition) => Some(transition.connection),
        Record::Segment(segment) => Some(segment.connection),
        Record::Http(http) => Some(http.connection),
        Record::Connection(summary) => Some(summary.connection),
        _ => None,
    }
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    prop::collection::vec((0..LIVES).prop_map(Life::of), 1..5)
}

fn picks() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..4_usize, 1..40)
}

/// Of each event or record, whether it is missing.
fn missing() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.05), 200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_exchange_that_failed_has_one_cause_at_one_end(lives in lives(), picks in picks(), lost in missing()) {
        let records = play(Filter::default(), &lives, &picks, |number| lost[number % lost.len()]);
        let history = history(&records);
        let now = recorded::snapshot(&history);
        let facts = Facts::new(&now, None, &history);
        let broken = facts.broken();
        let places: BTreeSet<_> = broken.iter().map(|it| (it.http.connection, it.http.index)).collect();
        prop_assert_eq!(places.len(), broken.len());
        // Where both ends were traced whole, they count alike.
        let whole = |id| history.life_of(id).is_some_and(|life| life.is_from_start());
        for server in broken.iter().filter(|it| it.http.role == Some(Role::Server)) {
            let Some(client) = facts.other_life(server.http.connection) else { continue };
            if whole(server.http.connection) && whole(client.connection) {
                prop_assert!(!places.contains(&(client.connection, server.http.index)), "{:?}", server);
            }
        }
    }

    #[test]
    fn findings_are_of_what_was_selected(lives in lives(), picks in picks(), name in prop::sample::select(vec!["curl", "nginx"])) {
        let filter = Filter { comm: vec![name.to_owned()], ..Filter::default() };
        let records = play(filter.clone(), &lives, &picks, |_| false);
        let selected: BTreeSet<_> = records.iter().filter_map(connection).collect();
        for finding in findings(&records, &filter) {
            for it in &finding.connections {
                prop_assert!(selected.contains(&it.connection), "{:?} of {}", it.connection, finding.code);
            }
        }
    }

    #[test]
    fn records_that_are_missing_make_no_rule_panic(lives in lives(), picks in picks(), gone in missing()) {
        let mut records = play(Filter::default(), &lives, &picks, |_| false);
        let mut number = 0;
        records.retain(|_| {
            number += 1;
            !gone[number % gone.len()]
        });
        for finding in findings(&records, &Filter::default()) {
            prop_assert!(!finding.code.is_empty() && !finding.summary.is_empty());
        }
    }
}

/// The properties above prove something only if there is something to find.
#[test]
fn made_up_lives_have_findings_of_several_kinds() {
    let mut codes = BTreeMap::<String, usize>::new();
    for number in 0..LIVES {
        let lives = [Life::of(number), Life::of(number + 1)];
        let records = play(Filter::default(), &lives, &[0, 1, 1], |_| false);
        for finding in findings(&records, &Filter::default()) {
            *codes.entry(finding.code).or_default() += 1;
        }
    }
    assert!(codes.len() >= 3 && codes.contains_key("no_response"), "{codes:?}");
}
