//! The only reader of kernel memory: socket and task fields at the offsets that user space looked up.

use core::{arch::asm, ffi::c_void, mem::offset_of};

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        bpf_probe_read_kernel,
        generated::{
            bpf_get_current_task_btf, bpf_probe_read_kernel_str, bpf_skc_to_tcp_sock, bpf_task_pt_regs,
        },
    },
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{
    AF_INET, AF_INET6, Bytes16, COMM_LEN, FOLLOW_PROCESS, IPPROTO_MPTCP, IPPROTO_TCP, RawEndpoints,
    RawProcess, RawTcpStats,
    decide::{acceptance, translation::Ports},
};

use crate::maps::{FOLLOWED, OFFSETS, REGISTERS};

/// `PF_KTHREAD` of `task_struct.flags` (`include/linux/sched.h`).
const PF_KTHREAD: u32 = 0x0020_0000;
/// `PF_EXITING`, likewise: `exit_signals()` sets it before `exit_files()` closes what is open.
const PF_EXITING: u32 = 0x0000_0004;

/// A kernel address: of a struct, or 0.
#[derive(Clone, Copy)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// The `T` at `offset` from this address.
    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> Result<T, i32> {
        // SAFETY: the helper checks the address itself and fails with -EFAULT.
        unsafe { bpf_probe_read_kernel((self.0 + u64::from(offset)) as *const T) }
    }
}

/// One offset. Read volatile: the compiler must not take the zero of the source for the value.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: the pointer is to a static.
        unsafe { core::ptr::read_volatile(&raw const OFFSETS.$field) }
    }};
}

/// The field at `offset` of the struct at `from`: the socket that is the argument of a tracepoint, the running task, or what
/// a pointer in them leads to. The verifier knows what lies at the offset, which it takes from the frozen globals, so this
/// is one instruction and no call. What is not there reads as 0.
#[inline(always)]
fn direct<T: Copy>(from: *const u8, offset: u32) -> T {
    // SAFETY: the field is in the struct and aligned, by the running kernel's BTF; the verifier checks it.
    unsafe { from.add(offset as usize).cast::<T>().read() }
}

/// `sk->sk_protocol == IPPROTO_TCP`, for an internet socket of any kind.
#[inline(always)]
pub(crate) fn is_tcp(sk: *const u8) -> bool {
    let family: u16 = direct(sk, offset!(skc_family));
    (family == AF_INET || family == AF_INET6)
        && direct::<u16>(sk, offset!(sk_protocol)) == u16::from(IPPROTO_TCP)
}

/// `sk->sk_protocol == IPPROTO_MPTCP`, for an internet socket of any kind: what a process has, while its subflows are TCP.
#[inline(always)]
pub(crate) fn is_mptcp(sk: *const u8) -> bool {
    let family: u16 = direct(sk, offset!(skc_family));
    (family == AF_INET || family == AF_INET6) && direct::<u16>(sk, offset!(sk_protocol)) == IPPROTO_MPTCP
}

/// Address of the MPTCP socket whose subflow a TCP socket is.
#[inline(always)]
pub(crate) fn mptcp_socket(sk: *const u8) -> Option<u64> {
    let offset = offset!(tcp_is_mptcp);
    let subflow = Address::from(sk);
    if offset == 0 || subflow.read::<u8>(offset).ok()? == 0 {
        return None;
    }
    let context = Address(subflow.read(offset!(icsk_ulp_data)).ok()?);
    context.read(offset!(mptcp_subflow_conn)).ok()
}

/// Ports of a socket; those that are not chosen yet are 0.
#[inline(always)]
pub(crate) fn ports(sk: *const u8) -> Ports {
    Ports { local: direct(sk, offset!(skc_num)), peer: u16::from_be(direct(sk, offset!(skc_dport))) }
}

/// The local port that a connection's socket has, or had before it was closed.
#[inline(always)]
pub(crate) fn last_local_port(sk: *const u8) -> u16 {
    // SAFETY: the verifier checks that it is a socket.
    let tcp: *const u8 = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }.cast();
    if tcp.is_null() { 0 } else { u16::from_be(direct(tcp, offset!(inet_sport))) }
}

/// Ports of the socket that a packet belongs to: a listener has no peer, and the kernel's control sockets have no port at
/// all.
#[inline(always)]
pub(crate) fn ports_of_packet(ctx: &SkBuffContext) -> Ports {
    // SAFETY: the context's fields are readable, these two where the packet has a socket.
    let (local, peer) = unsafe { ((*ctx.skb.skb).local_port, (*ctx.skb.skb).remote_port) };
    // The peer's port is in network byte order, in a word that is too.
    Ports { local: local as u16, peer: u32::from_be(peer) as u16 }
}

