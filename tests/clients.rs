//! Real clients other than curl, at nginx: their exchanges are what nginx logged and what they say themselves.

use std::{
    collections::HashMap,
    fs::{self, File},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde::Deserialize;
use tcp_trace_model::{event::Role, record::Http};
use tcp_trace_tests::{
    Folder, Kind, Nginx, Recording, Running, StreamedTracer, Sum, Tracer, assert_logged, free_port, output,
};

/// Follows nginx's port.
fn start() -> (Nginx, Tracer) {
    let nginx = Nginx::start(free_port());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    (nginx, tracer)
}

/// Ends it once this many exchanges are recorded at both ends, and compares with nginx's log.
fn stop(nginx: &Nginx, tracer: Tracer, exchanges: usize) -> Recording {
    tracer.wait_for_lines("http", 2 * exchanges);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_logged(&recording, &nginx.access_log(exchanges), "nginx");
    recording
}

/// Status and size of the body of each response to a process, in order.
fn responses_to(recording: &Recording, pid: u32) -> Vec<(u16, u64)> {
    let exchanges = recording.http_of(Role::Client);
    let is_its = |http: &&&Http| http.connection.process.as_ref().is_some_and(|process| process.pid == pid);
    let response = |http: &Http| http.exchange.response.as_ref().map(|r| (r.status_code, r.body.size));
    exchanges.iter().filter(is_its).map(|http| response(http).expect("it was answered")).collect()
}

/// Bytes of all responses, and of their bodies alone.
fn received(recording: &Recording) -> (u64, u64) {
    let responses =
        recording.http_of(Role::Client).into_iter().filter_map(|http| http.exchange.response.as_ref());
    let sizes: Vec<_> = responses.map(|response| (response.header_size, response.body.size)).collect();
    (sizes.iter().map(|(head, body)| head + body).sum(), sizes.iter().map(|(_, body)| body).sum())
}

/// What stands behind a label in a program's report, up to a blank.
fn reported<'a>(report: &'a str, label: &str) -> &'a str {
    let (_, behind) = report.split_once(label).unwrap_or_else(|| panic!("no {label} in {report}"));
    behind.split_whitespace().next().unwrap_or_else(|| panic!("nothing behind {label} in {report}"))
}

