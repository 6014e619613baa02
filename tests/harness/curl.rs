//! Requests by curl, with curl's own figures.

use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Namespace;

/// What curl reports of a transfer (`--write-out '%{json}'`), and its process id.
#[derive(Clone, Debug, Deserialize)]
pub struct Curl {
    /// curl's process id.
    #[serde(skip)]
    pub pid: u32,
    /// The URL as it was given.
    pub url: String,
    /// Local address of the connection; empty when there was none.
    pub local_ip: String,
    /// Local port of the connection.
    pub local_port: u16,
    /// Address that it connected to, likewise.
    pub remote_ip: String,
    /// Port that it connected to.
    pub remote_port: u16,
    /// Status code.
    pub http_code: u16,
    /// Bytes of the body.
    pub size_download: u64,
    /// Bytes of the heads that were received.
    pub size_header: u64,
    /// Bytes of the request's head.
    pub size_request: u64,
    /// Bytes of the request's body.
    pub size_upload: u64,
    /// Seconds from start to end.
    pub time_total: f64,
}

impl Curl {
    /// What it requested from the server: the URL from its path on.
    pub fn target(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_scheme, rest)| rest);
        rest.find('/').map_or("/", |path| &rest[path..])
    }
}

/// Requests in one curl, in order, on as few connections as it can.
pub fn curl(arguments: &[&str]) -> Vec<Curl> {
    run(Command::new("curl"), arguments)
}

/// The same in a network namespace.
pub fn curl_in(namespace: &Namespace, arguments: &[&str]) -> Vec<Curl> {
    let mut command = namespace.command("curl");
    command.args(arguments);
    run(command, &[])
}

fn run(mut command: Command, arguments: &[&str]) -> Vec<Curl> {
    command
        .args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{json}\\n"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let child = command.spawn().expect("curl can be started");
    let pid = child.id();
    let result = child.wait_with_output().expect("curl can be waited for");
    assert!(result.status.success(), "{command:?}: {}", result.status);
    let text = String::from_utf8(result.stdout).expect("curl prints JSON");
    let parse = |line: &str| {
        let transfer: Curl = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Curl { pid, ..transfer }
    };
    text.lines().filter(|line| !line.is_empty()).map(parse).collect()
}
