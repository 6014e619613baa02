//! Recorded lives against the kernel's own text of them.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{By, Connection, ConnectionId, How, Record, Transition},
};

use crate::{
    KernelLife, Life, Recording, Scene, TimeWindow, kernel_lives, life::transitions_of, now, wait_until,
};

/// Between two programs at one tracepoint, or between a segment and what it does, there may be an interrupt
/// or a pause of a virtual CPU (35 ms were seen on an emulated one). Scenes hold the states that matter for twice
/// as long ([`HOLD`]): a time that was taken from another event shows.
pub const TOLERANCE_US: u64 = 50_000;
/// How far a time may be off that the recording calls estimated.
pub(crate) const ESTIMATED_TOLERANCE_US: u64 = 1_100_000;
/// How long a scene stays in a state, so that a time that was taken from another event shows.
const HOLD: Duration = Duration::from_millis(100);
/// How long the last step of a scene, and then its records, may take to come.
pub(crate) const SCENE_PATIENCE: Duration = Duration::from_secs(15);
/// What ends of connections are for.
const ROLES: [Role; 3] = [Role::Client, Role::Server, Role::Listener];

/// Stays in the present states for a while.
pub fn hold() {
    thread::sleep(HOLD);
}

/// The time that something took.
pub fn while_doing(work: impl FnOnce()) -> TimeWindow {
    let from = now();
    work();
    TimeWindow { from, to: now() }
}

impl Scene {
    /// Waits until a transition, `OLD>NEW`, is recorded of any connection, or it takes too long: the check says
    /// then what is missing.
    pub fn wait_for_record(&self, transition: &str) {
        let is_it = |record: &Record| matches!(record, Record::Transition(t) if name_of(t) == transition);
        wait_until(SCENE_PATIENCE, || self.tracer.records().iter().any(is_it));
    }

    /// Closes the listener, if there is one, and checks that the kernel lived these lives, in order of birth
    /// for each role, and that the recording has exactly them.
    pub fn check(self, listener: Option<TcpListener>, lives: &[Life]) -> Recording {
        let mut lives = lives.to_vec();
        lives.extend(listener.map(|listener| {
            drop(listener);
            Life::listener()
        }));
        let kernel = self.wait_for_witness(&lives);
        self.wait_for_records(&lives);
        let skipped = self.tracer.skipped_by_kernel();
        // The kernel may go on sending again what nobody answers: what was counted before has to be recorded.
        let resent_before = self.namespace.counter("RetransSegs");
        let dropped = self.namespace.counter("ListenDrops");
        let recording = self.tracer.stop();
        assert_eq!(recording.end.lost, 0);
        let unanswered: u64 = recording.connections().map(|end| u64::from(end.syns_unanswered)).sum();
        assert!(unanswered <= dropped, "{unanswered} SYNs unanswered, but {dropped} dropped: {recording:#?}");
        let resent = self.namespace.counter("RetransSegs");
        for role in ROLES {
            let expected: Vec<_> = of_role(&lives, role).collect();
            let witnesses = kernel.iter().filter(|witness| witness.role == role);
            let mut recorded = recording.connections_of(role);
            recorded.sort_by_key(|connection| connection.opened);
            assert_eq!(recorded.len(), expected.len(), "recorded ends of role {role:?}: {recorded:#?}");
            for ((life, witness), connection) in expected.into_iter().zip(witnesses).zip(recorded) {
                let (kernel, recording) = (&*kernel, &recording);
                let checked = Checked { life, witness, connection, kernel, recording, skipped, resent };
                checked.life();
                checked.ends(self.server, self.namespace.inode());
                checked.summary();
            }
        }
        assert_eq!(recording.connections().count(), lives.len(), "ends of no role are recorded");
        let recorded: u64 = recording.connections().map(|connection| connection.retransmits).sum();
        let is_recorded = resent_before == 0 || recorded > 0;
        assert!(is_recorded, "the kernel has sent {resent_before} segments again: {recording:#?}");
        recording
    }

