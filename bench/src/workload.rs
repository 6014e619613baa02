//! What the server is asked to do, and how fast it did it.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use tcp_trace_tests::{Folder, Running, free_port, wait_for_listener};

use crate::{idle, server::Server, tool::printed};

/// Connections that are open beside those of [`Workload::Idle`] that work.
const IDLE_CONNECTIONS: usize = 10_000;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Small responses on 32 kept connections
    KeepAlive,
    /// The same over TLS 1.3, with nginx's OpenSSL
    Tls,
    /// A connection per request
    Churn,
    /// Responses of 1 MiB, by sendfile
    Large,
    /// Requests with 64 KiB of body
    Post,
    /// `keep-alive` with 100 connections beside 10,000 that do nothing
    Idle,
    /// One connection without HTTP, by iperf3
    Bulk,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    /// Requests per second; of [`Workload::Bulk`], bits per second.
    pub(crate) rate: f64,
    /// Requests that were answered; 0 where there are none.
    pub(crate) requests: u64,
    /// The latency that 99 % of requests did not exceed.
    pub(crate) p99: Option<Duration>,
}

/// The servers of a workload, and what has to be open meanwhile.
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) pid: u32,
    _server: Option<Server>,
    _iperf: Option<Running>,
    _idle: Vec<std::net::TcpStream>,
    folder: Folder,
}

impl Workload {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// What it is, in words.
    pub(crate) fn description(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// Fails unless the programs that it needs are there.
    pub(crate) fn require(self) -> Result<()> {
        let programs: &[&str] = match self {
            Self::Bulk => &["iperf3"],
            Self::Tls => &["nginx", "openssl", "wrk"],
            _ => &["nginx", "wrk"],
        };
        programs.iter().try_for_each(|program| crate::tool::require(program))
    }

    /// Starts what serves it.
    pub(crate) fn prepare(self) -> Result<Target> {
        let folder = Folder::new();
        if self == Self::Bulk {
            let port = free_port();
            let mut command = Command::new("iperf3");
            command.args(["--server", "--bind", "127.0.0.1", "--port", &port.to_string()]);
            let iperf = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()));
            wait_for_listener(Command::new("ss"), port, 1);
            let pid = iperf.pid();
            return Ok(Target { port, pid, _server: None, _iperf: Some(iperf), _idle: Vec::new(), folder });
        }
        let server = Server::start(self == Self::Tls)?;
        let (port, pid) = (server.port(), server.pid());
        let idle = if self == Self::Idle { idle::open(port, IDLE_CONNECTIONS)? } else { Vec::new() };
        Ok(Target { port, pid, _server: Some(server), _iperf: None, _idle: idle, folder })
    }

    /// Runs it.
    pub(crate) fn run(self, target: &Target, seconds: u32) -> Result<Throughput> {
        if self == Self::Bulk { iperf(target, seconds) } else { self.wrk(target, seconds) }
    }

    fn wrk(self, target: &Target, seconds: u32) -> Result<Throughput> {
        let script = target.folder.file("wrk.lua");
        fs::write(&script, self.script()).context("cannot write wrk's script")?;
        let path = match self {
            Self::Large => "/big",
            Self::Post => "/post",
            _ => "/small",
        };
        let connections = if self == Self::Idle { "100" } else { "32" };
        let scheme = if self == Self::Tls { "https" } else { "http" };
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c", connections, "-d", &seconds.to_string(), "--latency", "-s"]).arg(&script);
        command.arg(format!("{scheme}://127.0.0.1:{}{path}", target.port));
        let text = printed(&mut command)?;
        let failed = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
        if let Some(line) = failed {
            bail!("the load did not go well: {}", line.trim());
        }
        parse_wrk(&text).with_context(|| format!("not understood what wrk printed:\n{text}"))
    }

    fn script(self) -> &'static str {
        match self {
            Self::Churn => "wrk.headers['Connection'] = 'close'\n",
            Self::Post => "wrk.method = 'POST'\nwrk.body = string.rep('x', 65536)\n",
            _ => "",
        }
    }
}

fn iperf(target: &Target, seconds: u32) -> Result<Throughput> {
    let mut command = Command::new("iperf3");
    command.args(["--client", "127.0.0.1", "--json", "--port", &target.port.to_string()]);
    let text = printed(command.args(["--time", &seconds.to_string()]))?;
    let json: serde_json::Value = serde_json::from_str(&text).context("iperf3 prints JSON")?;
    let rate = json["end"]["sum_received"]["bits_per_second"].as_f64();
    let rate = rate.context("iperf3 does not say how fast it was")?;
    Ok(Throughput { rate, requests: 0, p99: None })
}

/// Rate, number of requests and 99th percentile as `wrk --latency` prints them.
fn parse_wrk(text: &str) -> Option<Throughput> {
    let behind = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label));
    let rate = behind("Requests/sec:")?.trim().parse().ok()?;
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let requests = line.split_whitespace().next()?.parse().ok()?;
    Some(Throughput { rate, requests, p99: parse_time(behind("99%")?.trim()) })
}

/// A time such as `1.23ms`.
fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 3s test @ http://127.0.0.1:1/small\n  1 threads and 32 connections\n  Latency Distribution\n     \
                    50%  301.00us\n     99%    1.20ms\n  245131 requests in 3.10s, 39.04MB read\nRequests/sec:  79074.51\n\
                    Transfer/sec:     12.59MB\n";
        let throughput = parse_wrk(text).unwrap();
        assert_eq!((throughput.rate, throughput.requests), (79_074.51, 245_131));
        assert_eq!(throughput.p99, Some(Duration::from_micros(1200)));
        assert!(parse_wrk("").is_none());
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in
            [("20.00us", Some(20)), ("1.50ms", Some(1500)), ("2.00s", Some(2_000_000)), ("7", None)]
        {
            assert_eq!(parse_time(text), expected.map(Duration::from_micros), "{text}");
        }
    }
}
