//! What the kernel printed, socket by socket.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::Ipv4Addr,
};

use tcp_trace_model::{event::State, time::Time};

use super::line::{Context, Line};
use crate::tracefs::wall_offset_ns;

/// `IPPROTO_TCP`; the tracepoint also has MPTCP.
const TCP: u64 = 6;
/// `AF_INET`.
const INET: u64 = 2;
/// `MSG_PEEK` and `MSG_ERRQUEUE`: what is given is not taken from the received bytes.
const NOT_TAKEN: u64 = 0x2002;

/// One life of a socket: from `CLOSE` or a listener's child, or from the first line on, until it is closed.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// The socket's port; 0 while it has none.
    pub(super) local_port: u16,
    /// The other end's; 0 when there is none.
    pub(super) peer_port: u16,
    /// Both addresses, of an IPv4 socket; unspecified while it has none.
    pub(super) addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    /// When its first line was printed.
    first: Time,
    /// State changes.
    pub(super) changes: Vec<Change>,
    /// When segments were sent again.
    pub(super) retransmits: Vec<Time>,
    /// How many more were dropped on this host, or not sent at all.
    pub(super) failed_retransmits: u64,
    /// When it sent RSTs, and in which state.
    pub(super) sent_resets: Vec<(Time, Option<State>)>,
    /// When it accepted an RST.
    pub(super) received_resets: Vec<Time>,
    /// What processes did with it.
    pub(super) uses: Uses,
}

/// What processes did with a socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    /// Those that read, wrote, connected or closed it, or that had it locked when segments came that changed its state.
    pub(super) processes: BTreeSet<u32>,
    /// Whether one of them is known to have read, written, connected or closed it.
    pub(super) is_used: bool,
    /// Whether there were others, of which the kernel does not say which.
    pub(super) has_others: bool,
    /// Whether the rest is known.
    pub(super) are_counted: bool,
    /// Bytes that write(2) and the like took.
    pub(super) written: u64,
    /// Bytes that read(2), splice(2) and the like gave.
    pub(super) read: u64,
    /// Whether it was read until the peer's FIN.
    pub(super) is_read_to_end: bool,
}

/// One state change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) time: Time,
    pub(super) old: State,
    pub(super) new: State,
}

/// The lives that a text tells of, in order of their first lines. `uses` is the text of what was written and read, and that of
/// what was spliced, if there is one.
pub(super) fn lives(lines: &[String], uses: Option<(&[String], &[String])>) -> Vec<Life> {
    let offset_ns = wall_offset_ns();
    let mut lives: Vec<Life> = Vec::new();
    // By the socket's address: its lives.
    let mut of_socket: HashMap<u64, Vec<usize>> = HashMap::new();
    for line in lines.iter().filter_map(|line| Line::parse(line, offset_ns)) {
        let indices = of_socket.entry(line.number("skaddr")).or_default();
        let life = indices.last().map(|index| &mut lives[*index]);
        match (line.event, life) {
            ("inet_sock_set_state", life) if line.number("protocol") == TCP => {
                let (old, new) = (line.state("oldstate"), line.state("newstate"));
                let is_birth = old == State::Close && new != State::Close
                    || old == State::Listen && new == State::SynRecv;
                let change = Change { time: line.time, old, new };
                match life.filter(|_| !is_birth) {
                    Some(life) => life.go_on(change, &line),
                    None => {
                        indices.push(lives.len());
                        lives.push(Life::new(change, &line));
                    }
                }
            }
            ("tcp_retransmit_skb", Some(life)) => match line.optional("err") {
                None | Some(0) => life.retransmits.push(line.time),
                Some(_) => life.failed_retransmits += 1,
            },
            ("tcp_send_reset", Some(life)) => {
                let state = u8::try_from(line.number("state")).ok().and_then(State::from_kernel);
                life.sent_resets.push((line.time, state));
            }
            ("tcp_receive_reset", Some(life)) => life.received_resets.push(line.time),
            _ => {}
        }
    }
    let Some((lengths, splices)) = uses else { return lives };
    for life in &mut lives {
        life.uses.are_counted = true;
    }
    let mut life_of = |socket: u64, time: Time, note: &mut dyn FnMut(&mut Life)| {
        let indices = of_socket.get(&socket).map_or(&[][..], Vec::as_slice);
        let begun = indices.partition_point(|index| lives[*index].first <= time);
        if let Some(index) = begun.checked_sub(1) {
            note(&mut lives[indices[index]]);
        }
    };
    // Threads that read into no room.
    let mut without_room = HashSet::new();
    for line in lengths.iter().filter_map(|line| Line::parse(line, offset_ns)) {
        if line.event == "sys_enter_recvfrom" {
            without_room.insert(line.thread());
            continue;
        }
        let has_room = line.event != "sock_recv_length" || !without_room.remove(&line.thread());
        life_of(line.number("sk"), line.time, &mut |life| life.use_by(&line, has_room));
    }
    // By thread: the socket that it splices from, once that is known.
    let mut splicing: HashMap<u32, Option<u64>> = HashMap::new();
    for line in splices.iter().filter_map(|line| Line::parse(line, offset_ns)) {
        match line.event {
            "sys_enter_splice" => drop(splicing.insert(line.thread(), None)),
            "sys_exit_splice" => {
                if let Some(socket) = splicing.remove(&line.thread()).flatten() {
                    life_of(socket, line.time, &mut |life| life.read_by(&line, true));
                }
            }
            _ => {
                if let Some(socket) = splicing.get_mut(&line.thread()) {
                    *socket = Some(line.number("skaddr"));
                }
            }
        }
    }
    lives
}

