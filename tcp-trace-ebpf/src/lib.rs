//! The ABI between the eBPF programs and user space: the layout of every ring-buffer record, the globals
//! that user space fills in, and the names of maps and programs. Nothing else.
//!
//! All numbers are in host byte order unless a field says otherwise; user space and the kernel are the same host.
#![no_std]

mod asked;
mod words;

pub use asked::*;
pub use words::*;

/// Names of the maps.
pub mod maps {
    /// Ring buffer of records, each starting with a [`RawHeader`](crate::RawHeader).
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of `u64`: [`LOST_RECORDS`](crate::LOST_RECORDS) and [`NESTED`](crate::NESTED).
    pub const COUNTERS: &str = "COUNTERS";
    /// Array of `u64` by [`skip_index`](crate::skip_index): payload that user space does not need.
    pub const SKIP: &str = "SKIP";
    /// Array of `u64` with a bit per port, [`PORT_WORDS`](crate::PORT_WORDS) for each set of
    /// [`FILTERS_PORTS`](crate::globals::FILTERS_PORTS), in the order of their bits: the ports that are asked for.
    pub const PORTS: &str = "PORTS";
    /// Hash of process ids that are followed: key is the tgid, value is [`FOLLOW_CHILDREN`](crate::FOLLOW_CHILDREN)
    /// or [`FOLLOW_PROCESS`](crate::FOLLOW_PROCESS).
    pub const FOLLOWED: &str = "FOLLOWED";
    /// Hash of the process ids that are asked for.
    pub const PIDS: &str = "PIDS";
    /// Hash of the process names that are asked for: each a `comm` with zeros behind it.
    pub const COMMS: &str = "COMMS";
    /// Hash of the inode numbers of network namespaces that are asked for.
    pub const NETWORKS: &str = "NETWORKS";
    /// LRU hash of the ids of cgroups that are not asked for, of those that user space has met.
    pub const OTHER_CGROUPS: &str = "OTHER_CGROUPS";
    /// Array of one `u32`: 1 once user space knows the sockets that are older than tracing, and so learns owners only here.
    pub const OLDER_KNOWN: &str = "OLDER_KNOWN";
    /// LRU hash by socket cookie of [`RawLastUse`](crate::RawLastUse), filled when
    /// [`STACKS`](crate::globals::STACKS).
    pub const LAST_USES: &str = "LAST_USES";
}

/// Names of the globals that user space sets before loading.
pub mod globals {
    /// [`Offsets`](crate::Offsets) in the running kernel.
    pub const OFFSETS: &str = "OFFSETS";
    /// `u8`: which sets of ports are asked for, of [`PORTS_EITHER`](crate::PORTS_EITHER),
    /// [`PORTS_LOCAL`](crate::PORTS_LOCAL) and [`PORTS_PEER`](crate::PORTS_PEER).
    pub const FILTERS_PORTS: &str = "FILTERS_PORTS";
    /// `u8`: by what owners are asked for, of [`OWNERS_PID`](crate::OWNERS_PID), [`OWNERS_COMM`](crate::OWNERS_COMM),
    /// [`OWNERS_FOLLOWED`](crate::OWNERS_FOLLOWED) and [`OWNERS_CGROUP`](crate::OWNERS_CGROUP).
    pub const FILTERS_OWNERS: &str = "FILTERS_OWNERS";
    /// `u8`: 1 when network namespaces are asked for.
    pub const FILTERS_NETWORKS: &str = "FILTERS_NETWORKS";
    /// `u32`: with so many bytes waiting in the ring buffer, its reader is woken; before, it looks by itself.
    pub const WAKE_BYTES: &str = "WAKE_BYTES";
    /// `u8`: 1 when user stacks are asked for.
    pub const STACKS: &str = "STACKS";
    /// [`Registers`](crate::Registers) of this architecture.
    pub const REGISTERS: &str = "REGISTERS";
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
    /// tp_btf on `tcp_rcv_space_adjust`: the first read names the owner.
    pub const RECEIVE: &str = "tcp_rcv_space_adjust";
    /// tp_btf on `sock_send_length`: the first write names the owner, and so does each question to a DNS server.
    pub const SEND: &str = "sock_send_length";
    /// tp_btf on `sock_recv_length`: the read that meets the end of the stream. Attached when
    /// [`STACKS`](crate::globals::STACKS).
    pub const END_OF_STREAM: &str = "sock_recv_length";
    /// tp_btf on `tcp_send_reset`: why the kernel sends an RST.
    pub const RESET: &str = "tcp_send_reset";
    /// tp_btf on `sched_process_fork`: children of followed processes are followed.
    pub const FORK: &str = "sched_process_fork";
    /// tp_btf on `sched_process_free`: a followed process is gone and its id may be used again.
    pub const FREE: &str = "sched_process_free";
}

