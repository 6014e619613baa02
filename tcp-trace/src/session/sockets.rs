//! What the kernel lists when it is asked (sock_diag), read beside the loop, so that the ring buffer is never kept
//! waiting.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tcp_trace_core::{
    conn::Progress,
    pipeline::{ExistingSocket, ListedSocket},
    prose::counted,
};
use tcp_trace_model::{
    event::{Cookie, Owner, ProcessInfo, ProcessKey, Role, State, TcpStats},
    record::{KernelSocket, ProcessState},
    socket::Socket,
    time::Time,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    enrich,
    namespaces::{self, NamespaceSockets},
};
use crate::kernel::{
    Clock,
    netns::NetworkNamespace,
    process::{self, SocketOwners},
    sock_diag::{SockDiag, States},
};

/// States of sockets that have a cookie of their own.
const WITH_COOKIE: [State; 9] = [
    State::Established,
    State::SynSent,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::LastAck,
    State::Listen,
    State::Closing,
    State::TimeWait,
];
/// States in which no tracepoint tells what happens.
const WITHOUT_EVENTS: [State; 3] = [State::TimeWait, State::FinWait2, State::SynRecv];

/// What can be asked for.
enum Question {
    /// All sockets with their processes.
    Existing,
    /// Which sockets there are.
    Present,
    /// The mini-sockets and half-open connections of these network namespaces.
    Listed(Vec<u32>),
}

/// An answer.
pub(super) enum Answer {
    /// The sockets.
    Existing(Vec<ExistingSocket>),
    /// Their cookies, and the network namespaces of which these are all.
    Present(HashSet<Cookie>, Vec<u32>),
    /// With the processor time that it took.
    Listed(Vec<List>, Duration),
}

/// The mini-sockets and half-open connections of a network namespace.
pub(super) struct List {
    pub(super) netns: u32,
    /// When it was read, from and to; `None` when it could not be.
    pub(super) sockets: Option<((Time, Time), Vec<ListedSocket>)>,
}

/// The thread that asks the kernel.
pub(super) struct Sockets {
    questions: mpsc::Sender<Question>,
    answers: UnboundedReceiver<Answer>,
}

impl Sockets {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn new(clock: Clock) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (answering, answers) = unbounded_channel();
        thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || SocketLister::new(clock).run(&asked, &answering))?;
        Ok(Self { questions, answers })
    }

    pub(super) fn ask_existing(&self) {
        self.ask(Question::Existing);
    }

    pub(super) fn ask_present(&self) {
        self.ask(Question::Present);
    }

    pub(super) fn ask_listed(&self, namespaces: Vec<u32>) {
        self.ask(Question::Listed(namespaces));
    }

    fn ask(&self, question: Question) {
        // The thread ends only when this is dropped.
        let _ = self.questions.send(question);
    }

    /// The next answer; never if nothing was asked.
    pub(super) async fn answer(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// The next answer, if it comes within this time.
    pub(super) async fn answer_within(&mut self, limit: Duration) -> Option<Answer> {
        tokio::time::timeout(limit, self.answer()).await.ok()
    }
}

/// The thread's own.
struct SocketLister {
    clock: Clock,
    namespaces: NamespaceSockets<SockDiag>,
    /// Network namespaces that cannot be entered, and are reported.
    refused: HashSet<u32>,
    owners_told: bool,
}

impl SocketLister {
    fn new(clock: Clock) -> Self {
        Self { clock, namespaces: NamespaceSockets::new(), refused: HashSet::new(), owners_told: false }
    }

    fn run(mut self, questions: &mpsc::Receiver<Question>, answers: &UnboundedSender<Answer>) {
        while let Some(question) = self.namespaces.receive(questions) {
            let answer = match question {
                Question::Existing => Answer::Existing(self.existing()),
                Question::Present => {
                    let (sockets, complete) = self.each_socket();
                    Answer::Present(sockets.into_iter().map(|(_, socket)| socket.cookie).collect(), complete)
                }
                Question::Listed(namespaces) => {
                    let before = processor_time();
                    let lists = namespaces.into_iter().map(|netns| self.list(netns)).collect();
                    Answer::Listed(lists, processor_time().saturating_sub(before))
                }
            };
            if answers.send(answer).is_err() {
                return;
            }
        }
    }

