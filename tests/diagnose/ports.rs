//! Closed connections that pile up: in TIME_WAIT where who closes first waits, in FIN_WAIT2 where the peer does not close.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
};

use tcp_trace_model::record::Severity;
use tcp_trace_tests::{
    Diagnosing, Diagnosis, Namespace, Script, free_port, number, output, stay_on_one_cpu, wait_for,
};

const CONNECTIONS: usize = 30;
const MANY: [&str; 2] = ["--time-wait", "30"];

/// The sockets towards or at a port that `ss` shows in a state.
fn shown_by_ss(mut ss: Command, state: &str, port: u16) -> usize {
    let port = format!("( sport = :{port} or dport = :{port} )");
    let shown = output(ss.args(["-Htan", "state", state, &port]));
    shown.stdout.iter().filter(|byte| **byte == b'\n').count()
}

/// Connections one after the other; the client closes each, at once or when the server has.
fn connections(port: u16, count: usize, is_client_first: bool) {
    for _ in 0..count {
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        client.write_all(b"hello").expect("it is connected");
        if !is_client_first {
            assert_eq!(client.read(&mut [0]).expect("it ends"), 0);
        }
    }
}

#[test]
fn the_process_that_closes_first_is_reported_with_its_time_waits() {
    // In namespaces of their own: others may use up the TIME_WAIT that one may have.
    Namespace::new().run(|| who_closes_first_is_reported(true));
    Namespace::new().run(|| who_closes_first_is_reported(false));
}

fn who_closes_first_is_reported(is_client_first: bool) {
    stay_on_one_cpu();
    let server = Script::start_with("python3", "stuck.py", &[if is_client_first { "fine" } else { "first" }]);
    let port = server.port();
    let diagnosing = Diagnosing::start(port, &MANY);
    connections(port, CONNECTIONS - 1, is_client_first);
    let in_time_wait = |count| {
        wait_for("TIME_WAIT", || (shown_by_ss(Command::new("ss"), "time-wait", port) == count).then_some(()));
    };
    in_time_wait(CONNECTIONS - 1);
    // The healthy twin: one less.
    Diagnosis::of_port(port, &MANY).expect_none();
    connections(port, 1, is_client_first);
    in_time_wait(CONNECTIONS);
    let diagnosis = diagnosing.end();
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("time_wait_pileup", Some("many")));
    assert_eq!(finding.severity, Severity::Notice);
    assert_eq!(number(finding, "sockets"), CONNECTIONS as u64);
    let pid = if is_client_first { std::process::id() } else { server.pid() };
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(pid), "{finding:#?}");
    assert!(finding.summary.contains(&format!("(pid {pid}) closes them first")), "{}", finding.summary);
    if is_client_first {
        assert!(finding.summary.contains(&format!("connected to 127.0.0.1:{port}")), "{finding:#?}");
        assert_eq!(number(finding, "closed_first_here"), CONNECTIONS as u64);
        assert_eq!(number(finding, "traced_connections"), CONNECTIONS as u64);
    } else {
        assert!(finding.summary.contains(&format!("accepted at port {port}")), "{finding:#?}");
    }
    // No process has them: without a trace a client's is unknown, a listener's is not.
    let later = Diagnosis::of_port(port, &MANY);
    let process = later.only().process.as_ref().map(|process| process.pid);
    assert_eq!(process, if is_client_first { None } else { Some(pid) });
}

#[test]
fn the_kernels_limit_of_time_waits_is_reported() {
    stay_on_one_cpu();
    let (namespace, port) = (Namespace::new(), free_port());
    namespace.set("ipv4/tcp_max_tw_buckets", "20");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let listener = namespace.run(|| TcpListener::bind(address)).expect("the port is free");
    let one = || {
        let client = TcpStream::connect(address).expect("it listens");
        drop(listener.accept().expect("it is connected"));
        drop(client);
    };
    namespace.run(|| (0..17).for_each(|_| one()));
    let shown = || shown_by_ss(namespace.command("ss"), "time-wait", port);
    wait_for("TIME_WAIT", || (shown() == 17).then_some(()));
    Diagnosis::of_port(port, &[]).expect_none();
    namespace.run(one);
    wait_for("TIME_WAIT", || (shown() == 18).then_some(()));
    let diagnosis = Diagnosis::of_port(port, &[]);
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("time_wait_pileup", Some("at_the_limit")));
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!((number(finding, "sockets"), number(finding, "limit")), (18, 20));
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
}

/// The client has closed; the server never does.
#[test]
fn orphans_whose_peers_do_not_close_are_reported() {
    Namespace::new().run(orphans_are_reported);
}

fn orphans_are_reported() {
    stay_on_one_cpu();
    let server = Script::start_with("python3", "stuck.py", &["leak"]);
    let port = server.port();
    let in_fin_wait2 = |count| {
        wait_for("FIN_WAIT2", || {
            (shown_by_ss(Command::new("ss"), "fin-wait-2", port) == count).then_some(())
        });
    };
    connections(port, CONNECTIONS - 1, true);
    in_fin_wait2(CONNECTIONS - 1);
    Diagnosis::of_port(port, &MANY).expect_none();
    connections(port, 1, true);
    in_fin_wait2(CONNECTIONS);
    let diagnosis = Diagnosis::of_port(port, &MANY);
    let finding = diagnosis.only();
    assert_eq!((finding.code.as_str(), finding.cause.as_deref()), ("fin_wait2_stuck", Some("orphans")));
    assert_eq!((finding.severity, number(finding, "sockets")), (Severity::Notice, CONNECTIONS as u64));
    assert_eq!(finding.process, None, "it has closed");
    assert!(finding.summary.contains(&format!("connected to 127.0.0.1:{port}")), "{}", finding.summary);
    // The healthy twin: the server closes.
    drop(server);
    in_fin_wait2(0);
    assert!(Diagnosis::of_port(port, &MANY).findings.iter().all(|finding| finding.code != "fin_wait2_stuck"));
}
