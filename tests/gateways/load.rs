//! A gateway that answers 700 requests in a second with errors.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tcp_trace_model::record::Record;
use tcp_trace_tests::{Diagnosing, Diagnosis, Folder, Namespace, Tracer, tcp_trace};

use crate::{
    Causes, ask, causes,
    faults::Servers,
    gateway::{Gateway, Kind},
};

const REQUESTS_PER_SECOND: u32 = 700;
/// What is asked in turn, and the cause.
const QUICK: [(&str, &str); 4] = [
    ("refused", "upstream_refused"),
    ("closing", "upstream_closed"),
    ("cutting", "upstream_cut"),
    ("fine", ""),
];
/// What is asked all the time beside these.
const LONG: [(&str, &str); 3] =
    [("silent", "upstream_silent"), ("slow", "upstream_silent"), ("full", "upstream_connect_timeout")];
/// More than wait for an answer at the same time, if nothing stands still: HAProxy takes a second for a refused connect.
const CLIENTS: usize = 256;

/// Asks for this many seconds, and gives how many answers have each status and cause. A number of requests, not a time, ends it.
fn load(port: u16, seconds: u32) -> Causes {
    let (next, began) = (AtomicU32::new(0), Instant::now());
    let all = seconds * REQUESTS_PER_SECOND;
    let quick = || {
        let mut answers = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= all {
                return answers;
            }
            let due = Duration::from_secs(1) * number / REQUESTS_PER_SECOND;
            thread::sleep(due.saturating_sub(began.elapsed()));
            let (fault, cause) = QUICK[number as usize % QUICK.len()];
            answers.push((ask(port, format!("/{fault}?{number}")).1.expect("it answers"), cause));
        }
    };
    let long = |(fault, cause): (&str, &'static str)| {
        let answer = |number| (ask(port, format!("/{fault}?{number}")).1.expect("it answers"), cause);
        (0..seconds).map(answer).collect::<Vec<_>>()
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let mut threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(quick)).collect();
        threads.extend(LONG.map(|fault| scope.spawn(move || long(fault))));
        threads.into_iter().flat_map(|thread| thread.join().expect("it asks")).collect()
    });
    let mut causes = BTreeMap::new();
    for (status, cause) in answers.into_iter().filter(|(_, cause)| !cause.is_empty()) {
        *causes.entry((status, cause.to_owned())).or_default() += 1;
    }
    causes
}

/// The number behind these words, 0 where they are not said.
fn said_behind(words: &str, said: &str) -> u64 {
    let Some((_, rest)) = said.split_once(words) else { return 0 };
    let digits = rest.chars().take_while(|letter| !letter.is_whitespace()).filter(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap_or_default()
}

/// Every error has its cause, while nothing was lost.
fn under_load(kind: Kind, seconds: u32) {
    let namespace = Namespace::new();
    let servers = namespace.run(Servers::start);
    let gateway = Gateway::start(kind, &namespace, servers.ports());
    let filter = ["--netns", &namespace.inode().to_string()];
    let (tracer, tracing) = (Tracer::start(&filter), Diagnosing::of_host(&filter));
    let expected = namespace.run(|| load(gateway.port(), seconds));
    let traced = tracing.end();
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    let text = tracer.stop_for_text();
    let end = text.lines().rev().find_map(|line| match serde_json::from_str(line) {
        Ok(Record::End(end)) => Some(end),
        _ => None,
    });
    let lost = end.expect("it has an end").lost;
    fs::write(&file, &text).expect("the folder is ours");
    let recorded = Diagnosis::with(tcp_trace(), &["--from", file.to_str().expect("it is UTF-8")]);
    println!("{kind:?}: {expected:?}, {lost} lost in the recording");
    for (name, diagnosis) in [("--for", &traced), ("--from", &recorded)] {
        println!("{name}: {:?}; {}", causes(diagnosis), diagnosis.said);
        // What was lost or forgotten is said, and makes no other cause of anything.
        for (cause, count) in &causes(diagnosis) {
            assert!(
                cause.1 == "not_seen" || expected.get(cause) >= Some(count),
                "{name}: {cause:?} {diagnosis:#?}"
            );
        }
        // And what is missing is said: each request has a connection of its own, so that a lost event hides one answer at most, and of
        // each forgotten one the cause.
        let all = |causes: &Causes| causes.values().sum::<u64>();
        let unexamined = said_behind("lost ", &diagnosis.said) + said_behind("causes of ", &diagnosis.said);
        let told = all(&causes(diagnosis)) + unexamined;
        assert!(told >= all(&expected), "{name}: {told} of {}: {diagnosis:#?}", all(&expected));
        if lost == 0 && !["lost ", "not examined"].iter().any(|word| diagnosis.said.contains(word)) {
            assert_eq!(causes(diagnosis), expected, "{name}: {diagnosis:#?}");
        }
    }
    drop(gateway.end());
}

#[test]
fn every_error_has_its_cause_at_700_requests_in_a_second() {
    under_load(Kind::Nginx, 1);
}

#[test]
#[ignore = "takes a minute"]
fn every_error_has_its_cause_for_15_seconds() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        under_load(kind, 15);
    }
}
