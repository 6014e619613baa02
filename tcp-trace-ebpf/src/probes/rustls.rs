//! Calls of rustls. Its connections are moved, and keep what they are to send until they are told to write: so an object is not known by its
//! address, but by the socket that is used inside of its calls.
//!
//! - What arrives is read into a connection's buffer (`DeframerVecBuffer::read()`), inside of which the thread uses the socket, and is decrypted out
//!   of the same buffer (`ConnectionCore::process_new_packets()`, which hands over plaintext in `CommonState::take_received_plaintext()`).
//! - What leaves is taken (`CommonState::buffer_plaintext()`), and reported as taken. When that connection is written
//!   (`ChunkVecBuffer::write_to()`), inside of which the thread uses the socket, a record says that it was sent, and where. How far what is written is
//!   behind the connection's state is the same in all connections of a program, and found where it is certain: between two things that a call
//!   was given of one connection.
//!
//! What `probes/tls` says of stack and maps holds here, too.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid},
    macros::uprobe,
    programs::ProbeContext,
};
use tcp_trace_ebpf::{
    CALL_DECRYPTS, CALL_READS, CALL_STACK_SHIFT, CALL_TAKES, CALL_WRITES, DIRECTION_IN, DIRECTION_OUT,
    KEY_DISTANCE, KEY_READER, KEY_STATE, KEY_TAKEN, KEY_UNREAD, LATE, OBJECT_IS_SOCKET, PAYLOAD_SIZES,
    PLAINTEXT_PART, RawPlaintext, SENT, TAKEN, TlsKey,
    decide::{
        pick_mut,
        tls::{Chunks, TlsCall, TlsThread, distance, received},
    },
};

use crate::{
    emit,
    maps::{TLS_OBJECTS, TLS_THREADS, TlsObject},
    probes::tls::{
        fill, header, is_process_excluded, object, part, read_user, report, thread, write_plaintext,
    },
    registers,
};

/// A call begins.
#[uprobe]
pub(crate) fn tls_rustls_call(ctx: ProbeContext) -> u32 {
    begin(&ctx);
    0
}

/// It returns.
#[uprobe]
pub(crate) fn tls_rustls_return(ctx: ProbeContext) -> u32 {
    end(&ctx);
    0
}

/// A call returns that takes what is to be sent.
#[uprobe]
pub(crate) fn tls_rustls_taken(ctx: ProbeContext) -> u32 {
    take(&ctx);
    0
}

/// What was decrypted is handed over.
#[uprobe]
pub(crate) fn tls_rustls_received(ctx: ProbeContext) -> u32 {
    note_received(&ctx);
    0
}

#[inline(always)]
fn hook(ctx: &ProbeContext) -> u64 {
    // SAFETY: the context is that of a uprobe.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn stack_pointer(ctx: &ProbeContext) -> u64 {
    registers::stack_pointer(ctx).wrapping_add(hook(ctx) >> CALL_STACK_SHIFT)
}

/// What is known by this key.
#[inline(always)]
fn known(key: &TlsKey) -> Option<&'static mut TlsObject> {
    // SAFETY: the pointer is to a value of the map.
    TLS_OBJECTS.get_ptr_mut(key).map(|object| unsafe { &mut *object })
}

/// The same, from now on at least.
#[inline(always)]
fn remembered(key: *const TlsKey, attributes: u8) -> Option<&'static mut TlsObject> {
    // SAFETY: the pointer is to a value of the map.
    object(key, attributes).map(|object| unsafe { &mut *object })
}