    /// All sockets of all network namespaces, with the processes that have them open.
    fn existing(&mut self) -> Vec<ExistingSocket> {
        let (all, _) = self.each_socket();
        // After the sockets, so that whoever got one meanwhile is found.
        let owners = SocketOwners::read()
            .inspect_err(|error| log::warn!("cannot find the processes of existing sockets: {error}"))
            .unwrap_or_default();
        if owners.unreadable() > 0 && !std::mem::replace(&mut self.owners_told, true) {
            log::warn!(
                "cannot inspect {} (this needs CAP_SYS_PTRACE): their existing sockets are shown without a process",
                counted(owners.unreadable(), "process")
            );
        }
        let listening: HashSet<(u32, u16)> = all
            .iter()
            .filter(|(_, socket)| socket.state == State::Listen)
            .map(|(netns, socket)| (*netns, socket.endpoints.local.port()))
            .collect();
        let several = shared_inodes(&all);
        let (mut known, mut processes) = (BTreeMap::new(), BTreeMap::new());
        all.into_iter()
            .map(|(netns, socket)| {
                let is_of_listener = listening.contains(&(netns, socket.endpoints.local.port()));
                ExistingSocket {
                    cookie: socket.cookie,
                    netns,
                    endpoints: socket.endpoints,
                    state: socket.state,
                    role: role(&socket, is_of_listener),
                    owner: owners.of(socket.inode).map(|process| owner(process, &mut known)),
                    others: owners.others(socket.inode).to_vec(),
                    stats: stats(&socket),
                    bytes: progress(&socket, is_of_listener),
                    listed: Some(Box::new(listed(&socket, &owners, &mut processes))),
                    is_one_of_several: several.contains(&(netns, socket.inode)),
                    mini_socket_us: socket.is_mini().then(|| u64::from(socket.expires_ms) * 1_000),
                }
            })
            .collect()
    }

    /// Every socket of every network namespace, and which of these were read to the end. No namespace is kept alive for longer than it is
    /// read.
    fn each_socket(&mut self) -> (Vec<(u32, Socket)>, Vec<u32>) {
        let (mut all, mut complete) = (Vec::new(), Vec::new());
        for namespace in namespaces::all().unwrap_or_default() {
            let Some(mut diag) = open(&namespace, &mut self.refused) else { continue };
            let netns = namespace.inode;
            let result = diag.dump(WITH_COOKIE.into_iter().collect(), true, &mut |socket| {
                all.push((netns, socket));
            });
            match result {
                Ok(dump) if dump.incomplete || dump.malformed > 0 => {
                    log::warn!("not all sockets of network namespace {netns} could be read");
                }
                Ok(_) => complete.push(netns),
                Err(error) => log::warn!("cannot read the sockets of network namespace {netns}: {error}"),
            }
        }
        (all, complete)
    }

    fn list(&mut self, netns: u32) -> List {
        let Self { clock, namespaces, refused, .. } = self;
        let diag = namespaces.get(netns, Instant::now(), |namespace| open(namespace, refused));
        let Some(diag) = diag else { return List { netns, sockets: None } };
        let states: States = WITHOUT_EVENTS.into_iter().collect();
        let from = clock.now();
        let mut sockets = Vec::new();
        let result = diag.dump(states, false, &mut |socket| {
            if socket.is_mini() || socket.state == State::SynRecv {
                let expires_us = u64::from(socket.expires_ms) * 1_000;
                sockets.push(ListedSocket { endpoints: socket.endpoints, state: socket.state, expires_us });
            }
        });
        let is_complete = result.is_ok_and(|dump| !dump.incomplete && dump.malformed == 0);
        List { netns, sockets: is_complete.then(|| ((from, clock.now()), sockets)) }
    }
}

/// A socket in a network namespace. That there is none is reported once; how many can be `refused` is bounded by how many
/// there are.
fn open(namespace: &NetworkNamespace, refused: &mut HashSet<u32>) -> Option<SockDiag> {
    let diag = namespace.sock_diag();
    if let Err(error) = &diag
        && error.kind() != io::ErrorKind::NotFound
        && refused.insert(namespace.inode)
    {
        log::warn!(
            "cannot read the sockets of network namespace {}, so the end of their TIME_WAIT is inferred: {error} \
             (this needs CAP_SYS_ADMIN)",
            namespace.inode
        );
    }
    diag.ok()
}

/// The network namespaces and inode numbers that several connections have: those of MPTCP sockets, whose subflows they are. A socket that
/// is given twice is one.
fn shared_inodes(sockets: &[(u32, Socket)]) -> HashSet<(u32, u32)> {
    let (mut seen, mut shared) = (HashMap::new(), HashSet::new());
    for (netns, socket) in sockets.iter().filter(|(_, it)| it.state != State::Listen && it.inode != 0) {
        let inode = (*netns, socket.inode);
        if *seen.entry(inode).or_insert(socket.cookie) != socket.cookie {
            shared.insert(inode);
        }
    }
    shared
}

fn role(socket: &Socket, is_of_listener: bool) -> Option<Role> {
    match socket.state {
        State::Listen => Some(Role::Listener),
        State::SynSent => Some(Role::Client),
        _ => is_of_listener.then_some(Role::Server),
    }
}

