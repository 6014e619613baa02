//! The cause of each error of a gateway: real gateways, each before the same servers with faults, one fault after the other and all at
//! once. What they answered is said by the client and by their logs; what they had asked, by the servers.

mod faults;
mod gateway;
mod load;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
};

use faults::Servers;
use gateway::{Gateway, Kind};
use tcp_trace_model::record::{Fact, Finding};
use tcp_trace_tests::{Diagnosing, Diagnosis, Folder, Namespace, Tracer, number, tcp_trace, with_patience};

/// A fault, the status that the gateway answers, and the cause that is to be found, if the status is an error's.
type Row = (&'static str, u16, &'static str);

/// What is no error of a gateway.
const NONE: &str = "";
/// Faults that are over at once, which are also made one after the other.
const QUICK: [&str; 5] = ["refused", "closing", "cutting", "second", "memory"];

/// Sends this, and gives the status of the answer, if there is one.
fn sends(port: u16, request: &str) -> Option<u16> {
    let mut client = with_patience(TcpStream::connect(("127.0.0.1", port)).expect("it listens"));
    client.write_all(request.as_bytes()).expect("it is connected");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("it ends");
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// The target, and the status of the answer.
fn ask(port: u16, target: String) -> (String, Option<u16>) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let status = sends(port, &request);
    (target, status)
}

/// How many answers have each status and cause.
type Causes = BTreeMap<(u16, String), u64>;

fn causes(diagnosis: &Diagnosis) -> Causes {
    let of = diagnosis.findings.iter().filter(|finding| finding.code == "gateway_errors").map(|finding| {
        let status = u16::try_from(number(finding, "status")).expect("it is one");
        ((status, finding.cause.clone().unwrap_or_default()), number(finding, "responses"))
    });
    // One status and cause may be several findings, by how far the request came.
    let mut causes = Causes::new();
    of.for_each(|(key, responses)| *causes.entry(key).or_default() += responses);
    causes
}

/// How often a server was asked, as the findings say.
fn attempts(diagnosis: &Diagnosis, port: u16) -> usize {
    let places = |finding: &Finding| match finding.evidence.get("upstreams") {
        Some(Fact::List(places)) => places.clone(),
        _ => Vec::new(),
    };
    let of_it = |place: String| {
        let (address, count) = place.split_once(" (")?;
        (address == format!("127.0.0.1:{port}")).then(|| count.trim_end_matches(')').parse::<usize>().ok())?
    };
    diagnosis.findings.iter().flat_map(places).filter_map(of_it).sum()
}

/// A gateway before all faults, while it is traced and recorded: what it answered and what was found has to be what the table says. To
/// a request that does not come whole it answers 408, or closes.
fn scene(kind: Kind, answers_unfinished: bool, others: &[&str], table: &[Row]) {
    let namespace = Namespace::new();
    let servers = namespace.run(Servers::start);
    let gateway = Gateway::start(kind, &namespace, servers.ports());
    let port = gateway.port();
    let filter = ["--netns", &namespace.inode().to_string()];
    let (tracer, tracing) = (Tracer::start(&filter), Diagnosing::of_host(&filter));
    // Until its clock's next second, lighttpd does not try a server again that has refused a connect.
    let is_remembered = |fault: &str| kind == Kind::Lighttpd && fault == "refused";
    let answers = namespace.run(|| {
        let mut answers = vec![ask(port, "/memory/first?alone".to_owned())];
        let is_asked = |fault: &str| table.iter().any(|row| row.0 == fault) && !is_remembered(fault);
        let quick = QUICK.iter().filter(|fault| is_asked(fault));
        answers.extend(quick.map(|fault| ask(port, format!("/{fault}?alone"))));
        thread::scope(|scope| {
            let unfinished = scope.spawn(|| sends(port, "GET /unfinished HTTP/1.1\r\nHost: x\r\n"));
            let targets = table.iter().filter(|(fault, ..)| *fault != "memory/first");
            let targets =
                targets.flat_map(|(fault, ..)| [1, 2].map(|at_once| (*fault, format!("/{fault}?{at_once}"))));
            let targets = targets.filter(|(fault, target)| !is_remembered(fault) || target.ends_with('1'));
            let threads: Vec<_> = targets.map(|(_, target)| scope.spawn(move || ask(port, target))).collect();
            answers.extend(threads.into_iter().map(|thread| thread.join().expect("it asks")));
            let expected = answers_unfinished.then_some(408);
            assert_eq!(unfinished.join().expect("it asks"), expected);
        });
        answers
    });
    let traced = tracing.end();
    let folder = Folder::new();
    let file = folder.file("recording.jsonl");
    std::fs::write(&file, tracer.stop_for_text()).expect("the folder is ours");
    let recorded = Diagnosis::with(tcp_trace(), &["--from", file.to_str().expect("it is UTF-8")]);
    let log: BTreeMap<_, _> = gateway.end().into_iter().collect();
    let mut expected = Causes::new();
    for (target, status) in &answers {
        let row = table.iter().rfind(|(fault, ..)| target.starts_with(&format!("/{fault}")));
        let (_, of_table, cause) = row.expect("it is in the table");
        assert_eq!(
            (*status, log.get(target)),
            (Some(*of_table), status.as_ref()),
            "{target}: {answers:?} {log:?}"
        );
        if *cause != NONE {
            *expected.entry((*of_table, (*cause).to_owned())).or_default() += 1;
        }
    }
    if answers_unfinished {
        expected.insert((408, "request_unfinished".to_owned()), 1);
    }
    for (name, diagnosis) in [("--for", &traced), ("--from", &recorded)] {
        assert_eq!(causes(diagnosis), expected, "{name}: {diagnosis:#?}");
        for server in table.iter().filter(|(fault, _, cause)| servers.reads(fault) && *cause != NONE) {
            let asked = attempts(diagnosis, servers.ports()[server.0]);
            assert_eq!(asked, servers.requests_of(server.0), "{name}: {server:?}: {diagnosis:#?}");
        }
        // The queue that is full, and what may stand still where others need the processors.
        let usual = ["gateway_errors", "accept_queue_full", "slow_server"];
        let is_known = |finding: &&Finding| {
            let code = finding.code.as_str();
            usual.contains(&code) || others.contains(&code)
        };
        let unknown: Vec<_> = diagnosis.findings.iter().filter(|finding| !is_known(finding)).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:#?}");
    }
}