#[inline(always)]
fn begin(ctx: &ProbeContext) {
    if is_process_excluded() {
        return;
    }
    let hook = hook(ctx);
    let address = if hook & CALL_WRITES != 0 {
        match state_of(registers::first(ctx)) {
            Some(address) => address,
            None => return,
        }
    } else if hook & CALL_DECRYPTS != 0 {
        registers::second_behind_result(ctx)
    } else {
        registers::first(ctx)
    };
    let Some(thread) = thread() else { return };
    let sp = stack_pointer(ctx);
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    let Some(call) = (unsafe { &mut *thread }).begin(sp) else { return };
    fill(call, address, sp, registers::second(ctx), hook);
    if hook & CALL_DECRYPTS != 0 {
        begin_decrypting(call);
    } else if hook & CALL_TAKES != 0 {
        note_state(call, registers::third(ctx));
    }
}

/// The call decrypts what was read from one socket; what else it uses is another matter.
#[inline(always)]
fn begin_decrypting(call: &mut TlsCall) {
    call.has_several = 1;
    call.object.direction = KEY_READER;
    if let Some(reader) = known(&call.object) {
        call.socket = reader.socket;
        call.is_excluded = reader.is_excluded.into();
    }
    call.object.direction = 0;
}

/// Where the state is of the connection that writes what is at this address, if it has taken anything that it did not say to have sent.
#[inline(always)]
fn state_of(written: u64) -> Option<u64> {
    let id = bpf_get_current_pid_tgid();
    let mut key = TlsKey { address: 0, pid: (id >> 32) as u32, direction: KEY_DISTANCE };
    let far = match known(&key) {
        Some(known) => known.passed[0],
        None => {
            (key.address, key.direction) = (id, KEY_STATE);
            let [state, behind] = known(&key)?.passed;
            let far = distance(state, behind, written)?;
            (key.address, key.direction) = (0, KEY_DISTANCE);
            remembered(&raw const key, 0)?.passed[0] = far;
            far
        }
    };
    (key.address, key.direction) = (written.wrapping_sub(far), KEY_TAKEN);
    let [taken, sent] = known(&key)?.passed;
    (taken != sent).then_some(key.address)
}

/// The call that returns.
#[inline(always)]
fn ended<'a>(ctx: &ProbeContext, thread: *mut TlsThread) -> Option<&'a mut TlsCall> {
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    unsafe { &mut *thread }.end(stack_pointer(ctx))
}

/// Forgets the thread if it is in no call. It is looked for again: there is not enough stack for where it is.
#[inline(always)]
fn forget_outside() {
    let Some(thread) = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    if unsafe { &*thread }.is_outside() {
        let _ = TLS_THREADS.remove(bpf_get_current_pid_tgid());
    }
}

#[inline(always)]
fn end(ctx: &ProbeContext) {
    let Some(thread) = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    let Some(call) = ended(ctx, thread) else { return };
    if call.hook & CALL_READS != 0 {
        note_read(call);
    } else if call.hook & CALL_WRITES != 0 {
        note_written(call);
    }
    forget_outside();
}

#[inline(always)]
fn take(ctx: &ProbeContext) {
    let Some(thread) = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    let Some(call) = ended(ctx, thread) else { return };
    // How many bytes it has taken.
    call.ciphertext_length = registers::returned(ctx);
    if call.ciphertext_length != 0 {
        note_taken(call);
    }
    forget_outside();
}

/// Notes from which socket a connection has read. The object is known from its handshake on, if it reads more than once before it has plaintext.
#[inline(always)]
fn note_read(call: &mut TlsCall) {
    if call.socket == 0 {
        return;
    }
    call.object.direction = KEY_READER;
    let Some(reader) = remembered(&raw const call.object, 0) else {
        emit::lost();
        return;
    };
    reader.socket = call.socket;
    reader.is_excluded = call.is_excluded as u8;
    name_by_socket(call);
    if let Some(object) = remembered(&raw const call.object, 0) {
        object.socket = call.socket;
        object.ciphertexts = object.ciphertexts.saturating_add(1);
    }
}

#[inline(always)]
fn name_by_socket(call: &mut TlsCall) {
    call.object.address = call.socket | OBJECT_IS_SOCKET;
    call.object.direction = 0;
}

