//! The tools that are compared, and what one of them cost.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::process::Signal;
use tcp_trace_tests::{Folder, Running, tcp_trace, wait_for};

use crate::cost;

/// A way to watch a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// Nobody watches
    None,
    /// tcp-trace record to a file, both ends
    Record,
    /// tcp-trace record to a file, the server's end
    RecordServer,
    /// The same with --no-tls
    RecordServerNoTls,
    /// tcp-trace live to /dev/null
    Live,
    /// tcp-trace record with a filter that excludes the load
    Excluded,
    /// tcpstates of libbpf-tools
    Tcpstates,
    /// tcplife of libbpf-tools
    Tcplife,
    /// tshark -Y http
    Tshark,
    /// tcpdump -w
    Tcpdump,
}

/// A tool that runs.
pub(crate) struct RunningTool {
    process: Option<Running>,
    folder: Folder,
    is_recorder: bool,
}

/// What a tool said at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    /// Events that it took, where it says so.
    pub(crate) events: Option<u64>,
    /// HTTP exchanges that it recorded, where it does.
    pub(crate) http: Option<u64>,
    /// Events that it lost, where it says so.
    pub(crate) lost: Option<u64>,
}

/// Fails unless a program is there.
pub(crate) fn require(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return Ok(());
    }
    let package = match program {
        "nginx" => "nginx-light",
        "tcplife" | "tcpstates" => "libbpf-tools",
        other => other,
    };
    bail!("the benchmark needs {program}: apt-get install {package}, or choose with --tool and --workload");
}

/// What a program prints; an error unless it succeeds.
pub(crate) fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

impl Tool {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// Fails unless its program is there.
    pub(crate) fn require(self) -> Result<()> {
        match self {
            Self::None
            | Self::Record
            | Self::RecordServer
            | Self::RecordServerNoTls
            | Self::Live
            | Self::Excluded => Ok(()),
            Self::Tcpstates => require("tcpstates"),
            Self::Tcplife => require("tcplife"),
            Self::Tshark => require("tshark"),
            Self::Tcpdump => require("tcpdump"),
        }
    }

    /// Starts it for a server's port. It is attached when it has been given a load for a while.
    pub(crate) fn start(self, port: u16) -> Result<RunningTool> {
        let folder = Folder::new();
        let port = port.to_string();
        let is_recorder =
            matches!(self, Self::Record | Self::RecordServer | Self::RecordServerNoTls | Self::Excluded);
        let command = match self {
            Self::None => None,
            Self::Record | Self::RecordServer | Self::RecordServerNoTls | Self::Excluded => {
                let mut command = tcp_trace();
                command.arg("record").arg("-o").arg(folder.file("recording.jsonl"));
                match self {
                    Self::RecordServer => command.args(["--local-port", &port]),
                    Self::RecordServerNoTls => command.args(["--local-port", &port, "--no-tls"]),
                    // A port that no server of the benchmark has (discard, RFC 863).
                    Self::Excluded => command.args(["--port", "9"]),
                    _ => command.args(["--port", &port]),
                };
                Some(command)
            }
            Self::Live => {
                let mut command = tcp_trace();
                command.args(["live", "--port", &port]);
                Some(command)
            }
            Self::Tcpstates => Some(Command::new("tcpstates")),
            Self::Tcplife => Some(Command::new("tcplife")),
            Self::Tshark => {
                let mut command = Command::new("tshark");
                command.args(["-i", "lo", "-Y", "http", "-f", &format!("tcp port {port}")]);
                command.args(["-d", &format!("tcp.port=={port},http")]);
                Some(command)
            }
            Self::Tcpdump => {
                let mut command = Command::new("tcpdump");
                // As root it would give up its privileges and could not write there.
                command.args(["-i", "lo", "-Z", "root", "-w"]).arg(folder.file("capture.pcap"));
                command.args(["tcp", "port", &port]);
                Some(command)
            }
        };
        let process = command.map(|mut command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Running::start(&mut command)
        });
        if is_recorder {
            let file = folder.file("recording.jsonl");
            let is_ready = |text: &String| text.contains("\n{\"type\":\"ready\"");
            wait_for("the line `ready`", || fs::read_to_string(&file).ok().filter(is_ready));
        }
        Ok(RunningTool { process, folder, is_recorder })
    }
}

impl RunningTool {
    /// Processor time that it has used so far.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        self.process.as_ref().map_or(Ok(Duration::ZERO), |process| cost::processor_time(process.pid()))
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        self.process.as_ref().map_or(Ok(0), |process| cost::peak_memory(process.pid()))
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn stop(mut self) -> Result<Ended> {
        let Some(mut process) = self.process.take() else { return Ok(Ended::default()) };
        if let Some(status) = process.0.try_wait().context("cannot wait for the tool")? {
            bail!("the tool ended before its time: {status}");
        }
        process.signal(Signal::INT);
        process.0.wait().context("cannot wait for the tool")?;
        if !self.is_recorder {
            return Ok(Ended::default());
        }
        let text =
            fs::read_to_string(self.folder.file("recording.jsonl")).context("cannot read the recording")?;
        let end = text.lines().next_back().context("the recording is empty")?;
        let end: serde_json::Value =
            serde_json::from_str(end).context("the recording's last line is not JSON")?;
        let number = |field: &str| end[field].as_u64();
        Ok(Ended { events: number("events"), http: number("http"), lost: number("lost") })
    }
}
