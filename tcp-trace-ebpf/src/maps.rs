//! Maps and globals.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage},
    helpers::bpf_sk_storage_get,
    macros::btf_map,
};
use tcp_trace_ebpf::{
    Bytes16, CIPHERTEXT_MAX, COUNTERS_LEN, EXCLUDED_CGROUPS_MAX, FILTER_VALUES_MAX, LAST_USES_MAX, Offsets,
    PORT_SETS, PORT_WORDS, RawLastUse, RawProcess, Registers, SKIP_SOCKETS, TLS_GOROUTINES_MAX,
    TLS_OBJECTS_MAX, TLS_THREADS_MAX, TlsKey, TlsSkip,
    decide::{
        process::Verdict,
        segment::DirectionMemory,
        skip::SkipProgress,
        tls::{Goroutine, TlsCall, TlsThread},
    },
};

/// User space overrides it with what this host's memory allows; see `tcp_trace_ebpf::maps::EVENTS`.
const RING_BYTES: usize = 1 << 20;
/// MPTCP sockets whose subflow is remembered: the most recently used ones. The process of another is not known.
const MPTCP_SOCKETS_MAX: usize = 8192;
/// Ports that there are.
const PORTS_LEN: usize = 1 << 16;
/// Processes of one followed command that live at the same time.
const FOLLOWED_MAX: usize = 65536;

#[btf_map]
pub(crate) static EVENTS: RingBuf<u8, RING_BYTES> = RingBuf::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { COUNTERS_LEN }> = PerCpuArray::new();

#[btf_map]
pub(crate) static PORTS: Array<u64, { PORT_SETS * PORT_WORDS }> = Array::new();

/// By local port, how many open sockets only their translated ports select: see [`decide::filter`](tcp_trace_ebpf::decide::filter).
#[btf_map]
pub(crate) static TRANSLATED_PORTS: Array<u64, { PORTS_LEN }> = Array::new();

#[btf_map]
pub(crate) static SKIP: Array<u64, { 2 * SKIP_SOCKETS }> = Array::new();

/// By the index in [`SKIP`]: how far a direction has come whose payload is skipped.
#[btf_map]
pub(crate) static SKIP_PROGRESS: Array<SkipProgress, { 2 * SKIP_SOCKETS }> = Array::new();

/// 1 while the program on `inet_sock_set_state` runs on this CPU.
#[btf_map]
pub(crate) static STATE_RUNNING: PerCpuArray<u32, 1> = PerCpuArray::new();

/// When a program on this CPU last woke the reader, by `bpf_ktime_get_ns()`.
#[btf_map]
pub(crate) static LAST_WAKE: PerCpuArray<u64, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static FOLLOWED: HashMap<u32, u8, FOLLOWED_MAX> = HashMap::new();

#[btf_map]
pub(crate) static PIDS: HashMap<u32, u8, FILTER_VALUES_MAX> = HashMap::new();

#[btf_map]
pub(crate) static COMMS: HashMap<Bytes16, u8, FILTER_VALUES_MAX> = HashMap::new();

#[btf_map]
pub(crate) static NETWORKS: HashMap<u32, u8, FILTER_VALUES_MAX> = HashMap::new();

#[btf_map]
pub(crate) static EXCLUDED_CGROUPS: LruHashMap<u64, u8, EXCLUDED_CGROUPS_MAX> = LruHashMap::new();

#[btf_map]
pub(crate) static EXISTING_LOADED: Array<u32, 1> = Array::new();

#[btf_map]
pub(crate) static LAST_USES: LruHashMap<u64, RawLastUse, LAST_USES_MAX> = LruHashMap::new();

/// By `bpf_get_current_pid_tgid()`.
#[btf_map]
pub(crate) static TLS_THREADS: LruHashMap<u64, TlsThread, TLS_THREADS_MAX> = LruHashMap::new();