fn stats(socket: &Socket) -> TcpStats {
    let is_listener = socket.state == State::Listen;
    let info = socket.info.unwrap_or_default();
    TcpStats {
        receive_queue: if is_listener { 0 } else { socket.rqueue },
        srtt_us: info.srtt_us,
        cwnd: info.cwnd,
        retransmits: info.total_retrans,
        // `inet_diag_dump_icsk()`: a listener's queues are those of its connections.
        accept_queue: if is_listener { socket.rqueue } else { 0 },
        accept_queue_limit: if is_listener { socket.wqueue } else { 0 },
    }
}

/// What is recorded of a process with its sockets, asked once.
#[derive(Clone, Copy, Debug, Default)]
struct OfProcess {
    state: Option<ProcessState>,
    files_limit: Option<u64>,
}

fn listed(socket: &Socket, owners: &SocketOwners, processes: &mut BTreeMap<u32, OfProcess>) -> KernelSocket {
    let pid = owners.of(socket.inode).map(|process| process.pid);
    let of = |pid| OfProcess { state: process::state(pid), files_limit: process::files_limit(pid) };
    let OfProcess { state, files_limit } =
        pid.map_or_else(OfProcess::default, |pid| *processes.entry(pid).or_insert_with(|| of(pid)));
    KernelSocket {
        also_open_in: owners.others(socket.inode).to_vec(),
        process_state: state,
        open_files: pid.and_then(|pid| owners.open_files(pid)),
        open_files_limit: files_limit,
        ..KernelSocket::of(socket)
    }
}

/// How far it has come. `bytes_sent` without `bytes_retrans` is not it: of what is sent again and fails on this
/// host, only the first counts (`__tcp_retransmit_skb()`).
fn progress(socket: &Socket, is_of_listener: bool) -> Option<Progress> {
    let info = socket.info?;
    let under_way = socket.wqueue.saturating_sub(info.notsent_bytes);
    let sent = info.bytes_acked + u64::from(under_way);
    let is_fin_sent = match socket.state {
        State::FinWait2 => true,
        // The FIN stands behind all data.
        State::FinWait1 | State::Closing | State::LastAck => info.notsent_bytes == 0,
        _ => false,
    };
    let is_fin_received = matches!(socket.state, State::CloseWait | State::LastAck | State::Closing);
    let is_syn_sent = if info.bytes_retrans == 0 {
        sent > info.bytes_sent + u64::from(is_fin_sent)
    } else {
        !is_of_listener
    };
    let not_data = [u8::from(is_fin_sent) + u8::from(is_syn_sent), is_fin_received.into()];
    Some(Progress { sent, received: info.bytes_received, not_data })
}

/// The process with where it runs, which its sockets share.
fn owner(process: &process::Process, known: &mut BTreeMap<u32, Arc<Owner>>) -> Arc<Owner> {
    let owner = known.entry(process.pid).or_insert_with(|| {
        let info = ProcessInfo {
            executable: enrich::executable(process.pid),
            cgroup: process::cgroup(process.pid).map(Arc::from),
        };
        Arc::new(Owner {
            pid: process.pid,
            name: process.name.clone().into(),
            uid: process.uid,
            followed: false,
            key: ProcessKey::default(),
            info,
        })
    });
    owner.clone()
}

/// Processor time that this thread has used: other than time, it does not grow with what else the host does.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{
        event::Endpoints,
        socket::{Family, Timer},
    };

    use super::*;

    #[test]
    fn only_another_socket_with_the_same_inode_is_another_subflow() {
        let socket = |netns, inode, cookie, state| {
            let any = "127.0.0.1:80".parse().unwrap();
            let socket = Socket {
                family: Family::Inet,
                endpoints: Endpoints { local: any, peer: any },
                state,
                cookie,
                timer: Timer::None,
                retransmits: 0,
                expires_ms: 0,
                rqueue: 0,
                wqueue: 0,
                uid: 0,
                inode,
                shutdown: None,
                cgroup: None,
                drops: None,
                info: None,
            };
            (netns, socket)
        };
        let open = State::Established;
        for (case, sockets, expected) in [
            ("subflows", [socket(1, 7, 10, open), socket(1, 7, 11, open)], Some((1, 7))),
            ("given twice", [socket(1, 7, 10, open), socket(1, 7, 10, State::CloseWait)], None),
            ("no file", [socket(1, 0, 10, open), socket(1, 0, 11, open)], None),
            ("elsewhere", [socket(1, 7, 10, open), socket(2, 7, 11, open)], None),
            ("listeners", [socket(1, 7, 10, State::Listen), socket(1, 7, 11, open)], None),
        ] {
            assert_eq!(shared_inodes(&sockets), expected.into_iter().collect(), "{case}");
        }
    }
}