/// The word at an offset of the context. Written so, the compiler adds nothing to the pointer, as it does to choose one of two
/// fields: the verifier allows no context but the very one that the program was called with.
macro_rules! context_word {
    ($ctx:expr, $offset:expr) => {{
        let word: u64;
        // SAFETY: the field is readable where the packet has a socket, which the verifier checks.
        unsafe {
            asm!(
                "{word} = *(u32 *)({ctx} + {offset})",
                word = lateout(reg) word,
                ctx = in(reg) $ctx.skb.skb,
                offset = const $offset,
                options(pure, readonly, nostack)
            );
        }
        word as u32
    }};
}

/// Addresses and ports of the socket that a packet of this family belongs to.
#[inline(always)]
pub(crate) fn endpoints_of_packet(ctx: &SkBuffContext, family: u16) -> RawEndpoints {
    let Ports { local: local_port, peer: peer_port } = ports_of_packet(ctx);
    let mut endpoints = RawEndpoints { family, local_port, peer_port, ..RawEndpoints::default() };
    if family == AF_INET6 {
        endpoints.local_address = Bytes16([
            context_word!(ctx, offset_of!(__sk_buff, local_ip6)),
            context_word!(ctx, offset_of!(__sk_buff, local_ip6) + 4),
            context_word!(ctx, offset_of!(__sk_buff, local_ip6) + 8),
            context_word!(ctx, offset_of!(__sk_buff, local_ip6) + 12),
        ]);
        endpoints.peer_address = Bytes16([
            context_word!(ctx, offset_of!(__sk_buff, remote_ip6)),
            context_word!(ctx, offset_of!(__sk_buff, remote_ip6) + 4),
            context_word!(ctx, offset_of!(__sk_buff, remote_ip6) + 8),
            context_word!(ctx, offset_of!(__sk_buff, remote_ip6) + 12),
        ]);
    } else {
        // Also of an IPv6 socket that talks IPv4.
        endpoints.local_address.0[0] = context_word!(ctx, offset_of!(__sk_buff, local_ip4));
        endpoints.peer_address.0[0] = context_word!(ctx, offset_of!(__sk_buff, remote_ip4));
    }
    endpoints
}

/// Addresses and ports of a socket; ports that are not chosen yet are 0.
#[inline(always)]
pub(crate) fn endpoints(sk: *const u8) -> RawEndpoints {
    let Ports { local: local_port, peer: peer_port } = ports(sk);
    let mut endpoints = RawEndpoints {
        family: direct(sk, offset!(skc_family)),
        local_port,
        peer_port,
        ..RawEndpoints::default()
    };
    if endpoints.family == AF_INET6 {
        endpoints.local_address = bytes(sk, offset!(skc_v6_rcv_saddr));
        endpoints.peer_address = bytes(sk, offset!(skc_v6_daddr));
    } else {
        endpoints.local_address.0[0] = direct(sk, offset!(skc_rcv_saddr));
        endpoints.peer_address.0[0] = direct(sk, offset!(skc_daddr));
    }
    endpoints
}

/// The 16 bytes at `offset`.
#[inline(always)]
fn bytes(from: *const u8, offset: u32) -> Bytes16 {
    Bytes16([0, 4, 8, 12].map(|word| direct(from, offset + word)))
}

/// Inode number of the network namespace of the socket `sk`, the argument of a tracepoint.
#[inline(always)]
pub(crate) fn netns(sk: *const u8) -> u32 {
    direct(direct::<*const u8>(sk, offset!(skc_net)), offset!(net_inum))
}

/// The same of the socket that a packet belongs to: also a request socket, which the context's own `sk` field gives no full
/// access to.
#[inline(always)]
pub(crate) fn netns_of_packet(ctx: &SkBuffContext) -> Result<u32, i32> {
    // The context of a cgroup_skb program is the sk_buff itself.
    let sock: Address = Address(ctx.as_ptr() as u64).read(offset!(skb_sk)).map(Address)?;
    let net = Address(sock.read(offset!(skc_net))?);
    net.read(offset!(net_inum))
}

/// `sk->sk_state`.
#[inline(always)]
pub(crate) fn state(sk: *const u8) -> u8 {
    direct(sk, offset!(skc_state))
}

/// Whether a system call works on the socket (`lock_sock()`). Where it does so in a tracepoint that softirqs reach too, the
/// process that runs now is the one that made the call: a softirq leaves such a socket alone (`sock_owned_by_user()`).
#[inline(always)]
pub(crate) fn is_locked(sk: *const u8) -> bool {
    direct::<u32>(sk, offset!(sk_lock_owned)) != 0
}