    /// Waits until the kernel has lived these lives, and fails when it lives others: then the scene is wrong.
    fn wait_for_witness(&self, lives: &[Life]) -> Vec<KernelLife> {
        let paths = |kernel: &[KernelLife]| {
            ROLES.map(|role| {
                let of_role = kernel.iter().filter(|witness| witness.role == role);
                of_role.map(KernelLife::transitions).collect::<Vec<_>>()
            })
        };
        let expected = ROLES.map(|role| {
            of_role(lives, role).map(|life| transitions_of(life.kernel_path)).collect::<Vec<_>>()
        });
        let read = || kernel_lives(&self.kernel.lines(), self.server.port());
        wait_until(SCENE_PATIENCE, || paths(&read()) == expected);
        let kernel = read();
        assert_eq!(paths(&kernel), expected, "what happened is not the scene that is to be recorded");
        kernel
    }

    /// Waits until the lives are recorded, or it takes too long: the checks say then what is missing.
    fn wait_for_records(&self, lives: &[Life]) {
        wait_until(SCENE_PATIENCE, || {
            let records = self.tracer.records();
            ROLES.into_iter().all(|role| {
                let mut recorded = recorded_paths(&records, role);
                of_role(lives, role).all(|life| {
                    let found = recorded.iter().position(|recorded| recorded.is(life));
                    found.map(|index| recorded.remove(index)).is_some()
                })
            })
        });
    }
}

/// What is recorded of one connection so far.
#[derive(Debug, Default)]
struct RecordedPath {
    transitions: Vec<String>,
    is_summed_up: bool,
}

impl RecordedPath {
    /// Whether it is this life to its end. The summary of a TIME_WAIT may come only with the session's end.
    fn is(&self, life: &Life) -> bool {
        let is_waiting = life.path.ends_with("TIME_WAIT");
        self.transitions == transitions_of(life.path) && (self.is_summed_up || is_waiting)
    }
}

fn recorded_paths(records: &[Record], role: Role) -> Vec<RecordedPath> {
    let mut paths: BTreeMap<ConnectionId, RecordedPath> = BTreeMap::new();
    for record in records {
        match record {
            Record::Transition(transition) if transition.connection.role == Some(role) => {
                paths.entry(transition.connection.id).or_default().transitions.push(name_of(transition));
            }
            Record::Connection(connection) if connection.connection.role == Some(role) => {
                paths.entry(connection.connection.id).or_default().is_summed_up = true;
            }
            _ => {}
        }
    }
    paths.into_values().collect()
}

fn of_role(lives: &[Life], role: Role) -> impl Iterator<Item = &Life> {
    lives.iter().filter(move |life| life.role == role)
}

fn name_of(transition: &Transition) -> String {
    format!("{}>{}", transition.old.name(), transition.new.name())
}

/// One end, with what is said of it.
struct Checked<'a> {
    life: &'a Life,
    witness: &'a KernelLife,
    connection: &'a Connection,
    kernel: &'a [KernelLife],
    recording: &'a Recording,
    /// [`Tracer::skipped_by_kernel`](crate::Tracer::skipped_by_kernel).
    skipped: u64,
    /// Segments that the kernel has sent again in this namespace: a pause of the machine can be longer than its timers.
    resent: u64,
}

