//! Hosts that tests make up: sockets, processes, settings.

use tcp_trace_model::{
    event::{Endpoints, State},
    record::{Finding, Process as Named},
    socket::{self, Family, TcpInfo, Timer},
};

use super::{
    Facts, History, Snapshot, Thresholds,
    rules::RULES,
    run,
    snapshot::{Holder, Network, Process, Socket},
    testing_http::{NOW, SERVER},
};

/// The network namespace of everything.
pub(crate) const NETNS: u32 = 7;

/// A host that is made up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) snapshot: Snapshot,
}

impl Host {
    pub(crate) fn new() -> Self {
        let network = Network {
            netns: NETNS,
            port_range: Some((32768, 60999)),
            somaxconn: Some(4096),
            max_syn_backlog: Some(4096),
            syncookies: Some(1),
            max_time_wait: Some(65536),
            ..Network::default()
        };
        Self { snapshot: Snapshot { time: NOW, networks: vec![network], ..Snapshot::default() } }
    }

    /// A process with this id and name.
    pub(crate) fn process(&mut self, pid: u32, name: &str) -> u32 {
        self.snapshot.processes.push(Process {
            named: Named { pid, name: name.into(), ..Named::default() },
            command: vec![name.into(), "--run".into()],
            state: None,
            files: 20,
            files_limit: Some(1024),
            cgroup: Some(format!("/system.slice/{name}.service")),
            parent: None,
            age_ms: None,
            sleeps: false,
        });
        self.snapshot.processes.len() as u32 - 1
    }

    /// A socket with `SERVER` as its local end and a peer with this port, that `owner` has open.
    pub(crate) fn accepted(&mut self, owner: Option<u32>, state: State, peer_port: u16) -> &mut Socket {
        self.socket(owner, state, SERVER, &format!("10.0.0.9:{peer_port}"))
    }

    /// A socket with these ends.
    pub(crate) fn socket(
        &mut self,
        owner: Option<u32>,
        state: State,
        local: &str,
        peer: &str,
    ) -> &mut Socket {
        let index = self.snapshot.sockets.len() as u32;
        let start = self.snapshot.holders.len() as u32;
        let holder = owner.map(|process| Holder { process, fd: Some(10 + index) });
        self.snapshot.holders.extend(holder);
        let endpoints = Endpoints { local: local.parse().unwrap(), peer: peer.parse().unwrap() };
        self.snapshot.sockets.push(Socket {
            netns: NETNS,
            diag: socket::Socket {
                family: Family::Inet,
                endpoints,
                state,
                cookie: u64::from(index) + 4101,
                timer: Timer::None,
                retransmits: 0,
                expires_ms: 0,
                rqueue: 0,
                wqueue: 0,
                uid: 0,
                inode: if owner.is_some() { 1000 + index } else { 0 },
                shutdown: None,
                cgroup: None,
                drops: Some(0),
                info: Some(TcpInfo::default()),
            },
            entered: None,
            holders: start..self.snapshot.holders.len() as u32,
            is_chosen: true,
        });
        self.snapshot.sockets.last_mut().unwrap()
    }

    /// A listener at `SERVER`, with this accept queue.
    pub(crate) fn listener(&mut self, owner: Option<u32>, length: u32, limit: u32) -> &mut Socket {
        let listener = self.socket(owner, State::Listen, SERVER, "0.0.0.0:0");
        (listener.diag.rqueue, listener.diag.wqueue) = (length, limit);
        listener
    }

    /// What the rule with this code finds.
    pub(crate) fn judge(&self, code: &str) -> Vec<Finding> {
        self.judge_with(code, &History::default())
    }

    /// The same, with a history.
    pub(crate) fn judge_with(&self, code: &str, history: &History) -> Vec<Finding> {
        let rule = RULES.iter().find(|rule| rule.code == code).unwrap();
        let mut findings = super::Findings::default();
        let facts = Facts::new(&self.snapshot, None, history);
        (rule.judge)(&facts, &Thresholds::DEFAULT, &mut findings);
        run::learn_states(&facts, &mut findings.all);
        findings.all
    }
}

impl Socket {
    /// The figures, which tests may change.
    pub(crate) fn info(&mut self) -> &mut TcpInfo {
        self.diag.info.get_or_insert_default()
    }

    /// Segments are sent again, so often, and this time has passed since the first timeout.
    pub(crate) fn resending(&mut self, retransmits: u8, ms: u32) -> &mut Self {
        self.diag.timer = Timer::Retransmit;
        let info = self.info();
        (info.retransmits, info.total_rto_recoveries, info.total_rto_time_ms) =
            (retransmits, Some(1), Some(ms));
        self
    }

    /// Nothing went either way for this time.
    pub(crate) fn idle(&mut self, seconds: u32) -> &mut Self {
        let ms = seconds * 1_000;
        let info = self.info();
        (info.last_ack_recv_ms, info.last_data_sent_ms, info.last_data_recv_ms) = (ms, ms, ms);
        self
    }
}