/// `sk->sk_shutdown`.
#[inline(always)]
pub(crate) fn shutdown(sk: *const u8) -> u8 {
    direct(sk, offset!(sk_shutdown))
}

/// `sk->sk_err`.
#[inline(always)]
pub(crate) fn error(sk: *const u8) -> i32 {
    direct(sk, offset!(sk_err))
}

/// Statistics of a connection's socket.
#[inline(always)]
pub(crate) fn tcp_stats(sk: *const u8) -> RawTcpStats {
    // SAFETY: the verifier checks that it is a socket.
    let tcp: *const u8 = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }.cast();
    if tcp.is_null() {
        return RawTcpStats::default();
    }
    let received: u32 = direct(tcp, offset!(tcp_rcv_nxt));
    let read: u32 = direct(tcp, offset!(tcp_copied_seq));
    RawTcpStats {
        receive_queue: received.wrapping_sub(read),
        srtt_us: direct::<u32>(tcp, offset!(tcp_srtt_us)) >> 3,
        cwnd: direct(tcp, offset!(tcp_snd_cwnd)),
        retransmits: direct(tcp, offset!(tcp_total_retrans)),
        received_to: received,
        acknowledged_to: direct(tcp, offset!(tcp_snd_una)),
        sent_to_or_accept_queue: direct(tcp, offset!(tcp_snd_nxt)),
        ..RawTcpStats::default()
    }
}

/// What decides whether a segment is taken that arrives at `sk`, of which the verifier knows that it is a socket; `None` where it
/// has no socket of its own.
#[inline(always)]
pub(crate) fn receiver<T>(sk: *const T) -> Option<Receiver> {
    // SAFETY: the verifier checks that it is a socket.
    let tcp: *const u8 = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) }.cast();
    if tcp.is_null() { None } else { Some(Receiver(tcp)) }
}

/// The TCP socket that a segment arrives at.
#[derive(Clone, Copy)]
pub(crate) struct Receiver(*const u8);

impl Receiver {
    /// Its numbers.
    #[inline(always)]
    pub(crate) fn numbers(self) -> acceptance::Socket {
        let tcp = self.0;
        acceptance::Socket {
            rcv_nxt: direct(tcp, offset!(tcp_rcv_nxt)),
            rcv_wup: direct(tcp, offset!(tcp_rcv_wup)),
            rcv_wnd: direct(tcp, offset!(tcp_rcv_wnd)),
            snd_una: direct(tcp, offset!(tcp_snd_una)),
            snd_nxt: direct(tcp, offset!(tcp_snd_nxt)),
            write_seq: direct(tcp, offset!(tcp_write_seq)),
            max_window: direct(tcp, offset!(tcp_max_window)),
            bytes_acked: direct(tcp, offset!(tcp_bytes_acked)),
            shutdown: shutdown(tcp),
            num_sacks: direct(tcp, offset!(tcp_num_sacks)),
            is_locked: is_locked(tcp),
        }
    }

    /// The last timestamp that it remembers, 0 when none, and when that came, seconds.
    #[inline(always)]
    pub(crate) fn recent_timestamp(self) -> (u32, u32) {
        (direct(self.0, offset!(tcp_ts_recent)), direct(self.0, offset!(tcp_ts_recent_stamp)))
    }
}

/// Whether the checksum of a packet was verified before the hook, by the device or by the kernel (`skb_csum_unnecessary()`).
#[inline(always)]
pub(crate) fn is_checksum_verified(ctx: &SkBuffContext) -> Result<bool, i32> {
    /// `CHECKSUM_UNNECESSARY` and `CHECKSUM_PARTIAL` (`include/linux/skbuff.h`).
    const VERIFIED: u8 = 1;
    // The context of a cgroup_skb program is the sk_buff itself.
    let skb = Address(ctx.as_ptr() as u64);
    let by_device: u8 = skb.read(offset!(skb_ip_summed))?;
    if by_device >> offset!(skb_ip_summed_bit) & VERIFIED != 0 {
        return Ok(true);
    }
    let by_kernel: u8 = skb.read(offset!(skb_csum_valid))?;
    Ok(by_kernel >> offset!(skb_csum_valid_bit) & 1 != 0)
}

/// A listener's queue of connections that wait to be accepted.
#[inline(always)]
pub(crate) fn accept_queue(sk: *const u8) -> RawTcpStats {
    RawTcpStats {
        sent_to_or_accept_queue: direct(sk, offset!(sk_ack_backlog)),
        accept_queue_limit: direct(sk, offset!(sk_max_ack_backlog)),
        ..RawTcpStats::default()
    }
}