/// Index in [`maps::COUNTERS`]: records that did not fit into the ring buffer.
pub const LOST_RECORDS: u32 = 0;
/// Index in [`maps::COUNTERS`]: transitions that [`programs::STATE_NESTED`] reported.
pub const NESTED: u32 = 1;
/// How many counters there are.
pub const COUNTERS_LEN: usize = 2;

/// Sockets that [`maps::SKIP`] has room for, a power of two. Of two sockets with the same place the later one has
/// it: that costs the other's bytes, and no correctness.
pub const SKIP_SOCKETS: usize = 65536;

/// Where [`maps::SKIP`] tells of a socket's direction, [`DIRECTION_OUT`] or [`DIRECTION_IN`].
pub const fn skip_index(cookie: u64, direction: u8) -> u32 {
    (cookie as u32 & (SKIP_SOCKETS as u32 - 1)) * 2 + (direction & 1) as u32
}

/// The entry that says: payload of the socket with this cookie is not needed before sequence number `until`.
/// One word, so that it is read as it was written; the cookie's low half tells whose it is. 0 says nothing of any.
pub const fn skip_entry(cookie: u64, until: u32) -> u64 {
    cookie << 32 | until as u64
}

/// Value in the map of followed processes: children are followed, the process itself is not (tcp-trace).
pub const FOLLOW_CHILDREN: u8 = 1;
/// Value in the map of followed processes: the process and its children are followed.
pub const FOLLOW_PROCESS: u8 = 2;

/// Bytes of a `comm`, with its terminating zero (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// [`RawHeader::kind`] of a [`RawTransition`].
pub const KIND_TRANSITION: u32 = 1;
/// [`RawHeader::kind`] of a [`RawSegment`].
pub const KIND_SEGMENT: u32 = 2;
/// [`RawHeader::kind`] of a [`RawOwned`].
pub const KIND_OWNER: u32 = 3;
/// [`RawHeader::kind`] of a [`RawReset`].
pub const KIND_RESET: u32 = 4;
/// [`RawHeader::kind`] of a [`RawDatagram`].
pub const KIND_DATAGRAM: u32 = 5;
/// [`RawHeader::kind`] of a [`RawStack`].
pub const KIND_STACK: u32 = 6;

/// [`RawStack::moment`]: the process connects the socket.
pub const MOMENT_CONNECT: u32 = 1;
/// [`RawStack::moment`]: the first read or write of a socket that was accepted, or that is older than tracing.
pub const MOMENT_FIRST_USE: u32 = 2;
/// [`RawStack::moment`]: the first read that met the end of the stream.
pub const MOMENT_END_OF_STREAM: u32 = 3;

/// Bytes of a user stack that are copied at a time: a part that cannot be read ends the copy.
pub const STACK_PART: usize = 1024;
/// Bytes of a user stack that are copied at most, from the stack pointer on.
pub const STACK_MAX: usize = 16 * STACK_PART;

/// Sockets whose last use is remembered, of those that were used last.
pub const LAST_USES_MAX: usize = 65536;

/// [`RawSegment::direction`]: leaves the socket.
pub const DIRECTION_OUT: u8 = 0;
/// [`RawSegment::direction`]: reaches the socket.
pub const DIRECTION_IN: u8 = 1;

