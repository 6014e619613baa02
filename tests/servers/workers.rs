//! Servers of several processes: each exchange is that of the worker that answered it, as its log says, whoever has the listener or
//! accepted the connection.

use std::process::{Command, Stdio};

use tcp_trace_model::{event::Role, record::Process};
use tcp_trace_tests::{
    Apache, Gunicorn, Recording, Running, Script, assert_same_at, curl, free_port, output, wait_for_listener,
};

use crate::{three_in_one_connection, traced, traced_exchanges};

#[test]
fn apaches_processes_answer_and_its_master_does_not() {
    let apache = Apache::start_prefork(free_port());
    let (recording, curls) = traced(apache.port(), || {
        let more = ["/big?1", "/text.txt?2", "/empty?3"].map(|path| curl(&[&apache.url(path)]));
        [three_in_one_connection(&apache), more.concat()].concat()
    });
    let log = apache.access_log(curls.len());
    assert!(log.iter().all(|line| line.pid != apache.pid()), "{log:?}");
    assert_same_at("apache2", &recording, &log, &curls);
}

#[test]
fn gunicorns_workers_answer_and_its_arbiter_does_not() {
    let gunicorn = Gunicorn::start(free_port());
    let (recording, curls) = traced(gunicorn.port(), || {
        let one_connection = [&gunicorn.url("/1"), "--output", "/dev/null", &gunicorn.url("/2")];
        let posted = curl(&["--data", "a=1&b=2", &gunicorn.url("/echo")]);
        [curl(&one_connection), posted, curl(&[&gunicorn.url("/missing")])].concat()
    });
    let log = gunicorn.access_log(curls.len());
    assert!(log.iter().all(|line| line.pid != gunicorn.pid()), "{log:?}");
    assert_same_at("gunicorn", &recording, &log, &curls);
}

#[test]
fn nodes_workers_answer_what_its_primary_process_accepts() {
    let cluster = Script::start("node", "cluster.js");
    let (recording, curls) = traced(cluster.port(), || {
        let [first, second] = ["/first", "/second?x=%20y"].map(|path| cluster.url(path));
        let more = ["/3", "/4", "/5"].map(|path| curl(&[&cluster.url(path)]));
        [curl(&[&first, "--output", "/dev/null", &second]), more.concat()].concat()
    });
    let log = cluster.access_log(curls.len());
    let mut pids: Vec<_> = log.iter().map(|line| line.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert!(pids.len() == 2 && !pids.contains(&cluster.pid()), "both workers answer: {log:?}");
    assert_same_at("node", &recording, &log, &curls);
}

/// A socket-activated server: `arguments` are systemd-socket-activate's, `mode` is that of the program it executes.
fn activated(arguments: &[&str], mode: &str) -> (Running, u16) {
    let port = free_port();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/hand_over.py");
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(format!("127.0.0.1:{port}")).args(arguments);
    command.args(["python3", program, &port.to_string(), mode]);
    let server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for_listener(Command::new("ss"), port, 1);
    (server, port)
}

/// The process of each exchange of the server, in order.
fn processes(recording: &Recording) -> Vec<Option<(u32, String)>> {
    let named = |process: &Process| (process.pid, process.name.printable().to_string());
    recording.http_of(Role::Server).iter().map(|http| http.connection.process.as_deref().map(named)).collect()
}

/// The process ids in the bodies of the responses to that many requests, each in a connection of its own.
fn answered_by(port: u16, requests: usize) -> Vec<u32> {
    let get = |_| {
        let result = output(Command::new("curl").args(["--silent", &format!("http://127.0.0.1:{port}/")]));
        String::from_utf8(result.stdout).expect("it is a number").trim().parse().expect("it is a number")
    };
    (0..requests).map(get).collect()
}

#[test]
fn a_service_that_its_socket_activates_is_the_program_that_is_executed() {
    for (arguments, mode) in [(&[][..], "activated"), (&["--accept"], "activated-accept")] {
        let (server, port) = activated(arguments, mode);
        let mut pids = Vec::new();
        let recording = traced_exchanges(port, || {
            pids = answered_by(port, 2);
            pids.len()
        });
        assert_eq!(pids.contains(&server.pid()), mode == "activated", "{mode}");
        let expected: Vec<_> = pids.iter().map(|pid| Some((*pid, "python3".to_owned()))).collect();
        assert_eq!(processes(&recording), expected, "{mode}");
        for client in recording.http_of(Role::Client) {
            let name = client.connection.process.as_ref().map(|process| process.name.printable().to_string());
            assert_eq!(name.as_deref(), Some("curl"), "{mode}");
        }
    }
}
