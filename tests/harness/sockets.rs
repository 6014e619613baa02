//! The witnesses of sockets and mini-sockets: `ss`, and the kernel's own `/proc/net/tcp`.

use std::{fs, process::Command, time::Duration};

use tcp_trace_model::event::State;

use crate::{Namespace, output};

/// A TCP socket, request or mini-socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its state, in the kernel's names without `TCP_`.
    pub state: String,
    /// Its port.
    pub local_port: u16,
    /// The other end's; 0 when there is none.
    pub peer_port: u16,
    /// Its timer, when one runs.
    pub timer: Option<Timer>,
}

/// A timer of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// `on` (retransmits), `keepalive`, `timewait` or `persist`.
    pub kind: String,
    /// Time until it fires.
    pub left: Duration,
    /// Retransmits or probes that were not answered yet.
    pub unanswered: u64,
}

/// What `ss` shows of a port, at either end, in this thread's network namespace.
pub fn ss(port: u16) -> Vec<Socket> {
    let filter = format!("( sport = :{port} or dport = :{port} )");
    let shown = output(Command::new("ss").args(["-HtanoOe", &filter]));
    let text = String::from_utf8(shown.stdout).expect("ss prints text");
    text.lines().map(parse_ss).collect()
}

impl Namespace {
    /// What `ss` shows of a port, at either end, in this namespace.
    pub fn ss(&self, port: u16) -> Vec<Socket> {
        self.run(|| ss(port))
    }

    /// What `/proc/net/tcp` and `tcp6` say of a port, at either end, in this namespace.
    pub fn proc_net_tcp(&self, port: u16) -> Vec<Socket> {
        let read = || ["tcp", "tcp6"].map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")));
        let texts = self.run(read).map(|text| text.expect("the kernel lists its sockets"));
        let lines = texts.iter().flat_map(|text| text.lines().skip(1));
        lines.map(parse_proc).filter(|socket| [socket.local_port, socket.peer_port].contains(&port)).collect()
    }

    /// The states of the sockets of a port that have another end, as `/proc/net/tcp` says.
    pub fn states(&self, port: u16) -> Vec<String> {
        let mut sockets = self.proc_net_tcp(port);
        sockets.retain(|socket| socket.peer_port != 0);
        sockets.into_iter().map(|socket| socket.state).collect()
    }

    /// A counter of the namespace, as in `/proc/net/snmp` or `/proc/net/netstat`.
    pub fn counter(&self, name: &str) -> u64 {
        let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        let text = self.run(|| Ok::<_, std::io::Error>(read("snmp")? + &read("netstat")?));
        let text = text.expect("the kernel shows its counters");
        // Lines come in pairs: names, and values.
        let lines: Vec<_> = text.lines().collect();
        let mut counters = lines.chunks(2).flat_map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
        let (_, value) = counters.find(|(of, _)| *of == name).expect("the kernel has this counter");
        value.parse().expect("a number")
    }
}

fn parse_ss(line: &str) -> Socket {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [state, _, _, local, peer, ..] = fields.as_slice() else { panic!("not a line of ss: {line}") };
    let port = |address: &str| {
        let port = address.rsplit(':').next().unwrap_or_default();
        if port == "*" { 0 } else { port.parse().unwrap_or_else(|error| panic!("{error}: {line}")) }
    };
    let state = state_of_ss(state).map_or_else(|| (*state).to_owned(), |state| state.name().to_owned());
    let timer = fields.iter().find_map(|field| field.strip_prefix("timer:(")?.strip_suffix(')'));
    Socket { state, local_port: port(local), peer_port: port(peer), timer: timer.map(parse_timer) }
}

/// The state that `ss` calls so.
pub(crate) fn state_of_ss(name: &str) -> Option<State> {
    Some(match name {
        "ESTAB" => State::Established,
        "SYN-SENT" => State::SynSent,
        "SYN-RECV" => State::SynRecv,
        "FIN-WAIT-1" => State::FinWait1,
        "FIN-WAIT-2" => State::FinWait2,
        "TIME-WAIT" => State::TimeWait,
        "UNCONN" => State::Close,
        "CLOSE-WAIT" => State::CloseWait,
        "LAST-ACK" => State::LastAck,
        "LISTEN" => State::Listen,
        "CLOSING" => State::Closing,
        _ => return None,
    })
}

/// `timewait,59sec,0`.
fn parse_timer(text: &str) -> Timer {
    let mut parts = text.split(',');
    let mut next = || parts.next().unwrap_or_default();
    let (kind, left, unanswered) = (next(), next(), next());
    let (minutes, left) = left.split_once("min").unwrap_or(("0", left));
    let number = |text: &str| if text.is_empty() { 0 } else { text.parse::<u64>().expect("a number") };
    let seconds_and_millis = match (left.strip_suffix("sec"), left.strip_suffix("ms")) {
        (Some(seconds), _) => number(seconds) * 1_000,
        // With seconds before the point it is `1.234ms`, alone `234ms`.
        (_, Some(left)) => {
            left.split_once('.').map_or_else(|| number(left), |(s, ms)| number(s) * 1_000 + number(ms))
        }
        _ => number(left),
    };
    let left = Duration::from_millis(number(minutes) * 60_000 + seconds_and_millis);
    Timer { kind: kind.to_owned(), left, unanswered: number(unanswered) }
}

/// `sl local rem st tx:rx tr:when retransmits uid probes ...`, hexadecimal but for uid and probes (`get_tcp4_sock()`).
fn parse_proc(line: &str) -> Socket {
    const STATES: [&str; 12] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "SYN_RECV",
    ];
    const TIMERS: [&str; 5] = ["", "on", "keepalive", "timewait", "persist"];
    /// `USER_HZ`.
    const TICKS_PER_SECOND: u64 = 100;
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, local, peer, state, _, timer, retransmits, _, probes, ..] = fields.as_slice() else {
        panic!("no socket: {line}")
    };
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap_or_else(|error| panic!("{error}: {line}"));
    let index = |text: &str| usize::try_from(hex(text)).expect("small");
    let port = |address: &str| {
        u16::try_from(hex(address.split_once(':').expect("a port").1)).expect("ports have 16 bits")
    };
    let (kind, ticks) = timer.split_once(':').expect("a timer's time");
    let left = Duration::from_millis(hex(ticks) * 1_000 / TICKS_PER_SECOND);
    let kind = TIMERS[index(kind)];
    let unanswered = if kind == "on" { hex(retransmits) } else { probes.parse().expect("it is decimal") };
    Socket {
        state: STATES[index(state) - 1].to_owned(),
        local_port: port(local),
        peer_port: port(peer),
        timer: (!kind.is_empty()).then(|| Timer { kind: kind.to_owned(), left, unanswered }),
    }
}