/// By the address of a goroutine's `g`.
#[btf_map]
pub(crate) static TLS_GOROUTINES: LruHashMap<TlsKey, Goroutine, TLS_GOROUTINES_MAX> = LruHashMap::new();

#[btf_map]
pub(crate) static TLS_OBJECTS: LruHashMap<TlsKey, TlsObject, TLS_OBJECTS_MAX> = LruHashMap::new();

#[btf_map]
pub(crate) static TLS_SKIPS: LruHashMap<TlsKey, TlsSkip, { 2 * TLS_OBJECTS_MAX }> = LruHashMap::new();

/// What the programs remember of a TLS object, zeros at first.
#[repr(C)]
pub(crate) struct TlsObject {
    /// Bytes that passed, by direction.
    pub(crate) passed: [u64; 2],
    /// Cookie of the socket that was last used in its calls; 0 while there was none.
    pub(crate) socket: u64,
    /// Which object at its address it is; 0 while that is not decided.
    pub(crate) generation: u32,
    /// How many of its ciphertexts were seen.
    pub(crate) ciphertexts: u32,
    /// [`LATE`](tcp_trace_ebpf::LATE).
    pub(crate) attributes: u8,
    /// 1 when that socket is excluded.
    pub(crate) is_excluded: u8,
    /// Always 0.
    pub(crate) padding: [u8; 6],
}

/// What a thread is before it is known: too large for the stack.
#[unsafe(no_mangle)]
pub(crate) static NO_TLS_THREAD: TlsThread = TlsThread { outer: NO_TLS_CALL, inner: NO_TLS_CALL };
const NO_TLS_CALL: TlsCall = TlsCall {
    object: TlsKey { address: 0, pid: 0, direction: 0 },
    sp: 0,
    buffer: 0,
    count_at: 0,
    socket: 0,
    hook: 0,
    is_reported: 0,
    is_excluded: 0,
    has_several: 0,
    offset: 0,
    generation: 0,
    attributes: 0,
    ciphertext: [0; CIPHERTEXT_MAX],
    ciphertext_length: 0,
};

/// What a goroutine is before it is known.
#[unsafe(no_mangle)]
pub(crate) static NO_GOROUTINE: Goroutine =
    Goroutine { calls: TlsThread { outer: NO_TLS_CALL, inner: NO_TLS_CALL }, stack: [0; 2] };

/// What a TLS object is before it is known.
#[unsafe(no_mangle)]
pub(crate) static NO_TLS_OBJECT: TlsObject = TlsObject {
    passed: [0; 2],
    socket: 0,
    generation: 0,
    ciphertexts: 0,
    attributes: 0,
    is_excluded: 0,
    padding: [0; 6],
};

/// By the address of an MPTCP socket: what the programs remember of it.
#[btf_map]
pub(crate) static MPTCP: LruHashMap<u64, MptcpMemory, MPTCP_SOCKETS_MAX> = LruHashMap::new();

/// What the programs remember of an MPTCP socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MptcpMemory {
    /// Cookie of the subflow that it began with.
    pub(crate) subflow: u64,
    /// Who used it last, of those that were reported; 0 when nobody was.
    pub(crate) user: u64,
}

/// What the programs remember of a socket, zeros at first; the kernel frees it with the socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SocketMemory {
    /// What its segments left to be remembered, by their direction.
    pub(crate) directions: [DirectionMemory; 2],
    /// 1 once its process has been reported.
    pub(crate) process_known: u8,
    /// 1 after a datagram to a DNS server until its sender is reported.
    pub(crate) sender_awaited: u8,
    /// 1 once the read that met the end of the stream has been reported.
    pub(crate) end_reported: u8,
    /// Whether its process is selected.
    pub(crate) verdict: Verdict,
    /// 1 once it has been reported that its addresses are translated.
    pub(crate) translation_known: u8,
    /// How many changes of its user were reported.
    pub(crate) changes: u8,
    /// Its local port while it counts in [`TRANSLATED_PORTS`], else 0.
    pub(crate) counted_port: u16,
    /// How often the socket left `CLOSE`.
    pub(crate) incarnations: u32,
    /// Who used it last, of those that were reported: see [`sock::current_user`](crate::sock::current_user).
    pub(crate) user: u64,
}

