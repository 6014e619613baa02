//! What a server does wrong behind nginx, which passes it on: it is one finding, that of the server.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use tcp_trace_model::record::Fact;
use tcp_trace_tests::{
    Diagnosing, Diagnosis, Folder, Nginx, Tracer, accept, free_port, tcp_trace, with_patience,
};

use crate::http::{receive, waits};

/// For longer than `--slow` here, and shorter than nginx waits.
const SLOW: Duration = Duration::from_millis(600);
const ARGUMENTS: [&str; 2] = ["--slow", "300ms"];
const LONG: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";

/// What the server does with a request that it has read.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Writes 400 of 1000 bytes and closes.
    Cuts,
    /// Answers later.
    Waits,
    /// Answers nothing until nginx is gone, whose client does not wait so long.
    Silent,
}

/// A request through nginx.
fn exchange(port: u16, listener: &TcpListener, fault: Fault) {
    let request = b"GET /gateway/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut client = with_patience(TcpStream::connect(("127.0.0.1", port)).expect("nginx listens"));
    client.write_all(request).expect("it is connected");
    let mut server = accept(listener);
    let mut came = Vec::new();
    while !came.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        server.read_exact(&mut byte).expect("nginx asks");
        came.extend(byte);
    }
    match fault {
        Fault::Cuts => {
            server.write_all(&[LONG, &[b'x'; 400]].concat()).expect("nginx reads");
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).expect("it ends");
            assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&[b'x'; 400]));
        }
        Fault::Waits => {
            waits(&client, SLOW);
            server.write_all(&[LONG, &[b'x'; 1_000]].concat()).expect("nginx reads");
            receive(&client, LONG.len() + 1_000);
        }
        Fault::Silent => {
            waits(&client, SLOW);
            drop(client);
            while server.read(&mut [0]).is_ok_and(|length| length > 0) {}
        }
    }
}

#[test]
fn what_nginx_passes_on_is_one_finding_of_the_server_behind_it() {
    for (fault, requests, code, cause) in [
        (Fault::Cuts, 2, "response_cut", "closed"),
        (Fault::Waits, 3, "slow_server", "first_byte"),
        (Fault::Silent, 2, "no_response", "client_gave_up"),
    ] {
        let (port, behind) = (free_port(), free_port());
        let nginx = Nginx::start_before(port, behind);
        let listener = TcpListener::bind(("127.0.0.1", behind)).expect("the port is free");
        let filter = ["--port", &format!("{port},{behind}")];
        let arguments = [&filter[..], &ARGUMENTS].concat();
        let (tracer, tracing) = (Tracer::start(&filter), Diagnosing::of_host(&arguments));
        (0..requests).for_each(|_| exchange(port, &listener, fault));
        tracer.wait_for_lines("http", 4 * requests);
        let traced = tracing.end();
        let folder = Folder::new();
        let file = folder.file("recording.jsonl");
        std::fs::write(&file, tracer.stop_for_text()).expect("the folder is ours");
        let from = ["--from", file.to_str().expect("it is UTF-8")];
        let recorded = Diagnosis::with(tcp_trace(), &[&from[..], &ARGUMENTS].concat());
        for diagnosis in [traced, recorded] {
            let finding = diagnosis.only();
            assert_eq!((finding.code.as_str(), finding.cause.as_deref()), (code, Some(cause)), "{fault:?}");
            assert!(finding.summary.contains(&format!("127.0.0.1:{behind}")), "{}", finding.summary);
            let Some(Fact::List(passed_on)) = finding.evidence.get("passed_on_by") else {
                panic!("{fault:?}: {finding:#?}")
            };
            let of = |worker| format!("nginx (pid {worker}) at 127.0.0.1:{port} ");
            let workers = nginx.workers().map(of);
            let is_worker = |place: &String| workers.iter().any(|worker| place.starts_with(worker));
            assert!(!passed_on.is_empty() && passed_on.iter().all(is_worker), "{finding:#?}");
        }
    }
}