#[test]
fn nginx_says_502_or_504() {
    scene(
        Kind::Nginx,
        false,
        &["no_response"],
        &[
            ("fine", 200, NONE),
            ("refused", 502, "upstream_refused"),
            ("closing", 502, "upstream_closed"),
            ("cutting", 502, "upstream_cut"),
            ("silent", 504, "upstream_silent"),
            ("slow", 504, "upstream_silent"),
            ("full", 504, "upstream_connect_timeout"),
            ("second", 502, "upstream_closed"),
            ("memory", 502, "own_answer"),
            ("memory/first", 502, "upstream_refused"),
        ],
    );
}

#[test]
fn haproxy_says_502_503_504_or_408() {
    scene(
        Kind::Haproxy,
        true,
        &[],
        &[
            ("fine", 200, NONE),
            ("refused", 503, "upstream_refused"),
            ("closing", 502, "upstream_closed"),
            ("cutting", 502, "upstream_cut"),
            ("silent", 504, "upstream_silent"),
            ("slow", 504, "upstream_silent"),
            ("full", 503, "upstream_connect_timeout"),
            ("second", 502, "upstream_closed"),
            ("memory", 503, "own_answer"),
            ("memory/first", 503, "own_answer"),
        ],
    );
}

#[test]
fn apache_says_502_503_or_408() {
    scene(
        Kind::Apache,
        true,
        &[],
        &[
            ("fine", 200, NONE),
            ("refused", 503, "upstream_refused"),
            ("closing", 502, "upstream_closed"),
            ("cutting", 502, "upstream_cut"),
            ("silent", 502, "upstream_silent"),
            ("slow", 502, "upstream_silent"),
            ("full", 503, "upstream_connect_timeout"),
            ("second", 502, "upstream_closed"),
            ("memory", 503, "own_answer"),
            ("memory/first", 503, "upstream_refused"),
        ],
    );
}

#[test]
fn caddy_says_502_503_or_504() {
    scene(
        Kind::Caddy,
        false,
        &["no_response"],
        &[
            ("fine", 200, NONE),
            ("refused", 502, "upstream_refused"),
            ("closing", 502, "upstream_closed"),
            ("cutting", 502, "upstream_cut"),
            ("silent", 504, "upstream_silent"),
            ("slow", 504, "upstream_silent"),
            ("full", 502, "upstream_connect_timeout"),
            ("memory", 503, "own_answer"),
            ("memory/first", 502, "upstream_refused"),
        ],
    );
}

#[test]
fn lighttpd_says_500_503_or_504() {
    scene(
        Kind::Lighttpd,
        false,
        &["no_response"],
        &[
            ("fine", 200, NONE),
            ("refused", 503, "upstream_refused"),
            ("closing", 500, "upstream_closed"),
            ("cutting", 500, "upstream_cut"),
            ("silent", 504, "upstream_silent"),
            ("slow", 504, "upstream_silent"),
            ("full", 503, "upstream_connect_timeout"),
            ("second", 500, "upstream_closed"),
            ("memory", 503, "own_answer"),
            ("memory/first", 503, "upstream_refused"),
        ],
    );
}

#[test]
fn varnish_says_503() {
    scene(
        Kind::Varnish,
        false,
        &["no_response"],
        &[
            ("fine", 200, NONE),
            ("refused", 503, "upstream_refused"),
            ("closing", 503, "upstream_closed"),
            ("cutting", 503, "upstream_cut"),
            ("silent", 503, "upstream_silent"),
            ("slow", 503, "upstream_silent"),
            ("full", 503, "upstream_connect_timeout"),
            ("second", 503, "upstream_closed"),
            ("memory", 503, "own_answer"),
            ("memory/first", 503, "own_answer"),
        ],
    );
}