impl Checked<'_> {
    /// The states that it went through, and when.
    fn life(&self) {
        let id = self.connection.connection.id;
        let role = self.life.role;
        let (recorded, skipped) = (self.recording.life(id), self.skipped);
        let expected = transitions_of(self.life.path);
        assert_eq!(
            recorded, expected,
            "{role:?}; {skipped} runs of the tracer's programs skipped by the kernel"
        );
        let transitions: Vec<_> = self.recording.transitions().filter(|t| t.connection.id == id).collect();
        for transition in &transitions {
            assert_eq!(transition.connection.role, Some(role), "{transition:?}");
            let moment = self.moment_of(transition);
            let tolerance = if transition.estimated { ESTIMATED_TOLERANCE_US } else { TOLERANCE_US };
            let off = moment.micros_from(transition.time);
            assert!(off <= tolerance, "{off} us off {moment:?}: {transition:?}");
        }
        for pair in transitions.windows(2) {
            let between = pair[1].time.micros_since(pair[0].time);
            assert_eq!(pair[1].in_old_us, Some(between), "{pair:?}");
        }
        self.states(&transitions);
    }

    /// The summary's states are the transitions'.
    fn states(&self, transitions: &[&Transition]) {
        let after = transitions.iter().skip(1).map(|next| Some(*next)).chain([None]);
        let entries: Vec<_> =
            transitions.iter().zip(after).filter(|(entry, _)| entry.new != State::Close).collect();
        let spans = &self.connection.states;
        assert_eq!(spans.len(), entries.len(), "{spans:?}");
        for (span, (entry, left)) in spans.iter().zip(entries) {
            let duration_us = left.map(|left| left.time.micros_since(entry.time));
            assert_eq!((span.state, span.entered, span.duration_us), (entry.new, entry.time, duration_us));
            let is_estimated = entry.estimated || left.is_some_and(|left| left.estimated);
            assert_eq!(span.estimated, is_estimated, "{span:?}");
        }
    }

    /// When a transition happened, by the best witness.
    fn moment_of(&self, transition: &Transition) -> TimeWindow {
        let name = name_of(transition);
        let told = self.life.moments.iter().find(|(of, _)| *of == name).map(|(_, moment)| *moment);
        let own = || self.witness.time_of(&name).map(TimeWindow::from);
        if name == "LISTEN>SYN_RECV" {
            // The kernel reports it with the third segment; it happens with the SYN.
            return told.or_else(|| self.moment_of_syn()).expect("a witness of the SYN");
        }
        // The kernel's socket closes when a mini-socket goes on in TIME_WAIT.
        let swapped = || self.witness.time_of(&name.replace("TIME_WAIT", "CLOSE")).map(TimeWindow::from);
        told.or_else(own).or_else(swapped).unwrap_or_else(|| panic!("no witness of {name}"))
    }

    /// A client on this host sends its SYN between two of its own transitions.
    fn moment_of_syn(&self) -> Option<TimeWindow> {
        let is_its_client =
            |other: &&KernelLife| other.role == Role::Client && other.other_port == self.witness.other_port;
        let client = self.kernel.iter().find(is_its_client)?;
        Some(TimeWindow {
            from: client.time_of("CLOSE>SYN_SENT")?,
            to: client.time_of("SYN_SENT>ESTABLISHED")?,
        })
    }

    /// Addresses, namespace and process.
    fn ends(&self, server: SocketAddr, netns: u32) {
        let connection = self.connection;
        let network = connection.connection.network.expect("addresses are known");
        assert_eq!(network.netns, Some(netns), "{connection:?}");
        let (of_server, of_client) = match self.life.role {
            Role::Client => (network.peer, network.local),
            Role::Server | Role::Listener => (network.local, network.peer),
        };
        assert_eq!(of_server, server.into(), "{connection:?}");
        // A client that fails to connect loses its port before the kernel's text shows it.
        if self.witness.other_port != 0 || self.life.role == Role::Listener {
            assert_eq!(of_client.port, self.witness.other_port, "{connection:?}");
        }
        let process = connection.connection.process.as_ref().map(|process| process.pid);
        if process.is_some() || self.life.is_process_known {
            assert_eq!(process, Some(std::process::id()), "{connection:?}");
        }
    }

    /// What its summary says beside the states.
    fn summary(&self) {
        let connection = self.connection;
        let close = &connection.close;
        let expected = self.life.close.expect("a life says how it ends");
        assert_eq!((close.by, close.how), expected, "{connection:?}");
        // Of an RST that was sent here the kernel says why, each version in other words.
        if expected != (By::Local, How::Rst) {
            assert_eq!(close.reason.as_deref(), self.life.reason, "{connection:?}");
        }
        assert!(connection.seen_from_start, "{connection:?}");
        assert_eq!((connection.bytes.sent, connection.bytes.received), self.life.bytes, "{connection:?}");
        match self.life.retransmits {
            Some(retransmits) => assert_eq!(connection.retransmits, retransmits, "{connection:?}"),
            // Each passes an end at most once.
            None => assert!(connection.retransmits <= self.resent, "{} {connection:?}", self.resent),
        }
        if self.life.path.contains("ESTABLISHED") {
            let handshake = connection.handshake.expect("the handshake was seen");
            assert!(handshake.syn_seq.is_some() && handshake.syn_ack_seq.is_some(), "{connection:?}");
        }
    }
}
