//! Which lines come out of a recording.

use tcp_trace_model::{filter::ExchangeFilter, record::reader};

use super::*;

const ENDS: &str =
    r#""local":{"address":"127.0.0.1","port":8080},"peer":{"address":"127.0.0.1","port":41352}"#;

fn transition(id: &str, process: &str) -> String {
    format!(
        r#"{{"type":"transition","time":"2026-09-21T14:13:20Z","connection":"{id}","old":"SYN_RECV","new":"ESTABLISHED","estimated":false,"network":{{"type":"ipv4",{ENDS}}}{process}}}"#
    )
}

fn nginx() -> &'static str {
    r#","process":{"pid":812,"name":"nginx","uid":33}"#
}

fn segment(id: &str) -> String {
    format!(
        r#"{{"type":"segment","time":"2026-09-21T14:13:20Z","connection":"{id}","direction":"in","flags":["SYN"],"seq":1,"length":0,"retransmit":false}}"#
    )
}

fn forecast(of: &str) -> String {
    format!(r#"{{"type":"forecast","time":"2026-09-21T14:13:20Z"{of}}}"#)
}

fn comm(name: &str) -> Selection {
    Selection::new(Filter { comm: vec![name.to_owned()], ..Filter::default() })
}

/// What comes out of `lines`, in order, when they can be read once.
fn once(selection: &mut Selection, lines: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for line in lines {
        if let Some(held) = selection.pass(line.as_bytes(), &reader::parse(line.as_bytes()).unwrap()) {
            out.extend(held.into_iter().map(|line| String::from_utf8(line).unwrap()));
            out.push(line.clone());
        }
    }
    out
}

/// The same when they can be read twice.
fn twice(selection: &mut Selection, lines: &[String]) -> Vec<String> {
    for line in lines {
        selection.learn(line.as_bytes(), &reader::parse(line.as_bytes()).unwrap());
    }
    selection.settle();
    once(selection, lines)
}

#[test]
fn a_process_that_is_known_late_chooses_the_lines_before_it() {
    let lines = [segment("c1"), transition("c1", ""), transition("c1", nginx()), segment("c1")];
    for (name, count) in [("nginx", 4), ("curl", 0), ("ngin", 0)] {
        assert_eq!(once(&mut comm(name), &lines), lines[..count], "{name}");
        assert_eq!(twice(&mut comm(name), &lines), lines[..count], "{name}");
    }
}

#[test]
fn a_record_that_is_older_than_its_process_is_completed() {
    let (before, after) = (transition("c1", ""), transition("c1", nginx()));
    let mut selection = comm("nginx");
    twice(&mut selection, &[before.clone(), after.clone()]);
    let [mut completed, expected] = [before, after].map(|line| reader::parse(line.as_bytes()).unwrap());
    selection.complete(&mut completed);
    assert_eq!(completed, expected);
}

#[test]
fn what_can_be_read_twice_keeps_its_order() {
    let lines = [segment("c1"), transition("c2", nginx()), transition("c1", nginx())];
    assert_eq!(twice(&mut comm("nginx"), &lines), lines);
    let held_back = [&lines[1], &lines[0], &lines[2]].map(Clone::clone);
    assert_eq!(once(&mut comm("nginx"), &lines), held_back);
}

#[test]
fn a_process_that_is_never_known_is_not_chosen() {
    let lines = [segment("c1"), transition("c1", "")];
    assert!(once(&mut comm("nginx"), &lines).is_empty());
    assert!(twice(&mut comm("nginx"), &lines).is_empty());
}

#[test]
fn ports_and_addresses_choose_the_segments_too() {
    let lines = [segment("c1"), transition("c1", ""), segment("c1")];
    let port = |port| Filter { port: vec![port], ..Filter::default() };
    let addr = |net: &str| Filter { addr: vec![net.parse().unwrap()], ..Filter::default() };
    for (filter, count) in
        [(port(8080), 3), (port(41352), 3), (port(80), 0), (addr("127.0.0.0/8"), 3), (addr("::1"), 0)]
    {
        assert_eq!(once(&mut Selection::new(filter.clone()), &lines), lines[..count], "{filter:?}");
        assert_eq!(twice(&mut Selection::new(filter.clone()), &lines), lines[..count], "{filter:?}");
    }
}

#[test]
fn lines_about_the_session_pass_and_later_types_follow_their_connection() {
    let end = r#"{"type":"end","time":"2026-09-21T14:13:20Z","connections":0,"http":0,"events":0,"lost":0,"interrupted":false}"#;
    let lines = [
        transition("c1", nginx()),
        forecast(r#","connection":"c1""#),
        forecast(r#","connection":"c2""#),
        forecast(""),
        forecast(r#","connection":7"#),
        end.to_owned(),
    ];
    let chosen = [0, 1, 3, 4, 5].map(|line| lines[line].clone());
    assert_eq!(once(&mut comm("nginx"), &lines), chosen);
    assert_eq!(twice(&mut comm("nginx"), &lines), chosen);
    assert_eq!(once(&mut Selection::new(Filter::default()), &lines), lines);
}

#[test]
fn lives_of_one_socket_are_judged_apart() {
    let curl = r#","process":{"pid":7,"name":"curl","uid":0}"#;
    let lines = [transition("c1", nginx()), transition("c1.1", curl), segment("c1.1")];
    assert_eq!(once(&mut comm("nginx"), &lines), lines[..1]);
}

#[test]
fn lines_that_find_no_room_are_counted_by_connection() {
    let mut selection = comm("nginx");
    selection.held_bytes_max = segment("c1").len() + 10;
    let lines = [
        segment("c1"),
        segment("c2"),
        segment("c2"),
        transition("c1", nginx()),
        transition("c2", nginx()),
        segment("c3"),
        transition("c3", nginx()),
    ];
    let chosen = [0, 3, 5, 6].map(|line| lines[line].clone());
    assert_eq!(once(&mut selection, &lines), chosen, "what was held makes room again");
    assert_eq!((selection.left_out(), selection.held_bytes), (1, 0));
}

fn lookup(number: u64, process: &str) -> String {
    format!(
        r#"{{"type":"dns","time":"2026-09-21T14:13:20Z","lookup":{number},"answers":[],"outcome":"ok","started":"2026-09-21T14:13:20Z","server":{{"address":"192.0.2.53","port":53}},"transport":"udp","network":{{"type":"ipv4","local":{{"address":"192.0.2.9","port":40000}},"peer":{{"address":"192.0.2.53","port":53}}}}{process}}}"#
    )
}

#[test]
fn a_lookup_is_chosen_by_itself_or_by_the_connection_that_follows_it() {
    let lines =
        [lookup(1, nginx()), lookup(2, ""), lookup(3, ""), transition("c1", nginx()), summary("c1", 2)];
    let port = |port| Filter { port: vec![port], ..Filter::default() };
    for (filter, chosen, from_a_pipe) in [
        (port(8080), &[1, 3, 4][..], &[3, 1, 4][..]),
        (port(53), &[0, 1, 2], &[0, 1, 2]),
        (port(80), &[], &[]),
        (Filter { comm: vec!["nginx".to_owned()], ..Filter::default() }, &[0, 1, 3, 4], &[0, 3, 1, 4]),
    ] {
        let of = |numbers: &[usize]| numbers.iter().map(|line| lines[*line].clone()).collect::<Vec<_>>();
        assert_eq!(twice(&mut Selection::new(filter.clone()), &lines), of(chosen), "{filter:?}");
        assert_eq!(once(&mut Selection::new(filter.clone()), &lines), of(from_a_pipe), "{filter:?}");
    }
}

fn placed(id: &str, place: &str) -> String {
    format!(
        r#"{{"type":"connection","time":"2026-09-21T14:13:20Z","connection":"{id}","network":{{"type":"ipv4",{ENDS},"netns":7}},"process":{{"pid":812,"name":"nginx","uid":33}}{place},"opened":"2026-09-21T14:13:20Z","duration_us":0,"seen_from_start":true,"open":true,"states":[],"close":{{"by":"none","how":"open"}},"bytes":{{"sent":0,"received":0}},"retransmits":0}}"#
    )
}

#[test]
fn network_namespaces_and_cgroups_select_by_the_line_that_has_them() {
    let place = r#","cgroup":"/system.slice/nginx.service""#;
    let lines = [segment("c1"), transition("c1", nginx()), placed("c1", place)];
    let none = [segment("c1"), transition("c1", nginx()), placed("c1", "")];
    let netns = |number| Filter { netns: vec![number], ..Filter::default() };
    let cgroup = |path: &str| Filter { cgroup: vec![path.to_owned()], ..Filter::default() };
    for (filter, lines, count) in [
        (netns(7), &lines, 3),
        (netns(8), &lines, 0),
        (cgroup("/system.slice"), &lines, 3),
        (cgroup("/user.slice"), &lines, 0),
        (cgroup("/system.slice"), &none, 0),
        (Filter { netns: vec![8], ..cgroup("/system.slice") }, &lines, 0),
        (Filter { pid: vec![1], ..cgroup("/system.slice") }, &lines, 0),
    ] {
        let selection = || Selection::new(filter.clone());
        assert_eq!(once(&mut selection(), lines), lines[..count], "{filter:?}");
        assert_eq!(twice(&mut selection(), lines), lines[..count], "{filter:?}");
    }
}

#[test]
fn either_pair_of_addresses_chooses_a_connection() {
    // REDIRECT of 127.0.0.1:41352 to 127.0.0.1:15001.
    let local = r#""local":{"address":"127.0.0.1","port":8080}"#;
    let translated = format!(r#","translated":{{{local},"peer":{{"address":"127.0.0.9","port":15001}}}}"#);
    let later = transition("c1", "").replace(ENDS, &format!("{ENDS}{translated}"));
    let port = |port: u16| Filter { peer_port: vec![port], ..Filter::default() };
    let addr = |net: &str| Filter { addr: vec![net.parse().unwrap()], ..Filter::default() };
    let older = [transition("c1", ""), later.clone()];
    let whole = [later.clone(), segment("c1")];
    for (filter, is_own, is_translated) in [
        (port(41352), true, true),
        (port(15_001), false, true),
        (addr("127.0.0.1"), true, true),
        (addr("127.0.0.9"), false, true),
        (port(80), false, false),
    ] {
        let of = |lines: &[String]| once(&mut Selection::new(filter.clone()), lines).len();
        assert_eq!(of(&whole), if is_translated { 2 } else { 0 }, "{filter:?}");
        // The addresses of a socket that is older than the recording are known later: what came before is left out, unless the
        // recording can be read twice.
        assert_eq!(of(&older), usize::from(is_own) + usize::from(is_translated), "{filter:?}");
        let of_two = twice(&mut Selection::new(filter.clone()), &older).len();
        assert_eq!(of_two, if is_translated { 2 } else { 0 }, "{filter:?}");
    }
}

fn summary(id: &str, follows: u64) -> String {
    format!(
        r#"{{"type":"connection","time":"2026-09-21T14:13:20Z","connection":"{id}","network":{{"type":"ipv4",{ENDS}}},"dns":{{"lookup":{follows},"name":"h","duration_us":1,"age_us":1}},"opened":"2026-09-21T14:13:20Z","duration_us":0,"seen_from_start":true,"open":false,"states":[],"close":{{"by":"none","how":"open"}},"bytes":{{"sent":0,"received":0}},"retransmits":0}}"#
    )
}

fn http(id: &str, path: &str, status: u16) -> String {
    format!(
        r#"{{"type":"http","time":"2026-09-21T14:13:20Z","connection":"{id}","role":"server","index":0,"network":{{"transport":"tcp","protocol":{{"name":"http","version":"1.1"}},"type":"ipv4",{ENDS}}},"http":{{"request":{{"method":"GET","target":"{path}","headers":[],"header_size":18,"body":{{"size":0}}}},"response":{{"status_code":{status},"reason":"","headers":[],"header_size":19,"body":{{"size":0}}}}}},"url":{{"scheme":"http","path":"{path}"}},"timing":{{"started":"2026-09-21T14:13:20Z","total_us":5}},"integrity":"complete","outcome":"ok"}}"#
    )
}

#[test]
fn an_exchange_is_selected_with_its_connection_and_without_its_other_exchanges() {
    let lines = [
        segment("c1"),
        http("c1", "/a", 200),
        segment("c2"),
        http("c2", "/a", 404),
        http("c2", "/b", 200),
        transition("c2", nginx()),
    ];
    let with = |exchanges| Filter { exchanges, ..Filter::default() };
    let status = ExchangeFilter { status: vec!["4xx".parse().unwrap()], ..ExchangeFilter::default() };
    let path = ExchangeFilter { path: vec!["/b".parse().unwrap()], ..ExchangeFilter::default() };
    let not = |exchanges| Filter { not: vec![with(exchanges)], ..Filter::default() };
    for (filter, chosen) in [
        (with(status.clone()), &[2, 3, 5][..]),
        (with(path.clone()), &[2, 4, 5]),
        (not(status), &[0, 1, 2, 4, 5]),
        (Filter { not: not(path).not, ..with(ExchangeFilter { failed: true, ..Default::default() }) }, &[]),
    ] {
        let chosen: Vec<_> = chosen.iter().map(|line| lines[*line].clone()).collect();
        assert_eq!(once(&mut Selection::new(filter.clone()), &lines), chosen, "{filter:?}");
        assert_eq!(twice(&mut Selection::new(filter.clone()), &lines), chosen, "{filter:?}");
    }
}
