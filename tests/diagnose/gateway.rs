//! Errors of gateways: real nginx and HAProxy answer 408, 502, 503 and 504, each for a cause that is made for real. What
//! they answered is said by curl and by their own logs.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use tcp_trace_model::record::{Fact, Finding, Severity};
use tcp_trace_tests::{
    Diagnosis, Folder, Haproxy, Nginx, Tracer, accept, curl, free_port, number, tcp_trace, with_patience,
};

use crate::connects::tracing;

/// What an upstream does with a request that it has read.
#[derive(Clone, Copy)]
enum Upstream {
    /// Closes without a response.
    Closes,
    /// Answers nothing until the gateway is gone.
    Silent,
    /// Answers with this status.
    Answers(u16),
}

/// Takes connections, one after the other, with a request each.
fn serve(listener: &TcpListener, connections: usize, upstream: Upstream) {
    for _ in 0..connections {
        let mut server = accept(listener);
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut bytes = [0; 4096];
            let length = server.read(&mut bytes).expect("the gateway asks");
            assert!(length > 0, "the gateway asks");
            request.extend_from_slice(&bytes[..length]);
        }
        match upstream {
            Upstream::Closes => {}
            // It ends with the gateway's FIN or RST.
            Upstream::Silent => drop(server.read(&mut [0])),
            Upstream::Answers(status) => {
                let response = format!("HTTP/1.1 {status} Test\r\nContent-Length: 3\r\n\r\nok\n");
                server.write_all(response.as_bytes()).expect("the gateway reads");
            }
        }
    }
}

/// Requests of the gateway, one after the other, each by a curl of its own; all have this status. Gives the longest time
/// that one took.
fn ask(url: &str, requests: usize, status: u16) -> Duration {
    let one = |_| {
        let transfer = &curl(&[url])[0];
        assert_eq!(transfer.http_code, status);
        Duration::from_secs_f64(transfer.time_total)
    };
    (0..requests).map(one).max().unwrap_or_default()
}

/// The same with an upstream behind the gateway.
fn ask_behind(url: &str, behind: u16, requests: usize, upstream: Upstream, status: u16) -> Duration {
    let listener = TcpListener::bind(("127.0.0.1", behind)).expect("the port is free");
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, requests, upstream));
        ask(url, requests, status)
    })
}

/// Fails unless this time is that of a timeout of a second, less the ticks of the gateway's clock, and no longer than the
/// client waited.
#[track_caller]
fn assert_waited(finding: &Finding, name: &str, least: Duration, client: Duration) {
    let waited = Duration::from_micros(number(finding, name));
    assert!((least..=client).contains(&waited), "{name} is {waited:?} of {client:?}: {finding:#?}");
}

/// The only finding of the rule; the others have these codes.
fn gateway<'a>(diagnosis: &'a Diagnosis, others: &[&str]) -> &'a Finding {
    let is_own = |finding: &&Finding| finding.code == "gateway_errors";
    let (own, rest): (Vec<_>, Vec<_>) = diagnosis.findings.iter().partition(is_own);
    assert!(rest.iter().all(|finding| others.contains(&finding.code.as_str())), "{rest:#?}");
    let [finding] = own.as_slice() else { panic!("one finding: {own:#?}") };
    assert!(!finding.why.is_empty() && !finding.advice.is_empty());
    finding
}

fn assert_cause(finding: &Finding, status: u16, cause: &str, responses: u64) {
    assert_eq!(finding.cause.as_deref(), Some(cause), "{finding:#?}");
    assert_eq!((number(finding, "status"), number(finding, "responses")), (status.into(), responses));
    assert_eq!(finding.explain, status.to_string());
    assert!(finding.summary.contains(&format!("{status} ")), "{}", finding.summary);
}

/// nginx's timeout of a second, in ticks of its clock.
const NGINX_LEAST: Duration = Duration::from_millis(980);
/// HAProxy's.
const HAPROXY_LEAST: Duration = Duration::from_millis(950);

fn pid(finding: &Finding) -> u32 {
    finding.process.as_ref().expect("it is known").pid
}

/// How often each server was tried: this one this often.
fn assert_upstream(finding: &Finding, behind: u16, attempts: u64) {
    let place = format!("127.0.0.1:{behind}");
    assert!(finding.summary.contains(&place), "{}", finding.summary);
    let expected = Fact::List(vec![format!("{place} ({attempts})")]);
    assert_eq!(finding.evidence.get("upstreams"), Some(&expected), "{finding:#?}");
    assert_eq!(number(finding, "attempts"), attempts);
}

/// That of the upstreams, which are this process.
fn assert_upstream_is_this_process(finding: &Finding) {
    let Some(Fact::List(processes)) = finding.evidence.get("upstream_processes") else {
        panic!("{finding:#?}")
    };
    assert!(processes[0].ends_with(&format!("(pid {})", std::process::id())), "{processes:?}");
}

/// A recording of some work, once it has this many exchanges.
struct Recorded {
    folder: Folder,
}