/// Reports what a connection has taken to send it.
#[inline(always)]
fn note_taken(call: &mut TlsCall) {
    // SAFETY: there is room for four numbers. The helper checks the address in the process.
    if !unsafe { read_user((&raw mut call.ciphertext).cast(), 32, call.buffer) } {
        emit::lost();
        return;
    }
    let Some(chunks) = Chunks::of(words(call), call.buffer, call.ciphertext_length) else {
        // It is not as it was when this was written.
        emit::lost();
        return;
    };
    // There is not enough stack for them.
    // SAFETY: there is room for two numbers.
    unsafe { (&raw mut call.ciphertext).cast::<Chunks>().write(chunks) };
    call.object.direction = KEY_TAKEN;
    let taken = remembered(&raw const call.object, TAKEN);
    call.object.direction = 0;
    let Some(taken) = taken else {
        emit::lost();
        return;
    };
    call.generation = taken.generation;
    call.attributes = TAKEN.into();
    call.count_at = 0;
    for _ in 0..PARTS_MAX {
        if call.count_at == 0 && !next_chunk(call) {
            break;
        }
        report_part(call, &mut taken.passed[0]);
    }
    let rest = call.ciphertext_length.wrapping_add(call.count_at);
    if rest != 0 {
        // The rest of a body, mostly: whoever reads it says when that is not so.
        call.offset = taken.passed[0];
        taken.passed[0] = call.offset.wrapping_add(rest);
        header(call, 0, rest);
    }
}

/// Reports the next part of a piece, behind so many bytes that were taken.
#[inline(always)]
fn report_part(call: &mut TlsCall, taken: &mut u64) {
    let length = if call.count_at < PLAINTEXT_PART as u64 { call.count_at } else { PLAINTEXT_PART as u64 };
    call.offset = *taken;
    *taken = call.offset.wrapping_add(length);
    if length == 0 {
    } else if length <= PAYLOAD_SIZES[0] as u64 {
        part::<{ PAYLOAD_SIZES[0] }>(call, 0, length);
    } else if length <= PAYLOAD_SIZES[1] as u64 {
        part::<{ PAYLOAD_SIZES[1] }>(call, 0, length);
    } else if length <= PAYLOAD_SIZES[2] as u64 {
        part::<{ PAYLOAD_SIZES[2] }>(call, 0, length);
    } else {
        part::<PLAINTEXT_PART>(call, 0, length);
    }
    // Whatever was reported: what is left of the piece.
    let length = taken.wrapping_sub(call.offset);
    call.buffer = call.buffer.wrapping_add(length);
    call.count_at = call.count_at.wrapping_sub(length);
}

/// Makes the next piece of what is taken what the call has passed.
#[inline(always)]
fn next_chunk(call: &mut TlsCall) -> bool {
    let mut place: *mut TlsCall = call;
    // The compiler must not keep places in it on the stack, one for each: there is not enough.
    // SAFETY: it does nothing.
    unsafe { asm!("/* {place} */", place = inout(reg) place, options(nostack, preserves_flags)) };
    // SAFETY: it is the same.
    let call = unsafe { &mut *place };
    // SAFETY: it was written there.
    let chunks = unsafe { &mut *(&raw mut call.ciphertext).cast::<Chunks>() };
    if chunks.length == 0 || call.ciphertext_length == 0 {
        return false;
    }
    const { assert!(offset_of!(TlsCall, count_at) == offset_of!(TlsCall, buffer) + 8) };
    let at = chunks.at;
    chunks.at = at.wrapping_add(16);
    chunks.length -= 1;
    // SAFETY: there is room for both numbers, one after the other. The helper checks the address in the process.
    if !unsafe { read_user((&raw mut call.buffer).cast(), 16, at) } {
        return false;
    }
    if call.count_at > call.ciphertext_length {
        call.count_at = call.ciphertext_length;
    }
    call.ciphertext_length -= call.count_at;
    true
}

