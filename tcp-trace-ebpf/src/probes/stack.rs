//! Where in a process a socket is used: its user stack at three triggers, and the thread of each use.
//!
//! Only when user space wants it: while `STACKS` is 0 the verifier removes all of this from the programs.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_ktime_get_ns,
        generated::bpf_probe_read_user,
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tcp_trace_ebpf::{
    KIND_STACK, RawHeader, RawLastUse, RawStack, STACK_MAX, STACK_PART, TRIGGER_END_OF_STREAM, decide,
};

use crate::{
    emit,
    maps::{self, LAST_USES, STACKS, SocketMemory},
    probes::process_use,
    process_filter, sock,
};

/// `RCV_SHUTDOWN` of `sk->sk_shutdown`: nothing more will come.
const RCV_SHUTDOWN: u8 = 1;

/// Whether stacks are reported.
#[inline(always)]
pub(crate) fn are_reported() -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    unsafe { core::ptr::read_volatile(&raw const STACKS) != 0 }
}

/// `TRACE_EVENT(sock_recv_length, TP_PROTO(struct sock *sk, int ret, int flags))`, from Linux 6.3 on: every
/// `recvmsg()` of every kind of socket, also one that met the end of the stream.
#[btf_tracepoint(function = "sock_recv_length")]
pub(crate) fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    if are_reported() {
        note_receive(&ctx);
    }
    0
}

#[inline(always)]
fn note_receive(ctx: &BtfTracePointContext) {
    let sk: *const u8 = ctx.arg(0);
    let returned: i32 = ctx.arg(1);
    process_use::note(sk, || true);
    let known = tracked(sk);
    if known.is_null() || returned < 0 {
        return;
    }
    note_use(sk, false);
    // SAFETY: not null, so valid for the program's run.
    let noted = unsafe { &mut *known };
    if returned != 0 || noted.end_reported != 0 {
        return;
    }
    // A read of no bytes returns 0 too. The FIN counts 1 until it is read.
    if sock::shutdown(sk) & RCV_SHUTDOWN == 0 || sock::tcp_stats(sk).receive_queue != 0 {
        return;
    }
    noted.end_reported = 1;
    report(sk, TRIGGER_END_OF_STREAM);
}

/// The memory of `sk` when its process was reported, which is so only of TCP sockets that are not excluded. Else null.
#[inline(always)]
fn tracked(sk: *const u8) -> *mut SocketMemory {
    if process_filter::is_excluded(sk) {
        return core::ptr::null_mut();
    }
    let known = maps::memory(sk, 0);
    // SAFETY: a pointer from bpf_sk_storage_get is null or valid for the program's run.
    if known.is_null() || unsafe { (*known).process_known } == 0 { core::ptr::null_mut() } else { known }
}

/// Notes that the thread that runs now uses `sk`.
#[inline(always)]
pub(crate) fn note_use(sk: *const u8, is_write: bool) {
    if tracked(sk).is_null() {
        return;
    }
    let id = bpf_get_current_pid_tgid();
    let last_use = RawLastUse {
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        pid: (id >> 32) as u32,
        tid: id as u32,
        comm: bpf_get_current_comm().unwrap_or_default(),
        is_write: u32::from(is_write),
        padding: 0,
    };
    // SAFETY: the pointer is a tracepoint's argument.
    let cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) };
    // Where there is no room it is not known: user space sees that it is absent.
    let _ = LAST_USES.insert(cookie, last_use, 0);
}

/// A record with its stack.
#[repr(C)]
struct WithStack {
    head: RawStack,
    stack: [u8; STACK_MAX],
}

/// Reports where the process that runs now is, in process context. Stacks are large, and what happens to connections
/// is worth more: when the ring buffer is more than half full the stack is left out, and that is said.
#[inline(always)]
pub(crate) fn report(sk: *const u8, trigger: u32) {
    if sock::is_kernel_thread() {
        return;
    }
    if emit::is_half_full() {
        let Some(mut record) = emit::reserve::<RawStack>() else {
            return;
        };
        // SAFETY: it points to room for one in the ring buffer.
        let head = unsafe { &mut *record.as_mut_ptr() };
        fill(head, sk, trigger);
        head.ring_full = 1;
        emit::submit(record, true);
        return;
    }
    let Some(mut record) = emit::reserve::<WithStack>() else {
        return;
    };
    // SAFETY: it points to room for one in the ring buffer; the parts are apart.
    let (head, stack) = unsafe {
        let record = record.as_mut_ptr();
        (&mut (*record).head, &raw mut (*record).stack)
    };
    fill(head, sk, trigger);
    if head.ip != 0 {
        head.stack_bytes = copy_stack(head.sp, stack.cast());
    }
    emit::submit(record, true);
}

/// Copies the stack from `sp` on to `stack`, which has room for [`STACK_MAX`] bytes; returns how many there were.
#[inline(always)]
fn copy_stack(sp: u64, stack: *mut u8) -> u32 {
    let mut copied = 0;
    for part in 0..STACK_MAX / STACK_PART {
        let at = part * STACK_PART;
        let from = sp.wrapping_add(at as u64);
        // SAFETY: the part is within the room.
        if unsafe { read_user(stack.add(at), STACK_PART as u32, from) } {
            copied = (at + STACK_PART) as u32;
            continue;
        }
        // The stack may end within the part, which is at the end of a page, and the outermost frames are just before that.
        let rest = decide::stack::bytes_to_boundary(from);
        // SAFETY: the rest is shorter than the part.
        if unsafe { read_user(stack.add(at), rest, from) } {
            copied = at as u32 + rest;
        }
        break;
    }
    copied
}

/// Copies bytes of the process that runs now; false if not all of them can be read.
///
/// # Safety
/// `to` has room for `size` bytes.
#[inline(always)]
unsafe fn read_user(to: *mut u8, size: u32, from: u64) -> bool {
    // SAFETY: the caller's promise. The helper checks the address in the process.
    unsafe { bpf_probe_read_user(to.cast(), size, from as *const c_void) == 0 }
}

/// Fills in a record in its place: with its process it is too large for the stack.
#[inline(always)]
fn fill(record: &mut RawStack, sk: *const u8, trigger: u32) {
    record.header = RawHeader {
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        // SAFETY: the pointer is a tracepoint's argument.
        cookie: unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) },
        kind: KIND_STACK,
        padding: 0,
    };
    record.process = sock::current_process();
    record.tid = bpf_get_current_pid_tgid() as u32;
    record.trigger = trigger;
    record.comm = bpf_get_current_comm().unwrap_or_default();
    let registers = sock::user_registers();
    record.ip = registers[0];
    record.sp = registers[1];
    record.fp = registers[2];
    record.lr = registers[3];
    record.stack_bytes = 0;
    record.ring_full = 0;
}
