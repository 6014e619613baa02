//! gunicorn with a program of the test's own, and its access log.

use std::{
    fs,
    process::{Command, Stdio},
};

use crate::{
    AccessLogLine, Folder, Running,
    nginx::{parse_lines, text_of_lines},
    wait_for_listener, wait_for_pid_file,
};

/// Answers what it is asked, in chunks.
const PROGRAM: &str = r#"
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    is_there = environ["PATH_INFO"] != "/missing"
    start_response("200 OK" if is_there else "404 Not Found", [("Content-Type", "text/plain")])
    return [b"you asked for " + environ["PATH_INFO"].encode() + b"\n", body]
"#;

/// Its log's lines: it shows a process id in angle brackets.
const LOG_FORMAT: &str = r#"{"method":"%(m)s","uri":"%(U)s","status":%(s)s,"body_bytes_sent":%(B)s,"bytes_sent":%(B)s,"remote_port":%({REMOTE_PORT}e)s,"pid":%(p)s}"#;

/// A running gunicorn: an arbiter, which has the listener, and two workers, which accept.
#[derive(Debug)]
pub struct Gunicorn {
    process: Running,
    folder: Folder,
    port: u16,
}

impl Gunicorn {
    /// Starts it on a port of IPv4's loopback. It has everything but `/missing`.
    pub fn start(port: u16) -> Self {
        let folder = Folder::new();
        fs::write(folder.file("program.py"), PROGRAM).expect("the folder is ours");
        let mut command = Command::new("gunicorn");
        command.args(["--workers", "2", "--bind", &format!("127.0.0.1:{port}"), "program:application"]);
        command.arg("--pid").arg(folder.file("pid")).arg("--error-logfile").arg(folder.file("error.log"));
        command.arg("--access-logfile").arg(folder.file("access.log"));
        command.args(["--access-logformat", LOG_FORMAT]).current_dir(folder.path());
        let mut process = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
        wait_for_pid_file(&mut process, &command, &folder);
        wait_for_listener(Command::new("ss"), port, 1);
        Self { process, folder, port }
    }

    /// The arbiter's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A URL on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The access log, once it has this many lines.
    pub fn access_log(&self, lines: usize) -> Vec<AccessLogLine> {
        let text = text_of_lines(&self.folder.file("access.log"), lines);
        parse_lines(&text.replace(['<', '>'], ""))
    }
}
