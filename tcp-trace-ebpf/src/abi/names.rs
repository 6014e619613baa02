//! Names of maps, globals and programs, as the object file has them.

/// Names of the maps.
pub mod maps {
    /// Ring buffer of records, each starting with a [`RawHeader`](crate::RawHeader).
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of `u64`: [`LOST_RECORDS`](super::LOST_RECORDS) and [`NESTED`](super::NESTED).
    pub const COUNTERS: &str = "COUNTERS";
    /// Array of `u64` by [`skip_index`](crate::skip_index): payload that user space does not need.
    pub const SKIP: &str = "SKIP";
    /// Array of `u64` with a bit per port, [`PORT_WORDS`](crate::PORT_WORDS) for each set of
    /// [`FILTERS_PORTS`](super::globals::FILTERS_PORTS), in the order of their bits: the selected ports.
    pub const PORTS: &str = "PORTS";
    /// Array of `u64` by port: how many open sockets with this local port only their translated ports select. The programs count
    /// them.
    pub const TRANSLATED_PORTS: &str = "TRANSLATED_PORTS";
    /// Hash of the followed processes: key is the tgid, value is [`FOLLOW_CHILDREN`](crate::FOLLOW_CHILDREN)
    /// or [`FOLLOW_PROCESS`](crate::FOLLOW_PROCESS).
    pub const FOLLOWED: &str = "FOLLOWED";
    /// Hash of the selected process ids.
    pub const PIDS: &str = "PIDS";
    /// Hash of the selected process names: each a `comm` with zeros behind it.
    pub const COMMS: &str = "COMMS";
    /// Hash of the inode numbers of the selected network namespaces.
    pub const NETWORKS: &str = "NETWORKS";
    /// LRU hash of the ids of excluded cgroups, as far as user space has met them.
    pub const EXCLUDED_CGROUPS: &str = "EXCLUDED_CGROUPS";
    /// Array of one `u32`: 1 once user space has the list of the sockets that are older than tracing. From then on it
    /// learns the processes of sockets from the programs alone.
    pub const EXISTING_LOADED: &str = "EXISTING_LOADED";
    /// LRU hash by socket cookie of [`RawLastUse`](crate::RawLastUse), filled when
    /// [`STACKS`](super::globals::STACKS) is 1.
    pub const LAST_USES: &str = "LAST_USES";
    /// LRU hash by [`TlsKey`](crate::TlsKey) of [`TlsSkip`](crate::TlsSkip): plaintext that user space does not need.
    pub const TLS_SKIPS: &str = "TLS_SKIPS";
    /// LRU hash of the TLS objects that were used.
    pub const TLS_OBJECTS: &str = "TLS_OBJECTS";
    /// LRU hash of the threads that have called a TLS library.
    pub const TLS_THREADS: &str = "TLS_THREADS";
    /// LRU hash of the goroutines that have called Go's `crypto/tls`.
    pub const TLS_GOROUTINES: &str = "TLS_GOROUTINES";
}

/// Names of the globals that user space sets before loading.
pub mod globals {
    /// [`Offsets`](crate::Offsets) in the running kernel.
    pub const OFFSETS: &str = "OFFSETS";
    /// `u8`: which sets of ports are in use, of [`PORTS_EITHER`](crate::PORTS_EITHER),
    /// [`PORTS_LOCAL`](crate::PORTS_LOCAL) and [`PORTS_PEER`](crate::PORTS_PEER).
    pub const FILTERS_PORTS: &str = "FILTERS_PORTS";
    /// `u8`: by what processes are selected, of [`BY_PID`](crate::BY_PID), [`BY_COMM`](crate::BY_COMM),
    /// [`BY_FOLLOWED`](crate::BY_FOLLOWED) and [`BY_CGROUP`](crate::BY_CGROUP).
    pub const FILTERS_PROCESS: &str = "FILTERS_PROCESS";
    /// `u8`: 1 when network namespaces are selected.
    pub const FILTERS_NETWORKS: &str = "FILTERS_NETWORKS";
    /// `u32`: the reader is woken when this many bytes wait in the ring buffer; before that, it polls.
    pub const WAKE_BYTES: &str = "WAKE_BYTES";
    /// `u8`: 1 when user stacks are reported.
    pub const STACKS: &str = "STACKS";
    /// [`Registers`](crate::Registers) of this architecture.
    pub const REGISTERS: &str = "REGISTERS";
    /// `u8`: 1 when plaintext is reported.
    pub const TLS: &str = "TLS";
    /// `u8`: [`MACHINE_X86_64`](crate::MACHINE_X86_64) or [`MACHINE_AARCH64`](crate::MACHINE_AARCH64).
    pub const MACHINE: &str = "MACHINE";
}