impl Recorded {
    fn of(filter: &[&str], exchanges: usize, work: impl FnOnce(&Tracer)) -> Self {
        let tracer = Tracer::start(filter);
        work(&tracer);
        tracer.wait_for_lines("http", exchanges);
        let folder = Folder::new();
        std::fs::write(folder.file("recording.jsonl"), tracer.stop_for_text()).expect("the folder is ours");
        Self { folder }
    }

    /// The same of the connections of a process.
    fn of_process(pid: u32, exchanges: usize, work: impl FnOnce(&Tracer)) -> Self {
        Self::of(&["--pid", &pid.to_string()], exchanges, work)
    }

    fn judge(&self, arguments: &[&str]) -> Diagnosis {
        let file = self.folder.file("recording.jsonl");
        let from = ["--from", file.to_str().expect("it is UTF-8")];
        Diagnosis::with(tcp_trace(), &[&from, arguments].concat())
    }
}

#[test]
fn nginx_before_an_upstream_that_refuses_is_reported_with_its_address() {
    let (port, behind) = (free_port(), free_port());
    let nginx = Nginx::start_before(port, behind);
    let work = || {
        ask(&nginx.url("127.0.0.1", "/gateway/x"), 3, 502);
    };
    let diagnosis = tracing(port, &["--port", &behind.to_string()], work);
    let finding = gateway(&diagnosis, &["connect_refused"]);
    assert_cause(finding, 502, "upstream_refused", 3);
    assert_upstream(finding, behind, 3);
    assert_eq!((number(finding, "responses_in_all"), finding.severity), (3, Severity::Warning));
    let log = nginx.access_log(3);
    assert!(log.iter().any(|line| line.status == 502 && line.pid == pid(finding)), "{log:?}");
    assert!(finding.connections[0].notes[0].starts_with("GET /gateway/x: 502 after "), "{finding:#?}");
    let recorded = Recorded::of(&["--port", &port.to_string(), "--port", &behind.to_string()], 6, |_| work());
    let diagnosis = recorded.judge(&[]);
    assert_cause(gateway(&diagnosis, &["connect_refused"]), 502, "upstream_refused", 3);
    // With a filter that excludes the connects, and with one that selects more of them.
    let diagnosis = recorded.judge(&["--port", &port.to_string()]);
    assert_cause(gateway(&diagnosis, &[]), 502, "not_seen", 3);
    let diagnosis = recorded.judge(&["--gateway-errors", "4"]);
    assert!(diagnosis.findings.iter().all(|finding| finding.code != "gateway_errors"), "{diagnosis:#?}");
}

#[test]
fn nginx_before_an_upstream_that_closes_is_reported_with_its_process() {
    let (port, behind) = (free_port(), free_port());
    let nginx = Nginx::start_before(port, behind);
    let url = nginx.url("127.0.0.1", "/gateway/x");
    let diagnosis = tracing(port, &["--port", &behind.to_string()], || {
        ask_behind(&url, behind, 2, Upstream::Closes, 502);
    });
    let finding = gateway(&diagnosis, &["no_response"]);
    assert_cause(finding, 502, "upstream_closed", 2);
    assert_upstream(finding, behind, 2);
    assert_upstream_is_this_process(finding);
}

#[test]
fn nginx_before_an_upstream_that_does_not_answer_is_reported_with_the_time() {
    let (port, behind) = (free_port(), free_port());
    let nginx = Nginx::start_before(port, behind);
    let url = nginx.url("127.0.0.1", "/gateway/x");
    let mut waited = Duration::ZERO;
    let diagnosis = tracing(port, &["--port", &behind.to_string()], || {
        waited = ask_behind(&url, behind, 1, Upstream::Silent, 504);
    });
    let finding = gateway(&diagnosis, &["no_response"]);
    assert_cause(finding, 504, "upstream_silent", 1);
    assert_upstream(finding, behind, 1);
    assert_upstream_is_this_process(finding);
    assert_waited(finding, "longest_attempt_us", NGINX_LEAST, waited);
}

#[test]
fn nginx_before_an_upstream_that_leaves_its_syn_unanswered_is_reported_so() {
    let (port, behind) = (free_port(), free_port());
    let nginx = Nginx::start_before(port, behind);
    let listener = TcpListener::bind(("127.0.0.1", behind)).expect("the port is free");
    // A queue for one connection, which is never accepted.
    rustix::net::listen(&listener, 0).expect("it listens");
    let _waiting = TcpStream::connect(("127.0.0.1", behind)).expect("there is room for one");
    let mut waited = Duration::ZERO;
    let diagnosis = tracing(port, &["--port", &behind.to_string()], || {
        waited = ask(&nginx.url("127.0.0.1", "/gateway/x"), 1, 504);
    });
    let finding = gateway(&diagnosis, &["accept_queue_full", "accept_stalled", "connect_timeout"]);
    assert_cause(finding, 504, "upstream_connect_timeout", 1);
    assert_upstream(finding, behind, 1);
    assert_waited(finding, "longest_attempt_us", NGINX_LEAST, waited);
}

