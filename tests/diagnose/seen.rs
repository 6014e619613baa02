//! What may not or cannot be seen is said, and the rest is judged: processes of others, other network namespaces, processes
//! that come and go.

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tcp_trace_tests::{
    Diagnosing, Diagnosis, Folder, Namespace, Running, Script, free_port, joined_namespaces, number,
    tcp_trace, unprivileged, wait_for,
};

const MIN_AGE: [&str; 2] = ["--min-age", "1s"];

/// A client that leaves its server in CLOSE_WAIT.
fn leave(port: u16) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.write_all(b"hello").expect("it is connected");
}

#[test]
fn other_users_see_what_they_may_and_learn_what_is_missing() {
    let server = Script::start_with("python3", "stuck.py", &["leak"]);
    leave(server.port());
    let finding = Diagnosis::wait_for("close_wait", server.port(), &MIN_AGE);
    let (folder, port) = (Folder::new(), server.port().to_string());
    let diagnosis = Diagnosis::with(unprivileged(&folder), &["--port", &port, "--min-age", "1s"]);
    let of_others = diagnosis.only();
    assert_eq!((of_others.cause.clone(), of_others.process.clone()), (finding.cause, None));
    assert!(of_others.summary.contains("an unknown process"), "{}", of_others.summary);
    assert!(diagnosis.said.contains(" without a known process"), "{}", diagnosis.said);
    assert!(diagnosis.said.contains("cannot see the network namespaces of "), "{}", diagnosis.said);
}

/// A fault between two containers: each end's namespace is reported, and what was examined.
#[test]
fn sockets_of_other_network_namespaces_are_judged() {
    let (here, there) = joined_namespaces();
    let port = free_port();
    let listener = there.run(|| TcpListener::bind(("10.99.0.2", port))).expect("the port is free");
    let client = here.run(|| TcpStream::connect(("10.99.0.2", port))).expect("it listens");
    let (server, _) = listener.accept().expect("it is connected");
    drop(client);
    let finding = Diagnosis::wait_for("close_wait", port, &MIN_AGE);
    assert_eq!(number(&finding, "sockets"), 1);
    assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    assert_eq!(finding.connections[0].network.netns, Some(there.inode()));
    let port = port.to_string();
    let text = |command: &mut Command| {
        let output = command.args(["diagnose", "--port", &port, "--min-age", "1s"]).output();
        let output = output.expect("it can be started");
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (stdout, stderr) = text(&mut tcp_trace());
    assert!(stdout.contains("1 socket of diagnose") && stdout.contains(" network namespaces."), "{stdout}");
    assert!(!stderr.contains("cannot list"), "{stderr}");
    // Without the capability to enter it, that is reported.
    let mut restricted = Command::new("setpriv");
    restricted.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).arg(tcp_trace().get_program());
    let (stdout, stderr) = text(&mut restricted);
    assert!(stdout.starts_with("No findings"), "{stdout}");
    assert!(stderr.contains("cannot list the sockets of"), "{stderr}");
    drop(server);
}

/// Hundreds of processes with a socket each begin and end while it is judged, again and again.
#[test]
fn processes_that_come_and_go_disturb_nothing() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let stuck = Script::start_with("python3", "stuck.py", &["leak"]);
    leave(stuck.port());
    Diagnosis::wait_for("close_wait", stuck.port(), &MIN_AGE);
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    // It ends with the tests.
    std::thread::spawn(move || listener.incoming().for_each(|_| _ = count.fetch_add(1, Ordering::Relaxed)));
    let connect = format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) &");
    let churn = format!("while :; do for i in 1 2 3 4 5 6 7 8; do {connect} done; wait; done");
    let mut bash = Command::new("bash");
    let _churn = Running::start(bash.args(["-c", &churn]).stdin(Stdio::null()).stderr(Stdio::null()));
    let ports = format!("{port},{}", stuck.port());
    let mut runs = 0;
    wait_for("hundreds of processes", || {
        let diagnosis = Diagnosis::with(tcp_trace(), &["--port", &ports, "--min-age", "1s"]);
        let finding = diagnosis.only();
        assert_eq!(finding.process.as_ref().map(|process| process.pid), Some(stuck.pid()));
        assert_eq!(finding.code, "close_wait");
        // Where root may not do everything.
        let is_known = |line: &str| line.contains("cannot see");
        assert!(diagnosis.said.lines().all(is_known), "{}", diagnosis.said);
        runs += 1;
        (runs >= 10 && accepted.load(Ordering::Relaxed) > 300).then_some(())
    });
}

/// Such a connect changes no state of its socket.
#[test]
fn connects_without_a_route_are_counted() {
    let namespace = Namespace::new();
    let diagnosing = Diagnosing::of_host(&[]);
    for _ in 0..3 {
        let error =
            namespace.run(|| TcpStream::connect("203.0.113.1:80")).expect_err("only loopback is there");
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
    }
    let said = diagnosing.end().said;
    // Other tests may do the same meanwhile.
    let count =
        said.split_once("(ENETUNREACH): ").and_then(|(_, rest)| rest.split(';').next()?.parse::<u64>().ok());
    assert!(count.expect("it is said") >= 3, "{said}");
}