/// A connect that the ports of its socket exclude, as far as they are known: its SYN may show that others select it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HeldConnect {
    /// `bpf_ktime_get_ns()`.
    pub(crate) time_ns: u64,
    /// Who connects.
    pub(crate) process: RawProcess,
}

#[btf_map]
pub(crate) static CONNECTS: SkStorage<HeldConnect> = SkStorage::new();

#[btf_map]
pub(crate) static SOCKETS: SkStorage<SocketMemory> = SkStorage::new();

/// What is remembered of the socket at `sk`, a pointer that the verifier knows as one; null when there is
/// nothing and `flags` do not ask to make it, for mini-sockets, and when the kernel has no memory.
#[inline(always)]
pub(crate) fn memory<T>(sk: *const T, flags: u32) -> *mut SocketMemory {
    // SAFETY: the verifier checks both pointers; a null value means that new memory is zeroed.
    unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            sk.cast_mut().cast(),
            core::ptr::null_mut(),
            flags.into(),
        )
    }
    .cast()
}

/// Which sets of [`PORTS`] are in use. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static FILTERS_PORTS: u8 = 0;

/// By what processes are selected. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static FILTERS_PROCESS: u8 = 0;

/// Whether network namespaces are selected. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static FILTERS_NETWORKS: u8 = 0;

/// The reader is woken when this many bytes wait in the ring buffer. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static WAKE_BYTES: u32 = 0;

/// Whether user stacks are reported. User space sets it before loading: when it is 0, the loaded programs have nothing that
/// depends on it.
#[unsafe(no_mangle)]
pub(crate) static STACKS: u8 = 0;

/// Where `struct pt_regs` has what is needed. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static REGISTERS: Registers = Registers { ip: 0, sp: 0, fp: 0, lr: 0, goroutine: 0 };

/// Whether plaintext is reported. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static TLS: u8 = 0;

/// Whose registers the programs on functions read. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static MACHINE: u8 = 0;

/// Where the running kernel keeps what `sock` reads. User space sets it before loading.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets {
    skc_family: 0,
    skc_num: 0,
    skc_dport: 0,
    inet_sport: 0,
    skc_rcv_saddr: 0,
    skc_daddr: 0,
    skc_v6_rcv_saddr: 0,
    skc_v6_daddr: 0,
    skc_net: 0,
    net_inum: 0,
    skc_state: 0,
    sk_protocol: 0,
    sk_shutdown: 0,
    sk_lock_owned: 0,
    sk_err: 0,
    sk_ack_backlog: 0,
    sk_max_ack_backlog: 0,
    tcp_rcv_nxt: 0,
    tcp_copied_seq: 0,
    tcp_snd_una: 0,
    tcp_snd_nxt: 0,
    tcp_rcv_wup: 0,
    tcp_rcv_wnd: 0,
    tcp_write_seq: 0,
    tcp_max_window: 0,
    tcp_bytes_acked: 0,
    tcp_num_sacks: 0,
    tcp_ts_recent: 0,
    tcp_ts_recent_stamp: 0,
    tcp_srtt_us: 0,
    tcp_snd_cwnd: 0,
    tcp_total_retrans: 0,
    tcp_is_mptcp: 0,
    icsk_ulp_data: 0,
    mptcp_subflow_conn: 0,
    skb_sk: 0,
    skb_ip_summed: 0,
    skb_ip_summed_bit: 0,
    skb_csum_valid: 0,
    skb_csum_valid_bit: 0,
    task_flags: 0,
    task_group_leader: 0,
    task_comm: 0,
    task_tgid: 0,
    task_pid: 0,
    task_start_boottime: 0,
    task_self_exec_id: 0,
};