/// The numbers that were read where [`TlsCall::ciphertext`] is.
#[inline(always)]
fn words(call: &TlsCall) -> [u64; 4] {
    const { assert!(offset_of!(TlsCall, ciphertext).is_multiple_of(8)) };
    // SAFETY: it has as many bytes, any of which are numbers.
    unsafe { (&raw const call.ciphertext).cast::<[u64; 4]>().read() }
}

/// How many parts of pieces are handed over of what is taken in one call, which is no more than rustls keeps, 64 KiB, unless its program says
/// otherwise; of the rest, only its length is reported.
const PARTS_MAX: u32 = 16;

/// Notes where the state of a connection is, and what is `behind` it in the same connection, until it is known how far that is.
#[inline(always)]
fn note_state(call: &mut TlsCall, behind: u64) {
    let state = call.object.address;
    (call.object.address, call.object.direction) = (0, KEY_DISTANCE);
    if known(&call.object).is_none() {
        (call.object.address, call.object.direction) = (bpf_get_current_pid_tgid(), KEY_STATE);
        if let Some(thread) = remembered(&raw const call.object, 0) {
            thread.passed = [state, behind];
        }
    }
    (call.object.address, call.object.direction) = (state, 0);
}

/// Reports that what a connection has taken was sent, and on which socket.
#[inline(always)]
fn note_written(call: &mut TlsCall) {
    if call.socket == 0 {
        return;
    }
    let state = call.object.address;
    call.object.direction = KEY_TAKEN;
    let Some(taken) = known(&call.object) else { return };
    let [whole, sent] = taken.passed;
    let length = whole.wrapping_sub(sent);
    *pick_mut(&mut taken.passed, DIRECTION_IN) = whole;
    name_by_socket(call);
    let Some(object) = remembered(&raw const call.object, LATE) else {
        emit::lost();
        return;
    };
    call.generation = object.generation;
    call.attributes = (object.attributes | SENT).into();
    let passed = pick_mut(&mut object.passed, DIRECTION_OUT);
    call.offset = *passed;
    *passed = passed.wrapping_add(length);
    if call.is_excluded != 0 {
        call.socket = 0;
    }
    let Some(mut record) = emit::reserve::<RawPlaintext>() else { return };
    let length = if length > u64::from(u32::MAX) { u32::MAX } else { length as u32 };
    // SAFETY: it points to room for one in the ring buffer.
    unsafe {
        write_plaintext(record.as_mut_ptr(), call, 0, length, 0);
        (*record.as_mut_ptr()).header.cookie = state;
    }
    emit::submit(record, false);
}

/// Reports plaintext that was decrypted: of the socket that was read, or, where that is not known, as of none.
#[inline(always)]
fn note_received(ctx: &ProbeContext) {
    let Some(thread) = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    let Some(call) = (unsafe { &mut *thread }).current() else { return };
    if call.hook & CALL_DECRYPTS == 0 || call.is_over(registers::stack_pointer(ctx)) {
        return;
    }
    // SAFETY: there is room for three numbers. The helper checks the address in the process.
    let is_read = unsafe { read_user((&raw mut call.ciphertext).cast(), 24, registers::second(ctx)) };
    let Some((address, length)) = (if is_read { received(words(call)) } else { None }) else {
        // It is not as it was when this was written.
        emit::lost();
        return;
    };
    if length == 0 {
        return;
    }
    (call.buffer, call.count_at) = (address, length);
    if call.socket != 0 {
        name_by_socket(call);
    } else {
        (call.object.address, call.object.direction) = (registers::first(ctx), KEY_UNREAD);
    }
    let known = remembered(&raw const call.object, LATE);
    call.object.direction = 0;
    let Some(known) = known else {
        emit::lost();
        return;
    };
    if call.socket == 0 {
        known.attributes = TAKEN;
    } else if known.passed[0] | known.passed[1] == 0 && known.ciphertexts == 1 {
        // The first that was read had plaintext: the handshake was before.
        known.attributes = LATE;
    }
    call.generation = known.generation;
    report(call, known);
}
