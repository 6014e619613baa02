//! Calls of Go's `crypto/tls`, by goroutine: one can move to another thread while it is in a call, and its stack to another place.
//!
//! The goroutine is known by the address of its `g`, which is in a register wherever Go's own code runs, also in system calls. So the
//! socket of a call is that which its very goroutine uses. What `probes/tls` says of stack and maps holds here, too.

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_ANY, helpers::bpf_get_attach_cookie, macros::uprobe,
    programs::ProbeContext,
};
use tcp_trace_ebpf::{
    CALL_IS_OLD, CALL_KEEPS_ARGUMENTS, CALL_STACK_SHIFT, DIRECTION_OUT, GO_COMPLETE, GO_COMPLETE_OLD, LATE,
    decide::tls::{Goroutine, TlsCall, TlsThread},
};

use crate::{
    emit,
    maps::{NO_GOROUTINE, TLS_GOROUTINES},
    probes::tls::{fill, free, header, is_process_excluded, key_of, note_end, object, read_user, report},
    registers, sock,
};

/// A call that passes plaintext begins. It does so again when its stack was too small and has moved.
#[uprobe]
pub(crate) fn tls_go_call(ctx: ProbeContext) -> u32 {
    begin(&ctx);
    0
}

/// It returns.
#[uprobe]
pub(crate) fn tls_go_return(ctx: ProbeContext) -> u32 {
    end(&ctx);
    0
}

/// A connection is closed.
#[uprobe]
pub(crate) fn tls_go_close(ctx: ProbeContext) -> u32 {
    free(&key_of(registers::returned(&ctx)));
    0
}

/// The calls of the goroutine that runs now in a system call.
#[inline(always)]
pub(super) fn calls() -> Option<*mut TlsThread> {
    let goroutine = TLS_GOROUTINES.get_ptr_mut(&key_of(sock::user_goroutine()))?;
    // SAFETY: the pointer is to a value of the map.
    Some(unsafe { &raw mut (*goroutine).calls })
}

#[inline(always)]
fn begin(ctx: &ProbeContext) {
    if is_process_excluded() {
        return;
    }
    let Some(goroutine) = goroutine(ctx, true) else { return };
    // SAFETY: the pointer is to a value of the map, which only this goroutine uses.
    let goroutine = unsafe { &mut *goroutine };
    let sp = goroutine.relative(stack_pointer(ctx));
    if goroutine.calls.is_again(sp, registers::returned(ctx), registers::go_third(ctx)) {
        return;
    }
    let buffer = goroutine.kept(registers::go_second(ctx));
    let Some(call) = goroutine.calls.begin(sp) else { return };
    fill(call, registers::returned(ctx), sp, buffer, hook(ctx));
    call.count_at = registers::go_third(ctx);
    // Where the buffer is now; this is not used otherwise before something is reported.
    call.offset = registers::go_second(ctx);
    if call.direction() == DIRECTION_OUT {
        begin_sending(call);
    }
}

/// Reports what is sent at the beginning of the call: the answer to it may be received in another goroutine before this one returns. Not while
/// it may have to do the handshake first, which may fail, and before which another object may be meant.
#[inline(always)]
fn begin_sending(call: &mut TlsCall) {
    let at = if call.hook & CALL_IS_OLD != 0 { GO_COMPLETE_OLD } else { GO_COMPLETE };
    // SAFETY: there is room for a byte. The helper checks the address in the process.
    let is_read =
        unsafe { read_user((&raw mut call.ciphertext).cast(), 1, call.object.address.wrapping_add(at)) };
    if !is_read || call.ciphertext[0] != 1 || call.count_at == 0 {
        return;
    }
    let Some(object) = object(&raw const call.object, LATE) else {
        emit::lost();
        return;
    };
    // SAFETY: the pointer is to a value of the map.
    let object = unsafe { &mut *object };
    if object.generation == 0 {
        return;
    }
    call.is_reported = 1;
    call.generation = object.generation;
    call.buffer = call.offset;
    // As far as is known: which socket it uses shows later.
    call.is_excluded = object.is_excluded.into();
    report(call, object);
}

/// Notes the socket of a call that was reported when it began, and reports it, if it is not known to be the object's.
#[inline(always)]
fn note_sent(call: &mut TlsCall) {
    if call.socket == 0 {
        return;
    }
    let Some(object) = object(&raw const call.object, LATE) else { return };
    // SAFETY: the pointer is to a value of the map.
    let object = unsafe { &mut *object };
    if object.socket != call.socket && object.generation == call.generation {
        object.socket = call.socket;
        object.is_excluded = call.is_excluded as u8;
        if call.is_excluded == 0 {
            header(call, 0, 0);
        }
    }
}

#[inline(always)]
fn hook(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context is that of a uprobe.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

/// That of the function's beginning, or end.
#[inline(always)]
fn stack_pointer(ctx: &ProbeContext) -> u64 {
    registers::stack_pointer(ctx).wrapping_add(hook(ctx) >> CALL_STACK_SHIFT)
}

/// The goroutine that runs now, which is remembered from now on if it is to be `made`; `None` when it is not known.
#[inline(always)]
fn goroutine(ctx: &ProbeContext, is_made: bool) -> Option<*mut Goroutine> {
    let key = key_of(registers::goroutine(ctx));
    let mut known = TLS_GOROUTINES.get_ptr_mut(&key);
    if known.is_none() && is_made {
        let _ = TLS_GOROUTINES.insert(&key, &NO_GOROUTINE, BPF_ANY.into());
        known = TLS_GOROUTINES.get_ptr_mut(&key);
    }
    let goroutine = known?;
    // SAFETY: the pointer is to a value of the map, in which there is room for it. The helper checks the address in the process.
    let is_read = unsafe { read_user((&raw mut (*goroutine).stack).cast(), 16, key.address) };
    is_read.then_some(goroutine)
}

#[inline(always)]
fn end(ctx: &ProbeContext) {
    let keeps = hook(ctx) & CALL_KEEPS_ARGUMENTS != 0;
    let Some(goroutine) = goroutine(ctx, keeps) else { return };
    // SAFETY: the pointer is to a value of the map, which only this goroutine uses.
    let goroutine = unsafe { &mut *goroutine };
    if keeps {
        begin_unseen(ctx, goroutine);
    }
    let Some(call) = goroutine.end(goroutine.relative(stack_pointer(ctx))) else { return };
    if call.is_reported == 0 {
        note_end::<false>(ctx, call);
    } else if registers::returned(ctx) as i64 > 0 {
        note_sent(call);
    }
}

/// Begins the call that returns if its beginning was not seen: it was before the programs were attached, or it was forgotten.
#[inline(always)]
fn begin_unseen(ctx: &ProbeContext, goroutine: &mut Goroutine) {
    let sp = goroutine.relative(stack_pointer(ctx));
    if goroutine.calls.is_in(sp) || is_process_excluded() {
        return;
    }
    let Some(call) = goroutine.calls.begin(sp) else { return };
    fill(call, 0, sp, 0, hook(ctx));
    // Behind the return address, on x86-64.
    let kept = stack_pointer(ctx).wrapping_add(8);
    // SAFETY: there is room for both. The helper checks the addresses in the process.
    let is_read = unsafe {
        read_user((&raw mut call.object.address).cast(), 8, kept)
            && read_user((&raw mut call.buffer).cast(), 8, kept.wrapping_add(8))
    };
    if !is_read {
        call.sp = 0;
    }
}