/// Names of the programs.
pub mod programs {
    /// tp_btf on `inet_sock_set_state`.
    pub const STATE: &str = "inet_sock_set_state";
    /// tp_btf on `inet_sock_set_state`, for what happens while [`STATE`] runs on the same CPU.
    pub const STATE_NESTED: &str = "state_nested";
    /// cgroup_skb, packets leaving.
    pub const EGRESS: &str = "segment_egress";
    /// cgroup_skb, packets arriving.
    pub const INGRESS: &str = "segment_ingress";
    /// tp_btf on `tcp_rcv_space_adjust`: the first read names the process.
    pub const RECEIVE: &str = "tcp_rcv_space_adjust";
    /// tp_btf on `sock_send_length`: the first write names the process, and so does each question to a DNS server.
    pub const SEND: &str = "sock_send_length";
    /// tp_btf on `sock_recv_length`: the read that meets the end of the stream. Attached when
    /// [`STACKS`](super::globals::STACKS) is 1.
    pub const END_OF_STREAM: &str = "sock_recv_length";
    /// tp_btf on `tcp_send_reset`: why the kernel sends an RST.
    pub const RESET: &str = "tcp_send_reset";
    /// tp_btf on `sched_process_fork`: children of followed processes are followed.
    pub const FORK: &str = "sched_process_fork";
    /// tp_btf on `sched_process_free`: a followed process is gone and its id may be used again.
    pub const FREE: &str = "sched_process_free";
    /// uprobe at the beginning of a call that passes plaintext.
    pub const TLS_CALL: &str = "tls_call";
    /// uprobe where such a call returns.
    pub const TLS_RETURN: &str = "tls_return";
    /// uprobe where a function returns a new TLS object, or where the handshake of one of Go begins: it is in the same register.
    pub const TLS_NEW: &str = "tls_new";
    /// uprobe at the beginning of a handshake.
    pub const TLS_HANDSHAKE: &str = "tls_handshake";
    /// uprobe at the beginning of what frees a TLS object, or makes it ready for another session.
    pub const TLS_FREE: &str = "tls_free";
    /// uprobe at the beginning of what takes ciphertext from a TLS library.
    pub const TLS_CIPHERTEXT: &str = "tls_ciphertext";
    /// uprobe at the beginning of a call of Go's `crypto/tls` that passes plaintext.
    pub const TLS_GO_CALL: &str = "tls_go_call";
    /// uprobe where such a call returns.
    pub const TLS_GO_RETURN: &str = "tls_go_return";
    /// uprobe at the beginning of what closes its objects.
    pub const TLS_GO_CLOSE: &str = "tls_go_close";
    /// uprobe at the beginning of a call of rustls that reads, decrypts, takes or writes.
    pub const TLS_RUSTLS_CALL: &str = "tls_rustls_call";
    /// uprobe where such a call returns.
    pub const TLS_RUSTLS_RETURN: &str = "tls_rustls_return";
    /// uprobe where a call returns that takes.
    pub const TLS_RUSTLS_TAKEN: &str = "tls_rustls_taken";
    /// uprobe at the beginning of what takes plaintext that was decrypted.
    pub const TLS_RUSTLS_RECEIVED: &str = "tls_rustls_received";
}

/// Index in [`maps::COUNTERS`]: records that did not fit into the ring buffer.
pub const LOST_RECORDS: u32 = 0;
/// Index in [`maps::COUNTERS`]: transitions that [`programs::STATE_NESTED`] reported.
pub const NESTED: u32 = 1;
/// How many counters there are.
pub const COUNTERS_LEN: usize = 2;
