//! The only reader of kernel memory: socket and task fields at the offsets that user space looked up.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid,
        bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_probe_read_kernel_str, bpf_task_pt_regs},
    },
    programs::SkBuffContext,
};
use tcp_trace_ebpf::{AF_INET, AF_INET6, COMM_LEN, FOLLOW_PROCESS, RawEndpoints, RawFigures, RawOwner};

use crate::maps::{FOLLOWED, OFFSETS, REGISTERS};

/// `IPPROTO_TCP`.
pub(crate) const IPPROTO_TCP: u16 = 6;

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

/// The `u16` at `offset` of the socket `sk`, the argument of a tracepoint: the verifier knows what it points to and what
/// lies at the offset, which it takes from the frozen globals, so this is one instruction and no call.
#[inline(always)]
fn direct(sk: *const u8, offset: u32) -> u16 {
    // SAFETY: the field is in the struct, by the running kernel's BTF; the verifier checks it.
    unsafe { sk.add(offset as usize).cast::<u16>().read() }
}

/// `sk->sk_protocol == IPPROTO_TCP`, for an internet socket of any kind.
#[inline(always)]
pub(crate) fn is_tcp(sk: *const u8) -> bool {
    let family = direct(sk, offset!(skc_family));
    (family == AF_INET || family == AF_INET6) && direct(sk, offset!(sk_protocol)) == IPPROTO_TCP
}

/// Local and peer's port of a socket; those that are not chosen yet are 0.
#[inline(always)]
pub(crate) fn ports(sk: *const u8) -> (u16, u16) {
    (direct(sk, offset!(skc_num)), u16::from_be(direct(sk, offset!(skc_dport))))
}

/// Addresses and ports of a socket; ports that are not chosen yet are 0.
#[inline(always)]
pub(crate) fn endpoints(sk: *const u8) -> Result<RawEndpoints, i32> {
    let sock = Address::from(sk);
    let (local_port, peer_port) = ports(sk);
    let mut endpoints = RawEndpoints {
        family: direct(sk, offset!(skc_family)),
        local_port,
        peer_port,
        ..RawEndpoints::default()
    };
    if endpoints.family == AF_INET6 {
        endpoints.local_address = sock.read(offset!(skc_v6_rcv_saddr))?;
        endpoints.peer_address = sock.read(offset!(skc_v6_daddr))?;
    } else {
        let local: [u8; 4] = sock.read(offset!(skc_rcv_saddr))?;
        let peer: [u8; 4] = sock.read(offset!(skc_daddr))?;
        endpoints.local_address[..4].copy_from_slice(&local);
        endpoints.peer_address[..4].copy_from_slice(&peer);
    }
    Ok(endpoints)
}

/// Inode number of a socket's network namespace.
#[inline(always)]
pub(crate) fn netns(sock: Address) -> Result<u32, i32> {
    let net = Address(sock.read(offset!(skc_net))?);
    net.read(offset!(net_inum))
}

/// `sk->sk_shutdown`.
#[inline(always)]
pub(crate) fn shutdown(sock: Address) -> Result<u8, i32> {
    sock.read(offset!(sk_shutdown))
}

/// `sk->sk_err`.
#[inline(always)]
pub(crate) fn error(sock: Address) -> Result<i32, i32> {
    sock.read(offset!(sk_err))
}

/// What a connection's socket knows of its path and of what the application did not read.
#[inline(always)]
pub(crate) fn figures(sock: Address) -> Result<RawFigures, i32> {
    let received: u32 = sock.read(offset!(tcp_rcv_nxt))?;
    let read: u32 = sock.read(offset!(tcp_copied_seq))?;
    Ok(RawFigures {
        receive_queue: received.wrapping_sub(read),
        srtt_us: sock.read::<u32>(offset!(tcp_srtt_us))? >> 3,
        cwnd: sock.read(offset!(tcp_snd_cwnd))?,
        retransmits: sock.read(offset!(tcp_total_retrans))?,
        received_to: received,
        acknowledged_to: sock.read(offset!(tcp_snd_una))?,
        ..RawFigures::default()
    })
}

/// What a listener knows of the connections that wait to be accepted.
#[inline(always)]
pub(crate) fn accept_queue(sock: Address) -> Result<RawFigures, i32> {
    Ok(RawFigures {
        accept_queue: sock.read(offset!(sk_ack_backlog))?,
        accept_queue_limit: sock.read(offset!(sk_max_ack_backlog))?,
        ..RawFigures::default()
    })
}

/// `skb->sk`: also a request socket, which the context's own `sk` field gives no full access to.
#[inline(always)]
pub(crate) fn of_packet(ctx: &SkBuffContext) -> Result<Address, i32> {
    // The context of a cgroup_skb program is the sk_buff itself.
    Address(ctx.as_ptr() as u64).read(offset!(skb_sk)).map(Address)
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

/// The name of the process that runs now, with zeros behind it: older kernels leave there what they find.
#[inline(always)]
pub(crate) fn current_comm() -> Result<[u8; COMM_LEN], i32> {
    let from = current_leader()?.0 + u64::from(offset!(task_comm));
    let mut comm = [0; COMM_LEN];
    // SAFETY: the helper checks the address, and writes up to the terminating zero and never more than the length.
    let length = unsafe {
        bpf_probe_read_kernel_str(comm.as_mut_ptr().cast(), COMM_LEN as u32, from as *const c_void)
    };
    if length < 0 { Err(length as i32) } else { Ok(comm) }
}

/// Whether a process is followed.
#[inline(always)]
pub(crate) fn is_followed(pid: u32) -> bool {
    // SAFETY: a byte that is removed meanwhile is at worst read stale.
    unsafe { FOLLOWED.get(pid) == Some(&FOLLOW_PROCESS) }
}

/// The process that runs now. Only for hooks that run in process context.
#[inline(always)]
pub(crate) fn current_owner() -> Result<RawOwner, i32> {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let leader = current_leader()?;
    Ok(RawOwner {
        pid,
        uid: bpf_get_current_uid_gid() as u32,
        followed: u32::from(is_followed(pid)),
        known: 1,
        started: leader.read(offset!(task_start_boottime))?,
        executions: leader.read(offset!(task_self_exec_id))?,
        // SAFETY: the helper has no preconditions.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        comm: leader.read(offset!(task_comm))?,
    })
}

/// Instruction, stack and frame pointer and link register that the thread that runs now has in user mode; zeros
/// when it has no user mode.
#[inline(always)]
pub(crate) fn user_registers() -> [u64; 4] {
    // SAFETY: the helpers have no preconditions beyond the type of the task, which the verifier checks.
    let registers = Address(unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64);
    // SAFETY: the pointer is to a static. Read volatile, as the offsets are.
    let offsets = unsafe { core::ptr::read_volatile(&raw const REGISTERS) };
    [offsets.ip, offsets.sp, offsets.fp, offsets.lr].map(|offset| registers.read(offset).unwrap_or(0))
}

/// The address behind a pointer argument of a tracepoint.
impl<T> From<*const T> for Address {
    #[inline(always)]
    fn from(pointer: *const T) -> Self {
        Self(pointer.cast::<c_void>() as u64)
    }
}