/// Bit of [`RawSegment::marks`]: its sender can take no more data.
pub const ZERO_WINDOW: u8 = 1;
/// Bit of [`RawSegment::marks`]: [`RawSegment::left_off`] and [`RawSegment::left_off_us`] are set.
pub const LEFT_OFF: u8 = 2;
/// Bit of [`RawSegment::marks`]: from here on payload of its direction is skipped.
pub const SKIP_BEGINS: u8 = 4;

/// `AF_INET`, in the `family` fields.
pub const AF_INET: u16 = 2;
/// `AF_INET6`, in the `family` fields.
pub const AF_INET6: u16 = 10;

/// The payload areas that a segment record can have, in bytes: powers of two, so that the verifier can
/// bound the copy. The record with the smallest area that holds a segment's payload is used. There is no
/// loop over parts: older verifiers walk every path through every round of it.
pub const PAYLOAD_SIZES: [usize; 7] = [256, 1024, 4096, 16384, 32768, 65536, PAYLOAD_MAX];
/// The largest payload that is captured whole. On loopback a socket's segments of up to some 113 KiB were seen, which
/// are split only behind the hook; with BIG TCP there may be longer ones. The rest of these is counted as lost.
pub const PAYLOAD_MAX: usize = 131_072;
/// For a record with more payload than this, the third of [`PAYLOAD_SIZES`], the reader is woken.
pub const UNHURRIED_MAX: usize = PAYLOAD_SIZES[2];
/// The largest payload of a datagram that is captured whole: the third of [`PAYLOAD_SIZES`], and what servers of DNS
/// send at most unless they were told otherwise (RFC 6891, section 6.2.5). The rest of a longer one is counted as lost.
pub const DATAGRAM_MAX: usize = PAYLOAD_SIZES[2];

/// After the reader was woken on a CPU, it is not woken there again for so long: it is busy, or looks again later than that.
pub const WAKE_PAUSE_NS: u64 = 1_000_000;

/// Port of DNS servers (RFC 1035, section 4.2): only datagrams to and from it are reported.
pub const DNS_PORT: u16 = 53;

