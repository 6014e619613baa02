//! HAProxy as a proxy with a configuration of the test's own, and its log.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{Folder, Running, nginx::json_lines, process::wait_until_ready, ss, wait_for};

/// One line of its log.
#[derive(Clone, Debug, Deserialize)]
pub struct ProxyLogLine {
    /// Method.
    pub method: String,
    /// Request target as sent.
    pub uri: String,
    /// Status code.
    pub status: u16,
    /// The client's port.
    pub client_port: u16,
    /// A number, or `-`.
    own_port: String,
    /// HAProxy's process id.
    pub pid: u32,
}

impl ProxyLogLine {
    /// HAProxy's own port on its connection to the server behind it, when there was one.
    pub fn own_port(&self) -> Option<u16> {
        self.own_port.parse().ok()
    }
}

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    process: Running,
    folder: Folder,
    port: u16,
}

impl Haproxy {
    /// Starts it on a port of IPv4's loopback, in front of the server on another.
    pub fn start(port: u16, behind: u16) -> Self {
        Self::start_with((port, ""), &format!("server behind 127.0.0.1:{behind}"))
    }

    /// The same, and it begins each connection with a PROXY header: `send-proxy` or `send-proxy-v2`.
    pub fn start_sending_proxy(port: u16, behind: u16, option: &str) -> Self {
        Self::start_with((port, ""), &format!("server behind 127.0.0.1:{behind} {option}"))
    }

    /// The same without any server, and with a second for requests to come.
    pub fn start_alone(port: u16) -> Self {
        Self::start_with((port, ""), "")
    }

    /// The same as [`Haproxy::start`], with health checks: seldom once the server is down, so that none comes during an
    /// exchange that follows one.
    pub fn start_checked(port: u16, behind: u16) -> Self {
        Self::start_with(
            (port, ""),
            &format!("server behind 127.0.0.1:{behind} check inter 50ms downinter 1s fall 1"),
        )
    }

    /// The same as [`Haproxy::start`] with TLS on both sides, and this protocol in it; the certificate, with its key, is in this file.
    pub fn start_with_tls(port: u16, behind: u16, certificate: &Path, alpn: &str) -> Self {
        Self::start_with(
            (port, &format!("ssl crt {} alpn {alpn}", certificate.display())),
            &format!("server behind 127.0.0.1:{behind} ssl verify none alpn {alpn}"),
        )
    }

    fn start_with((port, bind): (u16, &str), back: &str) -> Self {
        let folder = Folder::new();
        let path = folder.file("haproxy.conf");
        fs::write(&path, configuration(port, bind, back)).expect("the folder is ours");
        let log = |name| File::create(folder.file(name)).expect("the folder is ours");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(path);
        command.stdin(Stdio::null()).stdout(log("log")).stderr(log("errors"));
        let mut process = Running::start(&mut command);
        wait_until_ready(&mut process, &command, &[&folder.file("errors")], || {
            ss(port).iter().any(|socket| socket.state == "LISTEN")
        });
        Self { process, folder, port }
    }

    /// Its process id.
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

    /// Waits until its health checks have found the server behind it to be dead.
    pub fn wait_until_down(&self) {
        wait_for("the server to be down", || {
            let said = fs::read_to_string(self.folder.file("errors")).ok()?;
            said.contains("is DOWN").then_some(())
        });
    }

    /// The log, once it has this many lines.
    pub fn log(&self, lines: usize) -> Vec<ProxyLogLine> {
        json_lines(&self.folder.file("log"), lines)
    }
}

fn configuration(port: u16, bind: &str, back: &str) -> String {
    format!(
        r#"
global
    nbthread 2
    log stdout format raw local0
defaults
    mode http
    log global
    timeout connect 60s
    timeout client 60s
    timeout server 60s
    log-format '{{"method":"%HM","uri":"%HU","status":%ST,"client_port":%cp,"own_port":"%bp","pid":%pid}}'
frontend front
    bind 127.0.0.1:{port} {bind}
    timeout http-request 1s
    default_backend back
backend back
    {back}
"#
    )
}
