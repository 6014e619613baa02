//! Programs that make a request on each of their connections when they are told to.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use tcp_trace_model::{
    event::Role,
    record::{Http, Integrity, Outcome},
};
use tcp_trace_tests::{Recording, Running, Tracer, client_port};

/// Connections of a program.
pub(crate) const CONNECTIONS: usize = 50;

/// Such a program, which runs.
pub(crate) struct Rounds {
    process: Running,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Rounds {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let input = process.0.stdin.take();
        let output = BufReader::new(process.0.stdout.take().expect("it is piped"));
        let mut program = Self { process, input, output };
        program.says("ready");
        program
    }

    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it writes text");
        assert_eq!(line.trim(), expected);
    }

    /// A request on every connection.
    pub(crate) fn round(&mut self, name: &str) {
        let input = self.input.as_mut().expect("it is open");
        writeln!(input, "{name}").expect("the program reads");
        self.says("done");
    }

    /// Ends the program, and then the tracer, which has so many exchanges at each end.
    pub(crate) fn stop(&mut self, tracer: Tracer, exchanges: usize) -> Recording {
        tracer.wait_for_lines("http", 2 * exchanges);
        self.input = None;
        let status = self.process.0.wait().expect("it is ours");
        assert!(status.success(), "{status}");
        tracer.wait_for_closed();
        tracer.stop()
    }
}

/// Each end has the requests that the server logged, each on its connection, which the client's port names.
pub(crate) fn assert_requests(recording: &Recording, mut logged: Vec<(u16, String)>) {
    logged.sort_unstable();
    for role in [Role::Client, Role::Server] {
        let mut recorded: Vec<_> = recording.http_of(role).into_iter().map(request).collect();
        recorded.sort_unstable();
        assert_eq!(recorded, logged, "{role:?}");
    }
}

fn request(http: &Http) -> (u16, String) {
    assert_eq!(
        (http.exchange.outcome, http.exchange.integrity),
        (Outcome::Ok, Integrity::Complete),
        "{http:?}"
    );
    let request = http.exchange.request.as_ref().expect("it was seen");
    (client_port(http), request.target.printable().to_string())
}
