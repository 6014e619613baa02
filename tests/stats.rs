//! What `stats` counts, and which exchanges filters select, is what the server's log says.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;
use tcp_trace_model::record::Record;
use tcp_trace_tests::{Folder, Nginx, Tracer, curl, free_port, output, tcp_trace};

/// Requests of the load.
const REQUESTS: usize = 2000;

/// What `stats` prints of a recording, as JSON.
fn stats(recording: &str, arguments: &[&str]) -> Value {
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    fs::write(&file, recording).expect("the folder is ours");
    let printed = output(tcp_trace().arg("stats").arg(&file).args(["--format", "json"]).args(arguments));
    serde_json::from_slice(&printed.stdout).expect("it is JSON")
}

/// The number of requests of each group.
fn groups<'a>(stats: &'a Value, by: &str) -> BTreeMap<&'a str, u64> {
    let groups = stats["groups"].as_array().expect("a list");
    let of = |group: &'a Value| Some((group[by].as_str()?, group["requests"].as_u64()?));
    groups.iter().map(|group| of(group).expect("a name and a number")).collect()
}

#[test]
fn a_load_is_counted_as_its_server_logs_it() {
    let nginx = Nginx::start(free_port());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let count = REQUESTS.to_string();
    let ab = ["-q", "-k", "-c", "8", "-n", &count, &nginx.url("127.0.0.1", "/text.txt")];
    output(Command::new("ab").args(ab));
    let curls = curl(&[
        &nginx.url("127.0.0.1", "/nothing"),
        "--output",
        "/dev/null",
        &nginx.url("127.0.0.1", "/missing/7"),
        "--output",
        "/dev/null",
        &nginx.url("127.0.0.1", "/missing/8"),
    ]);
    let logged = nginx.access_log(REQUESTS + curls.len());
    tracer.wait_for_lines("http", 2 * logged.len());
    let recording = tracer.stop_for_text();
    let (mut statuses, mut bytes) = (BTreeMap::<String, u64>::new(), 0);
    for line in &logged {
        *statuses.entry(line.status.to_string()).or_default() += 1;
        bytes += line.body_bytes_sent;
    }

    let all = stats(&recording, &[]);
    assert_eq!(
        (&all["requests"], &all["lost"]),
        (&logged.len().into(), &0.into()),
        "both ends are one: {all}"
    );
    assert_eq!(all["statuses"], serde_json::json!(statuses));
    assert_eq!(all["response_bytes"], bytes);
    let paths = [("GET /text.txt", REQUESTS as u64), ("GET /missing/{n}", 2), ("GET /nothing", 1)];
    assert_eq!(groups(&all, "path"), BTreeMap::from(paths));
    let by_process = stats(&recording, &["--by", "process"]);
    let processes = [("ab → nginx", REQUESTS as u64), ("curl → nginx", 3)];
    assert_eq!(groups(&by_process, "process"), BTreeMap::from(processes));
    for (filter, requests) in [
        (["--status", "404"], 2),
        (["--status", "2xx"], REQUESTS + 1),
        (["--path", "/missing/*"], 2),
        (["--not-path", "/text.txt"], 3),
        (["--comm", "curl"], 3),
        (["--not-comm", "ab,nginx"], 3),
        (["--method", "post"], 0),
        (["--slower", "1h"], 0),
    ] {
        assert_eq!(stats(&recording, &filter)["requests"], requests, "{filter:?}");
    }
}

#[test]
fn exchanges_are_selected_while_they_are_traced() {
    let nginx = Nginx::start(free_port());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string(), "--status", "404", "--comm", "curl"]);
    let of = |path| nginx.url("127.0.0.1", path);
    // One connection without such an exchange, and one with another exchange before it and behind it.
    curl(&[&of("/nothing")]);
    let null = ["--output", "/dev/null"];
    let urls = [of("/nothing"), of("/missing"), of("/text.txt")];
    let curls = curl(&[&[&*urls[0]], &null[..], &[&*urls[1]], &null, &[&*urls[2]]].concat());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    let targets = recording.records.iter().filter_map(|record| match record {
        Record::Http(http) => {
            Some(http.exchange.request.as_ref().expect("it was seen").target.printable().to_string())
        }
        _ => None,
    });
    assert_eq!(targets.collect::<Vec<_>>(), ["/missing"]);
    let mut connections: Vec<_> = recording
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Transition(transition) => Some(transition.connection.ends().local.port),
            Record::Connection(summary) => Some(summary.connection.ends().local.port),
            _ => None,
        })
        .collect();
    assert!(connections.len() >= 5, "its whole life: {connections:?}");
    connections.dedup();
    assert_eq!(connections, [curls[1].local_port]);
}
