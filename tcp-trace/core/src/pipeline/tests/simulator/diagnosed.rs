//! What `diagnose` finds in conversations: nothing in healthy ones, and nothing more where the ring buffer dropped events.

use tcp_trace_model::{
    record::{Finding, Loss, LossPlace},
    time::Time,
};

use super::*;
use crate::diagnosis::{Facts, History, Snapshot, Thresholds, judge, recorded};

/// Thresholds that are as strict as the scenes are short.
const STRICT: Thresholds = Thresholds {
    min_age_us: 100_000,
    min_stall_us: 100_000,
    slow_us: 300_000,
    slow_count: 1,
    gateway_errors: 1,
    ..Thresholds::DEFAULT
};

fn history(records: &[Record]) -> History {
    let mut history = History::default();
    records.iter().for_each(|record| history.record(record));
    history
}

/// What is found in a recording.
fn found(records: &[Record]) -> Vec<Finding> {
    let history = history(records);
    let end = recorded::snapshot(&history);
    judge(&Facts::new(&end, None, &history), &Thresholds::DEFAULT).findings
}

/// What is found in a trace, behind which the kernel lists no socket any more.
fn found_traced(records: &[Record]) -> Vec<Finding> {
    let history = history(records);
    let now = Snapshot { time: history.to.unwrap_or_default(), ..Snapshot::default() };
    judge(&Facts::new(&now, None, &history), &STRICT).findings
}

fn codes(findings: &[Finding]) -> HashSet<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// What is found in a scene of which events were dropped is of a kind that is found where all of it was seen.
fn assert_no_finding_added(scene: &Scene, dropped: &HashSet<usize>) -> Result<(), TestCaseError> {
    let played = play(scene);
    let all = found_traced(&kernel::record(&played, |_| false));
    let mut records = kernel::record(&played, |number| dropped.contains(&number));
    let mut times: Vec<_> =
        dropped.iter().filter_map(|number| Some(played.observations.get(*number)?.time)).collect();
    times.sort_unstable();
    records.extend(
        times.into_iter().map(|time| {
            Record::Loss(Loss { time: Time(time), place: LossPlace::Ring, events: 1, cpu: None })
        }),
    );
    let left = found_traced(&records);
    prop_assert!(codes(&left).is_subset(&codes(&all)), "{left:#?}");
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn healthy_conversations_have_no_finding(scene in scenes(0, 2_000_000)) {
        let records = kernel::record(&play(&scene), |_| false);
        prop_assert_eq!(found(&records), []);
        prop_assert_eq!(found_traced(&records), []);
    }

    #[test]
    fn what_is_dropped_adds_no_finding(
        scene in scenes(200, 2_000_000),
        dropped in prop::collection::hash_set(0..400_usize, 1..20),
    ) {
        assert_no_finding_added(&scene, &dropped)?;
    }
}

/// Else that nothing is found would say nothing.
#[test]
fn what_is_lost_on_the_way_is_found() {
    let is_found = |seed| {
        let (exchanges, finale, forged) = (vec![(3_000, 30_000)], Finale::Close(CLIENT), Vec::new());
        let scene = Scene { seed, loss: 200, jitter: 0, mss: 1_000, exchanges, finale, forged };
        codes(&found_traced(&kernel::record(&play(&scene), |_| false))).contains("slow_network")
    };
    assert!((0..20).any(is_found));
}

#[test]
fn what_held_up_a_request_behind_lost_events_is_known() {
    for (seed, loss, jitter, mss, exchanges, dropped) in [
        // A whole request, so that the two ends count differently.
        (
            6_470_823_465_590_187_850,
            130,
            1_128_059,
            1_143,
            [(2_225, 7_961), (1_082, 6_819), (1_082, 26_248)],
            &[53][..],
        ),
        // A middle segment of a request, so that the next one is none until it is answered.
        (
            16_170_734_405_102_259_232,
            149,
            1_315_547,
            237,
            [(2_783, 10_861), (1_361, 12_994), (1_835, 0)],
            &[2, 20, 286],
        ),
        // A request's head.
        (747_762_352_926_313_401, 180, 263_752, 378, [(1_073, 3_740), (696, 22_261), (696, 0)], &[76]),
    ] {
        let (exchanges, finale, forged) = (exchanges.to_vec(), Finale::Close(CLIENT), Vec::new());
        let scene = Scene { seed, loss, jitter, mss, exchanges, finale, forged };
        assert_no_finding_added(&scene, &dropped.iter().copied().collect()).unwrap();
    }
}
