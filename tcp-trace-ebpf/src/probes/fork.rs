//! The processes that descend from a followed one.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::{debug, warn};
use tcp_trace_ebpf::FOLLOW_PROCESS;

use crate::{
    emit,
    maps::FOLLOWED,
    sock::{Address, task_ids},
};

/// `TRACE_EVENT(sched_process_fork, TP_PROTO(struct task_struct *parent, struct task_struct *child))`
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    if let Err(error) = try_sched_process_fork(&ctx) {
        // What the child does will not be reported.
        emit::lost();
        warn!(&ctx, "sched_process_fork: a child is not followed: error {}", error);
    }
    0
}

#[inline(always)]
fn try_sched_process_fork(ctx: &BtfTracePointContext) -> Result<(), i32> {
    let (parent, _) = task_ids(Address::from(ctx.arg::<*const u8>(0)))?;
    let (child, _) = task_ids(Address::from(ctx.arg::<*const u8>(1)))?;
    // A new thread has its process's id.
    if child != parent && FOLLOWED.get_ptr(parent).is_some() {
        FOLLOWED.insert(child, FOLLOW_PROCESS, 0)?;
        debug!(ctx, "following process {}, a child of {}", child, parent);
    }
    Ok(())
}

/// `DEFINE_EVENT(sched_process_template, sched_process_free, TP_PROTO(struct task_struct *p))`: not at exit,
/// which comes before the exiting process's files are closed.
#[btf_tracepoint(function = "sched_process_free")]
pub(crate) fn sched_process_free(ctx: BtfTracePointContext) -> i32 {
    if let Err(error) = try_sched_process_free(&ctx) {
        warn!(&ctx, "sched_process_free: a process id stays followed: error {}", error);
    }
    0
}

#[inline(always)]
fn try_sched_process_free(ctx: &BtfTracePointContext) -> Result<(), i32> {
    let (process, thread) = task_ids(Address::from(ctx.arg::<*const u8>(0)))?;
    if process == thread && FOLLOWED.get_ptr(process).is_some() {
        FOLLOWED.remove(process)?;
    }
    Ok(())
}
