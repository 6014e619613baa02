//! What `ss` says of sockets.

use std::{net::SocketAddr, process::Command};

use tcp_trace_model::{
    event::{Endpoints, State},
    socket::{Socket, Timer},
};
use tcp_trace_tests::output;

/// What a line of `ss` says, as far as it stays the same while nothing happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) cookie: u64,
    state: State,
    pub(crate) endpoints: Endpoints,
    queues: (u32, u32),
    timer: Timer,
    retransmits: u8,
    uid: u32,
    inode: u32,
    shutdown: Option<u8>,
    srtt_us: u32,
    cwnd: u32,
    unacked: u32,
    bytes: (u64, u64),
    total_retrans: u32,
}

/// What gets older: milliseconds since data and since an acknowledgment came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    pub(crate) received: u32,
    pub(crate) acknowledged: u32,
}

impl Line {
    /// What `ss` has to say of a socket.
    pub(crate) fn of(socket: &Socket) -> Self {
        let info = socket.info;
        // ss shows the length of a listener's queue as Recv-Q only.
        let unacked = info.filter(|_| socket.state != State::Listen).map_or(0, |info| info.unacked);
        Self {
            cookie: socket.cookie,
            state: socket.state,
            endpoints: socket.endpoints,
            queues: (socket.rqueue, socket.wqueue),
            timer: socket.timer,
            retransmits: socket.retransmits,
            uid: socket.uid,
            inode: socket.inode,
            shutdown: socket.shutdown,
            srtt_us: info.map_or(0, |info| info.srtt_us),
            cwnd: info.map_or(0, |info| info.cwnd),
            unacked,
            bytes: info.map_or((0, 0), |info| (info.bytes_acked, info.bytes_received)),
            total_retrans: info.map_or(0, |info| info.total_retrans),
        }
    }

    fn parse(line: &str) -> Option<(Self, Ages)> {
        let mut words = line.split_whitespace();
        let state = state(words.next()?);
        let queues = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let endpoints = Endpoints { local: address(words.next()?)?, peer: address(words.next()?)? };
        let words: Vec<_> = words.collect();
        let value = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix(':'));
        let number = |name| value(name).map_or(0, |value| value.parse::<u64>().expect("a number"));
        let (timer, retransmits) = value("timer").map_or((Timer::None, 0), timer);
        // Milliseconds with a fraction, smoothed and its variation.
        let rtt =
            value("rtt").map_or(0.0, |rtt| rtt.split_once('/').expect("two").0.parse().expect("a number"));
        let unacked = if state == State::Listen { 0 } else { number("unacked") };
        let line = Self {
            cookie: u64::from_str_radix(value("sk")?, 16).ok()?,
            state,
            endpoints,
            queues,
            timer,
            retransmits,
            uid: number("uid") as u32,
            inode: number("ino") as u32,
            shutdown: words.iter().find_map(|word| shutdown(word)),
            srtt_us: (1000.0_f64 * rtt).round() as u32,
            cwnd: number("cwnd") as u32,
            unacked: unacked as u32,
            bytes: (number("bytes_acked"), number("bytes_received")),
            total_retrans: value("retrans")
                .map_or(0, |both| both.split_once('/').expect("now and in all").1.parse().expect("a number")),
        };
        let ages = Ages { received: number("lastrcv") as u32, acknowledged: number("lastack") as u32 };
        Some((line, ages))
    }
}

/// The lines of all TCP sockets, by cookie.
pub(crate) fn lines(mut ss: Command) -> Vec<(Line, Ages)> {
    let text = output(ss.args(["-H", "-tanoOei"])).stdout;
    let text = String::from_utf8(text).expect("ss prints text");
    let parse = |line| Line::parse(line).unwrap_or_else(|| panic!("not a line of ss: {line}"));
    let mut lines: Vec<_> = text.lines().map(parse).collect();
    lines.sort_by_key(|(line, _)| line.cookie);
    lines
}

fn state(name: &str) -> State {
    let name = match name {
        "ESTAB" => "ESTABLISHED",
        "FIN-WAIT-1" => "FIN_WAIT1",
        "FIN-WAIT-2" => "FIN_WAIT2",
        name => &name.replace('-', "_"),
    };
    let states = (1..=11).filter_map(State::from_kernel);
    states.into_iter().find(|state| state.name() == name).unwrap_or_else(|| panic!("no state: {name}"))
}

fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    // An interface can stand after the address.
    let host = host.split('%').next()?;
    let host = if host == "*" { "::" } else { host.trim_start_matches('[').trim_end_matches(']') };
    let host: std::net::IpAddr = host.parse().ok()?;
    let port = if port == "*" { 0 } else { port.parse().ok()? };
    Some(SocketAddr::new(host.to_canonical(), port))
}

/// `(timewait,58sec,0)`.
fn timer(text: &str) -> (Timer, u8) {
    let fields: Vec<_> = text.trim_matches(['(', ')']).split(',').collect();
    let [name, .., retransmits] = fields.as_slice() else { panic!("no timer: {text}") };
    let timer = match *name {
        "on" => Timer::Retransmit,
        "keepalive" => Timer::KeepAlive,
        "timewait" => Timer::TimeWait,
        "persist" => Timer::Probe,
        name => panic!("no timer: {name}"),
    };
    (timer, retransmits.parse().expect("a number"))
}

/// `<->` for open in both directions, a dash in the place of the direction that is shut down.
fn shutdown(word: &str) -> Option<u8> {
    match word {
        "<->" => Some(0),
        "-->" => Some(1),
        "<--" => Some(2),
        "---" => Some(3),
        _ => None,
    }
}