impl Life {
    fn new(change: Change, line: &Line<'_>) -> Self {
        let mut life = Self {
            local_port: 0,
            peer_port: 0,
            addresses: None,
            first: change.time,
            changes: Vec::new(),
            retransmits: Vec::new(),
            failed_retransmits: 0,
            sent_resets: Vec::new(),
            received_resets: Vec::new(),
            uses: Uses::default(),
        };
        life.go_on(change, line);
        life
    }

    fn go_on(&mut self, change: Change, line: &Line<'_>) {
        // A socket that is not bound yet has no port, and a listener's child may have no peer yet.
        if line.port("sport") != 0 {
            self.local_port = line.port("sport");
        }
        if line.port("dport") != 0 {
            self.peer_port = line.port("dport");
        }
        let address = |name| {
            let number = u32::try_from(line.number(name)).expect("addresses have 32 bits");
            Ipv4Addr::from(number.to_ne_bytes())
        };
        if line.number("family") == INET {
            self.addresses = Some((address("saddr"), address("daddr")));
        }
        // close() after shutdown() sets the state that it finds (`tcp_close_state()`).
        if change.old != change.new {
            self.changes.push(change);
        }
        self.uses.by(line.context(), is_call(change));
    }

    /// Notes that a process wrote or read, which asked for something if it `has_room`.
    fn use_by(&mut self, line: &Line<'_>, has_room: bool) {
        match line.event {
            "sock_recv_length" if line.number("flags") & NOT_TAKEN == 0 => self.read_by(line, has_room),
            event => {
                self.uses.by(line.context(), true);
                if event == "sock_send_length" {
                    self.uses.written += u64::try_from(line.signed("ret")).unwrap_or_default();
                }
            }
        }
    }

    /// Notes that a process read.
    fn read_by(&mut self, line: &Line<'_>, has_room: bool) {
        self.uses.by(line.context(), true);
        let after = self.changes.partition_point(|change| change.time <= line.time);
        let has_fin = after.checked_sub(1).is_some_and(|last| {
            matches!(
                self.changes[last].new,
                State::CloseWait | State::LastAck | State::Closing | State::Close
            )
        });
        if let Ok(length) = u64::try_from(line.signed("ret")) {
            self.uses.read += length;
            self.uses.is_read_to_end |= length == 0 && has_fin && has_room;
        }
    }

    /// Whether it is known from its beginning.
    pub(super) fn has_beginning(&self) -> bool {
        self.changes.first().is_some_and(|first| matches!(first.old, State::Close | State::Listen))
    }

    /// The socket's life in a line.
    pub(super) fn describe(&self) -> String {
        let path: Vec<_> =
            self.changes.iter().map(|c| format!("{}>{}", c.old.name(), c.new.name())).collect();
        format!("port {} to {}: {}", self.local_port, self.peer_port, path.join(" "))
    }
}

/// Whether a process that is running when a state changes so has called for it. Other changes are by segments, too: one that a
/// test writes to its TUN device is handled within the call.
fn is_call(change: Change) -> bool {
    match change.new {
        State::SynSent => change.old == State::Close,
        State::FinWait1 => matches!(change.old, State::Established | State::SynRecv),
        State::LastAck => change.old == State::CloseWait,
        _ => false,
    }
}

impl Uses {
    fn by(&mut self, context: Context, is_use: bool) {
        match context {
            Context::Process(process) => {
                self.processes.insert(process);
                self.is_used |= is_use;
            }
            Context::UnknownProcess => self.has_others = true,
            Context::Interrupt => {}
        }
    }
}