/// The same as a number.
fn number(report: &str, label: &str) -> u64 {
    let word = reported(report, label);
    word.parse().unwrap_or_else(|error| panic!("{error}: {word} behind {label}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it prints text")
}

#[test]
fn wget_is_recorded() {
    assert_wget(&["/echo/a", "/text.txt", "/echo/b?c=d"]);
}

#[test]
fn wget_of_large_bodies_is_recorded() {
    assert_wget(&["/big"; 10]);
}

/// wget requests these paths.
fn assert_wget(paths: &[&str]) {
    let (nginx, tracer) = start();
    let folder = Folder::new();
    let urls = paths.iter().map(|path| nginx.url("127.0.0.1", path));
    let mut command = Command::new("wget");
    command.env("LC_ALL", "C").current_dir(folder.path()).args(["--no-config", "--no-proxy"]).args(urls);
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("wget can be started");
    let pid = child.id();
    let result = child.wait_with_output().expect("wget can be waited for");
    assert!(result.status.success(), "{result:?}");
    let report = text(result.stderr);
    // As in `'big' saved [1048576/1048576]`.
    let saved = report.split(" saved [").skip(1).filter_map(|rest| rest.split([']', '/']).next());
    let saved: Vec<_> = saved.map(|size| (200, size.parse().expect("a number"))).collect();
    assert_eq!(saved.len(), paths.len(), "{report}");
    assert_eq!(responses_to(&stop(&nginx, tracer, paths.len()), pid), saved);
}

#[test]
fn python_requests_is_recorded() {
    const SCRIPT: &str = "\
import json, requests, sys
session = requests.Session()
session.trust_env = False
url = sys.argv[1]
chunks = lambda: iter([b'a' * 1000, b'b' * 70000])
for method, path, body in [('GET', '/echo/a', None), ('HEAD', '/big', None), ('GET', '/text.txt', None),
                           ('POST', '/echo/form', {'a': 'b'}), ('POST', '/echo/chunks', chunks()),
                           ('DELETE', '/nothing', None), ('GET', '/missing', None)]:
    answer = session.request(method, url + path, data=body, stream=True)
    size = len(answer.raw.read(decode_content=False))
    print(json.dumps([answer.status_code, size]))
    answer.close()
";
    let (nginx, tracer) = start();
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, &nginx.url("127.0.0.1", "")]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().expect("Python can be started");
    let pid = child.id();
    let result = child.wait_with_output().expect("Python can be waited for");
    assert!(result.status.success(), "{result:?}");
    let said: Vec<(u16, u64)> =
        text(result.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let recording = stop(&nginx, tracer, 7);
    assert_eq!(responses_to(&recording, pid), said);
    let request_bodies: Vec<_> = recording
        .http_of(Role::Client)
        .iter()
        .filter_map(|http| http.exchange.request.as_ref().map(|request| request.body.size))
        .collect();
    assert_eq!(request_bodies, [0, 0, 0, 3, 71_000, 0, 0]);
}

#[test]
fn apache_bench_is_recorded() {
    let (nginx, tracer) = start();
    let url = nginx.url("127.0.0.1", "/text.txt");
    let report = text(output(Command::new("ab").args(["-q", "-k", "-n", "500", "-c", "5", &url])).stdout);
    assert_eq!((number(&report, "Complete requests:"), number(&report, "Failed requests:")), (500, 0));
    let recording = stop(&nginx, tracer, 500);
    let sizes = (number(&report, "Total transferred:"), number(&report, "HTML transferred:"));
    assert_eq!(received(&recording), sizes);
}

#[test]
fn h2load_is_recorded() {
    let (nginx, tracer) = start();
    let url = nginx.url("127.0.0.1", "/text.txt");
    let report = text(output(Command::new("h2load").args(["--h1", "-n", "500", "-c", "5", &url])).stdout);
    assert!(report.contains("500 total, 500 started, 500 done, 500 succeeded, 0 failed"), "{report}");
    assert_eq!(number(&report, "status codes: "), 500);
    let recording = stop(&nginx, tracer, 500);
    // As in `traffic: 4.89MB (5129000) total, 51.27KB (52500) headers (space savings 0.00%), 4.77MB (5000000) data`.
    let (_, traffic) = report.split_once("traffic: ").expect("it reports the traffic");
    let sizes: Vec<u64> = traffic.split(['(', ')']).filter_map(|part| part.parse().ok()).collect();
    let (total, bodies) = received(&recording);
    assert_eq!((total, bodies), (sizes[0], sizes[2]), "{traffic}");
}

#[test]
fn wrk_is_recorded() {
    const EACH: u64 = 400;
    const SCRIPT: &str = "\
local count = 0
function response()
  count = count + 1
  if count == 400 then wrk.thread:stop() end
end
function done(summary)
  print('{\"requests\":' .. summary.requests .. ',\"bytes\":' .. summary.bytes .. '}')
end
";
    #[derive(Debug, Deserialize)]
    struct Summary {
        requests: u64,
        bytes: u64,
    }
    let (nginx, tracer) = start();
    let folder = Folder::new();
    fs::write(folder.file("script.lua"), SCRIPT).expect("the folder is ours");
    let report = File::create(folder.file("report")).expect("the folder is ours");
    let mut command = Command::new("wrk");
    command.args(["--threads", "2", "--connections", "2", "--duration", "10m", "--script"]);
    command.arg(folder.file("script.lua")).arg(nginx.url("127.0.0.1", "/text.txt"));
    let mut wrk = Running::start(command.stdin(Stdio::null()).stdout(report));
    let all = usize::try_from(2 * EACH).expect("it fits");
    // Each of its threads has stopped then; wrk itself waits for the end of its time, or for a signal.
    tracer.wait_for_lines("http", 2 * all);
    wrk.signal(Signal::INT);
    assert!(wrk.0.wait().expect("wrk can be waited for").success());
    let report = fs::read_to_string(folder.file("report")).expect("it is there");
    let line = report.lines().find(|line| line.starts_with('{')).expect("its script prints JSON");
    let summary: Summary = serde_json::from_str(line).expect("it is JSON");
    let recording = stop(&nginx, tracer, all);
    assert_eq!((summary.requests, summary.bytes), (2 * EACH, received(&recording).0));
}

#[test]
fn a_hundred_thousand_requests_on_kept_connections_are_recorded_once_per_end() {
    const ROUNDS: u64 = 50;
    const EACH: u64 = 2_000;
    let nginx = Nginx::start(free_port());
    let tracer = StreamedTracer::start(&["--port", &nginx.port().to_string()]);
    let mut transferred: HashMap<String, u64> = HashMap::new();
    for round in 0..ROUNDS {
        // What is not yet read of one round fits into the ring buffer, however slow the reader is.
        let target = format!("/echo/{round}");
        let mut ab = Command::new("ab");
        ab.args(["-q", "-k", "-n", &EACH.to_string(), "-c", "8", &nginx.url("127.0.0.1", &target)]);
        let report = text(output(&mut ab).stdout);
        assert_eq!((number(&report, "Complete requests:"), number(&report, "Failed requests:")), (EACH, 0));
        transferred.insert(target, number(&report, "Total transferred:"));
        tracer.wait_for_exchanges(2 * EACH * (round + 1));
    }
    let sums = tracer.stop();
    assert_eq!(sums.end.lost, 0);
    assert_eq!(sums.end.http, 2 * ROUNDS * EACH);
    assert!(sums.broken.is_empty(), "{} exchanges, first {:?}", sums.broken.len(), sums.broken[0]);
    let mut logged: HashMap<Kind, Sum> = HashMap::new();
    for line in nginx.access_log(usize::try_from(ROUNDS * EACH).expect("it fits")) {
        for role in [Role::Client, Role::Server] {
            let sum = logged.entry((role, line.method.clone(), line.uri.clone(), line.status)).or_default();
            sum.exchanges += 1;
            sum.bytes += line.bytes_sent;
        }
    }
    assert_eq!(sums.whole, logged);
    for ((_, _, target, _), sum) in &sums.whole {
        assert_eq!(sum.bytes, transferred[target], "{target}");
    }
}