/// Offsets in bytes of the kernel's struct fields that the programs read, looked up in the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `sock_common.skc_family`, u16.
    pub skc_family: u32,
    /// `sock_common.skc_num`, local port, u16 in host byte order.
    pub skc_num: u32,
    /// `sock_common.skc_dport`, u16 in network byte order.
    pub skc_dport: u32,
    /// `sock_common.skc_rcv_saddr`, local IPv4 address.
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_daddr`, peer's IPv4 address.
    pub skc_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`, local IPv6 address.
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`, peer's IPv6 address.
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_net.net`, `struct net *`.
    pub skc_net: u32,
    /// `net.ns.inum`, u32.
    pub net_inum: u32,
    /// `sock.sk_protocol`, u16.
    pub sk_protocol: u32,
    /// `sock.sk_shutdown`, u8.
    pub sk_shutdown: u32,
    /// `sock.sk_err`, int.
    pub sk_err: u32,
    /// `sock.sk_ack_backlog`, u32: connections that wait to be accepted.
    pub sk_ack_backlog: u32,
    /// `sock.sk_max_ack_backlog`, u32.
    pub sk_max_ack_backlog: u32,
    /// `tcp_sock.rcv_nxt`, u32.
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.copied_seq`, u32: what the application has read.
    pub tcp_copied_seq: u32,
    /// `tcp_sock.snd_una`, u32: the number after the last one that the peer acknowledged.
    pub tcp_snd_una: u32,
    /// `tcp_sock.srtt_us`, u32: eight times the smoothed round trip time.
    pub tcp_srtt_us: u32,
    /// `tcp_sock.snd_cwnd`, u32.
    pub tcp_snd_cwnd: u32,
    /// `tcp_sock.total_retrans`, u32.
    pub tcp_total_retrans: u32,
    /// `sk_buff.sk`, `struct sock *`.
    pub skb_sk: u32,
    /// `task_struct.group_leader`, `struct task_struct *`.
    pub task_group_leader: u32,
    /// `task_struct.comm`, 16 bytes.
    pub task_comm: u32,
    /// `task_struct.tgid`, int.
    pub task_tgid: u32,
    /// `task_struct.pid`, int: the thread's id.
    pub task_pid: u32,
    /// `task_struct.start_boottime`, u64.
    pub task_start_boottime: u32,
    /// `task_struct.self_exec_id`, u64: one more with every execve().
    pub task_self_exec_id: u32,
}

/// Offsets in bytes of `struct pt_regs` (`arch/*/include/uapi/asm/ptrace.h`): the same in every kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u32,
    /// Stack pointer.
    pub sp: u32,
    /// Frame pointer.
    pub fp: u32,
    /// Link register; that of `ip` on architectures that have none.
    pub lr: u32,
}

/// Start of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawHeader {
    /// `bpf_ktime_get_ns()`: monotonic clock, nanoseconds.
    pub time_ns: u64,
    /// `bpf_get_socket_cookie()`.
    pub cookie: u64,
    /// One of the `KIND_` constants.
    pub kind: u32,
    /// Always 0.
    pub padding: u32,
}

/// Two IP addresses and ports, seen from the local socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawEndpoints {
    /// Local address in network byte order; IPv4 in the first four bytes.
    pub local_address: Words,
    /// Peer address, likewise.
    pub peer_address: Words,
    /// Local port.
    pub local_port: u16,
    /// Peer port.
    pub peer_port: u16,
    /// [`AF_INET`] or [`AF_INET6`].
    pub family: u16,
    /// Always 0.
    pub padding: u16,
}

/// A process, learnt in process context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawOwner {
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// 1 when the process is followed, else 0.
    pub followed: u32,
    /// 1 when the other fields are set, else 0.
    pub known: u32,
    /// When the process started, nanoseconds since boot: with `pid` it names the process for ever.
    pub started: u64,
    /// How often it called execve(): with the above it names its executable.
    pub executions: u64,
    /// Id of its cgroup in the v2 hierarchy: the inode number of the cgroup's folder.
    pub cgroup: u64,
    /// `comm` of the process's main thread: [`COMM_LEN`] bytes.
    pub comm: Words,
}

/// What the kernel's socket knew when it left the stage; all 0 for other transitions than to `CLOSE` and
/// to and from `LISTEN`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawFigures {
    /// `rcv_nxt - copied_seq`: bytes that were received and not read; a FIN counts 1.
    pub receive_queue: u32,
    /// `srtt_us >> 3`: smoothed round trip time, microseconds; 0 when there is none.
    pub srtt_us: u32,
    /// `snd_cwnd`, segments.
    pub cwnd: u32,
    /// `total_retrans`: segments that were sent again, SYN and SYN+ACK included.
    pub retransmits: u32,
    /// `rcv_nxt`: the number after the last one received; a FIN has one. Of connections.
    pub received_to: u32,
    /// `snd_una`: the number after the last one that the peer acknowledged; a FIN has one. Of connections.
    pub acknowledged_to: u32,
    /// `sk_ack_backlog`: connections that waited to be accepted. Of listeners.
    pub accept_queue: u32,
    /// `sk_max_ack_backlog`: how many may wait. Of listeners.
    pub accept_queue_limit: u32,
}

/// `sock:inet_sock_set_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawTransition {
    /// Kind [`KIND_TRANSITION`].
    pub header: RawHeader,
    /// Addresses as the socket has them; ports may be 0.
    pub endpoints: RawEndpoints,
    /// Who did it, for transitions that happen in process context by their nature.
    pub owner: RawOwner,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `sk_err`.
    pub error: i32,
    /// Old state's number.
    pub old: u8,
    /// New state's number.
    pub new: u8,
    /// `sk_shutdown`.
    pub shutdown: u8,
    /// Always 0.
    pub padding: u8,
    /// Which connection of this socket it is, from 0: a socket can connect again after it was closed by
    /// a failure or by `connect(AF_UNSPEC)`, and keeps its cookie. Only set when it leaves `CLOSE`.
    pub life: u32,
    /// What the socket knew.
    pub figures: RawFigures,
}

/// One TCP segment. `captured` bytes of its payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSegment {
    /// Kind [`KIND_SEGMENT`].
    pub header: RawHeader,
    /// Of the packet, turned so that local is the reporting socket's end.
    pub endpoints: RawEndpoints,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Payload length of the whole segment, bytes.
    pub length: u32,
    /// How many bytes of the payload follow this struct.
    pub captured: u32,
    /// Inode number of the network namespace; 0 when it was not read.
    pub netns: u32,
    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    pub direction: u8,
    /// The header's control bits.
    pub flags: u8,
    /// Number of the socket's state.
    pub state: u8,
    /// [`ZERO_WINDOW`], [`LEFT_OFF`] and [`SKIP_BEGINS`].
    pub marks: u8,
    /// Of a direction whose payload is skipped: the sequence number after the highest that passed before this segment,
    /// reported or not.
    pub left_off: u32,
    /// How long before this segment that one passed, microseconds.
    pub left_off_us: u32,
}

/// One UDP datagram to or from [`DNS_PORT`] of the other end. `captured` bytes of its payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawDatagram {
    /// Kind [`KIND_DATAGRAM`].
    pub header: RawHeader,
    /// Of the packet, turned so that local is the reporting socket's end.
    pub endpoints: RawEndpoints,
    /// Payload length of the whole datagram, bytes.
    pub length: u32,
    /// How many bytes of the payload follow this struct.
    pub captured: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    pub direction: u8,
    /// Always 0.
    pub padding: [u8; 3],
}

/// A process used a socket for the first time, or sent a datagram that was reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawOwned {
    /// Kind [`KIND_OWNER`].
    pub header: RawHeader,
    /// The process.
    pub owner: RawOwner,
}

/// `tcp:tcp_send_reset` with a socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawReset {
    /// Kind [`KIND_RESET`].
    pub header: RawHeader,
    /// `enum sk_rst_reason`.
    pub reason: u32,
    /// Always 0.
    pub padding: u32,
}

/// Where a process was when it used a socket: its registers in user mode. `stack_bytes` of its stack follow, from
/// the stack pointer on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawStack {
    /// Kind [`KIND_STACK`].
    pub header: RawHeader,
    /// The process.
    pub owner: RawOwner,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// One of the `MOMENT_` constants.
    pub moment: u32,
    /// `comm` of the thread.
    pub comm: [u8; COMM_LEN],
    /// Instruction pointer; 0 when there are no registers of user mode, as in threads of the kernel.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register, on architectures that have one.
    pub lr: u64,
    /// How many bytes of the stack follow this struct; 0 also when the ring buffer was too full for them.
    pub stack_bytes: u32,
    /// 1 when the ring buffer was too full for the stack, else 0.
    pub ring_full: u32,
}

/// The last read or write of a socket. Value in [`maps::LAST_USES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawLastUse {
    /// `bpf_ktime_get_ns()`.
    pub time_ns: u64,
    /// Process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// `comm` of the thread.
    pub comm: [u8; COMM_LEN],
    /// 1 for a write, 0 for a read.
    pub is_write: u32,
    /// Always 0.
    pub padding: u32,
}

// Records are read byte by byte on the other side: no hidden padding, and 8-byte alignment throughout.
const _: () = assert!(size_of::<RawHeader>() == 24);
const _: () = assert!(size_of::<RawEndpoints>() == 40);
const _: () = assert!(size_of::<RawOwner>() == 56);
const _: () = assert!(size_of::<RawFigures>() == 32);
const _: () = assert!(size_of::<RawTransition>() == 24 + 40 + 56 + 16 + 32);
const _: () = assert!(size_of::<RawSegment>() == 24 + 40 + 32);
const _: () = assert!(size_of::<RawDatagram>() == 24 + 40 + 16);
const _: () = assert!(size_of::<RawOwned>() == 24 + 56);
const _: () = assert!(size_of::<RawReset>() == 24 + 8);
const _: () = assert!(size_of::<RawStack>() == 24 + 56 + 8 + 16 + 32 + 8);
const _: () = assert!(size_of::<RawLastUse>() == 40);