#[test]
fn what_a_gateway_passes_on_is_reported_where_it_was_made() {
    let (port, behind) = (free_port(), free_port());
    let haproxy = Haproxy::start(port, behind);
    let diagnosis = tracing(port, &["--port", &behind.to_string()], || {
        ask_behind(&haproxy.url("/x"), behind, 2, Upstream::Answers(503), 503);
    });
    let [own, passed_on] = diagnosis.findings.as_slice() else { panic!("{diagnosis:#?}") };
    // Whether it tried others in turn is unknown, because only these ports were traced.
    assert_cause(own, 503, "not_seen", 2);
    assert_eq!(pid(own), std::process::id());
    assert_cause(passed_on, 503, "passed_on", 2);
    assert_eq!((pid(passed_on), passed_on.severity), (haproxy.pid(), Severity::Notice));
    assert_upstream_is_this_process(passed_on);
}

#[test]
fn gateways_before_an_upstream_that_answers_are_fine() {
    for status in [200, 404, 500] {
        let (port, behind) = (free_port(), free_port());
        let nginx = Nginx::start_before(port, behind);
        let url = nginx.url("127.0.0.1", "/gateway/x");
        tracing(port, &["--port", &behind.to_string()], || {
            ask_behind(&url, behind, 2, Upstream::Answers(status), status);
        })
        .expect_none();
        let (port, behind) = (free_port(), free_port());
        let haproxy = Haproxy::start(port, behind);
        let work = |_: &Tracer| {
            ask_behind(&haproxy.url("/x"), behind, 2, Upstream::Answers(status), status);
        };
        Recorded::of_process(haproxy.pid(), 4, work).judge(&[]).expect_none();
    }
}

#[test]
fn haproxy_without_a_server_that_it_may_use_answers_by_itself() {
    let port = free_port();
    let haproxy = Haproxy::start_alone(port);
    let diagnosis = Recorded::of_process(haproxy.pid(), 2, |_| {
        ask(&haproxy.url("/x"), 2, 503);
    })
    .judge(&[]);
    let finding = gateway(&diagnosis, &[]);
    assert_cause(finding, 503, "own_answer", 2);
    assert_eq!(pid(finding), haproxy.pid());
    assert_eq!(finding.evidence.get("connects_that_failed_otherwise"), None);
    assert!(haproxy.log(2).iter().all(|line| line.status == 503 && line.own_port().is_none()));
}

#[test]
fn haproxy_whose_health_checks_fail_is_reported_with_them() {
    let (port, behind) = (free_port(), free_port());
    let haproxy = Haproxy::start_checked(port, behind);
    haproxy.wait_until_down();
    let diagnosis = Recorded::of_process(haproxy.pid(), 1, |tracer| {
        tracer.wait_for_lines("connection", 1);
        ask(&haproxy.url("/x"), 1, 503);
    })
    .judge(&[]);
    let finding = gateway(&diagnosis, &["connect_refused"]);
    assert_cause(finding, 503, "own_answer", 1);
    let Some(Fact::List(failed)) = finding.evidence.get("connects_that_failed_otherwise") else {
        panic!("{finding:#?}")
    };
    assert!(failed[0].starts_with(&format!("127.0.0.1:{behind} (")), "{failed:?}");
}

/// A client that sends this much and then waits for the end, and how long it was there.
fn sends(port: u16, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut client = with_patience(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    client.write_all(bytes).expect("it is connected");
    let mut response = String::new();
    client.read_to_string(&mut response).expect("it ends");
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    start.elapsed()
}

#[test]
fn a_request_that_does_not_come_whole_is_reported_with_what_came() {
    let port = free_port();
    let haproxy = Haproxy::start_alone(port);
    let begun = b"GET /x HTTP/1.1\r\nHost: x\r\n";
    let mut waited = Vec::new();
    let traced = tracing(port, &[], || waited.push(sends(port, begun)));
    // At each end what came of the request, with its response.
    let filter = ["--port", &port.to_string()];
    let of_recording = Recorded::of(&filter, 2, |_| waited.push(sends(port, begun))).judge(&[]);
    for (diagnosis, waited) in [traced, of_recording].iter().zip(waited) {
        let finding = diagnosis.only();
        assert_cause(finding, 408, "request_unfinished", 1);
        assert_eq!((pid(finding), finding.severity), (haproxy.pid(), Severity::Warning));
        assert_eq!(number(finding, "least_that_came_bytes"), begun.len() as u64);
        assert_waited(finding, "longest_wait_us", HAPROXY_LEAST, waited);
        let Some(Fact::Words(client)) = finding.evidence.get("client") else { panic!("{finding:#?}") };
        assert!(client.ends_with(&format!("(pid {})", std::process::id())), "{client}");
    }
    assert!(haproxy.log(2).iter().all(|line| line.status == 408));
}

#[test]
fn a_connection_without_a_request_is_only_noticed() {
    let port = free_port();
    let haproxy = Haproxy::start_alone(port);
    let mut waited = Duration::ZERO;
    let diagnosis = tracing(port, &[], || waited = sends(port, b""));
    let finding = diagnosis.only();
    assert_cause(finding, 408, "request_not_sent", 1);
    assert_eq!((pid(finding), finding.severity), (haproxy.pid(), Severity::Notice));
    assert_waited(finding, "longest_wait_us", HAPROXY_LEAST, waited);
}