/// A task's process id and thread id.
#[inline(always)]
pub(crate) fn task_ids(task: Address) -> Result<(u32, u32), i32> {
    Ok((task.read(offset!(task_tgid))?, task.read(offset!(task_pid))?))
}

/// The main thread of the process that runs now: its name is that of the process, as `ps` and `ss` show it, and not that
/// of the thread that happens to run.
#[inline(always)]
fn current_leader() -> Result<Address, i32> {
    // SAFETY: the helper has no preconditions.
    let task = Address(unsafe { bpf_get_current_task() });
    task.read(offset!(task_group_leader)).map(Address)
}

/// Where the name of the process that runs now is.
#[inline(always)]
pub(crate) fn current_comm() -> Result<u64, i32> {
    Ok(current_leader()?.0 + u64::from(offset!(task_comm)))
}

/// Puts the name there into zeros; some are left behind it.
#[inline(always)]
pub(crate) fn read_comm(from: u64, comm: &mut Bytes16) -> Result<(), i32> {
    // SAFETY: the helper checks the address, and writes up to the terminating zero and never more than the length.
    let length =
        unsafe { bpf_probe_read_kernel_str((&raw mut *comm).cast(), COMM_LEN as u32, from as *const c_void) };
    if length < 0 { Err(length as i32) } else { Ok(()) }
}

/// Whether a process is followed.
#[inline(always)]
pub(crate) fn is_followed(pid: u32) -> bool {
    // SAFETY: a byte that is removed meanwhile is at worst read stale.
    unsafe { FOLLOWED.get(pid) == Some(&FOLLOW_PROCESS) }
}

/// The thread that runs now.
#[inline(always)]
fn current_task() -> *const u8 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task_btf() }.cast()
}

/// Whether the thread that runs now is the kernel's own: it works for others, and no socket is its.
#[inline(always)]
pub(crate) fn is_kernel_thread() -> bool {
    direct::<u32>(current_task(), offset!(task_flags)) & PF_KTHREAD != 0
}

/// Whether the thread that runs now is ending, so that nothing of its program runs any more.
#[inline(always)]
pub(crate) fn is_exiting() -> bool {
    direct::<u32>(current_task(), offset!(task_flags)) & PF_EXITING != 0
}

/// What tells the process that runs now, and what it executes, from the others that use a socket: its id and how often it called
/// execve(), which its threads have too. Only for hooks that run in process context.
#[inline(always)]
pub(crate) fn current_user() -> u64 {
    let task = current_task();
    let pid: u32 = direct(task, offset!(task_tgid));
    let executions: u64 = direct(task, offset!(task_self_exec_id));
    u64::from(pid) << 32 | executions & 0xffff_ffff
}

/// The process that runs now; unknown when it is a kernel thread. Only for hooks that run in process context.
#[inline(always)]
pub(crate) fn current_process() -> RawProcess {
    if is_kernel_thread() {
        return RawProcess::default();
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let leader: *const u8 = direct(current_task(), offset!(task_group_leader));
    RawProcess {
        pid,
        uid: bpf_get_current_uid_gid() as u32,
        followed: u32::from(is_followed(pid)),
        known: 1,
        start_boottime_ns: direct(leader, offset!(task_start_boottime)),
        exec_id: direct(leader, offset!(task_self_exec_id)),
        // SAFETY: the helper has no preconditions.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        comm: bytes(leader, offset!(task_comm)),
    }
}

/// Instruction, stack and frame pointer and link register that the thread that runs now has in user mode; zeros
/// when it has no user mode.
#[inline(always)]
pub(crate) fn user_registers() -> [u64; 4] {
    // SAFETY: the pointer is to a static. Read volatile, as the offsets are.
    let offsets = unsafe { core::ptr::read_volatile(&raw const REGISTERS) };
    let registers = user_mode();
    [offsets.ip, offsets.sp, offsets.fp, offsets.lr].map(|offset| registers.read(offset).unwrap_or(0))
}

/// What that thread has where Go has the goroutine that runs; 0 when it has no user mode.
#[inline(always)]
pub(crate) fn user_goroutine() -> u64 {
    // SAFETY: as above.
    let offset = unsafe { core::ptr::read_volatile(&raw const REGISTERS.goroutine) };
    user_mode().read(offset).unwrap_or(0)
}

/// Where the registers are that the thread that runs now has in user mode.
#[inline(always)]
fn user_mode() -> Address {
    // SAFETY: the helpers have no preconditions beyond the type of the task, which the verifier checks.
    Address(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64)
}

/// The address behind a pointer argument of a tracepoint.
impl<T> From<*const T> for Address {
    #[inline(always)]
    fn from(pointer: *const T) -> Self {
        Self(pointer.cast::<c_void>() as u64)
    }
}
