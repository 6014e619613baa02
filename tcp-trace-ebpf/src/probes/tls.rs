//! Calls of TLS libraries: the plaintext that passes, and on which socket.
//!
//! The kernel can run something else on the processor within a program on a uprobe, also the same program. From Linux 6.13 on, all
//! programs of this kind that need 64 bytes of stack or more share one stack per processor: so these need less, use no map
//! per CPU to put things down, and write records where they are read. `cargo xtask ebpf` refuses others.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_ANY, BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_ktime_get_ns,
        generated::bpf_probe_read_user,
    },
    macros::uprobe,
    programs::ProbeContext,
};
use tcp_trace_ebpf::{
    CALL_MAKES_LATE, CALL_STACK_SHIFT, CIPHERTEXT_MAX, CIPHERTEXT_MIN, DIRECTION_OUT, KIND_CIPHERTEXT,
    KIND_PLAINTEXT, KIND_TLS_OBJECT_GONE, LATE, PAYLOAD_SIZES, PLAINTEXT_PART, PLAINTEXT_PARTS_MAX,
    RawCiphertext, RawHeader, RawPlaintext, RawTlsObject, RawTlsObjectGone, TlsKey, UNHURRIED_MAX,
    decide::{
        pick_mut,
        tls::{TlsCall, TlsThread, count_argument, count_returned, is_ciphertext_reported, skipped},
    },
};

use crate::{
    emit, filter,
    maps::{NO_TLS_OBJECT, NO_TLS_THREAD, TLS, TLS_OBJECTS, TLS_SKIPS, TLS_THREADS, TlsObject},
    probes::go,
    process_filter, registers, sock,
};

/// Content types of TLS records begin with this one, `change_cipher_spec` (RFC 8446, section 5.1).
const CONTENT_TYPE_MIN: u8 = 20;
/// And end with `heartbeat`.
const CONTENT_TYPE_MAX: u8 = 24;
/// The major version of every TLS record.
const VERSION_MAJOR: u8 = 3;

/// Whether plaintext is reported.
#[inline(always)]
pub(crate) fn is_reported() -> bool {
    // SAFETY: the pointer is to a static. Read volatile: the compiler must not take the zero of the source for the
    // value.
    unsafe { core::ptr::read_volatile(&raw const TLS) != 0 }
}

/// A call that passes plaintext begins.
#[uprobe]
pub(crate) fn tls_call(ctx: ProbeContext) -> u32 {
    begin(&ctx);
    0
}

/// It returns.
#[uprobe]
pub(crate) fn tls_return(ctx: ProbeContext) -> u32 {
    end(&ctx);
    0
}

/// A new object is returned: what was at its address, of a program that did not free it, is another one.
#[uprobe]
pub(crate) fn tls_new(ctx: ProbeContext) -> u32 {
    let key = key_of(registers::returned(&ctx));
    if key.address != 0 {
        let _ = TLS_OBJECTS.remove(&key);
        object(&key, 0);
    }
    0
}

/// A handshake begins, or goes on: an object that is not known was made shortly before it was watched, and has passed no plaintext.
#[uprobe]
pub(crate) fn tls_handshake(ctx: ProbeContext) -> u32 {
    object(&key_of(registers::first(&ctx)), 0);
    0
}

/// An object is freed, or made ready for another session.
#[uprobe]
pub(crate) fn tls_free(ctx: ProbeContext) -> u32 {
    free(&key_of(registers::first(&ctx)));
    0
}

/// Something takes ciphertext, in a call of a TLS library or not.
#[uprobe]
pub(crate) fn tls_ciphertext(ctx: ProbeContext) -> u32 {
    note_ciphertext(&ctx);
    0
}

/// Notes that the thread that runs now uses `sk`, which may be inside a call.
#[inline(always)]
pub(crate) fn note_socket(sk: *const u8) {
    if !sock::is_tcp(sk) {
        return;
    }
    let thread = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()).or_else(go::calls);
    let Some(thread) = thread else { return };
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    let Some(call) = (unsafe { &mut *thread }).current() else { return };
    // SAFETY: the pointer is a tracepoint's argument.
    let cookie = unsafe { bpf_get_socket_cookie(sk.cast_mut().cast()) };
    call.note_socket(cookie, filter::is_socket_excluded(sk));
}

/// The key of what is at this address of the process that runs now.
#[inline(always)]
pub(super) fn key_of(address: u64) -> TlsKey {
    TlsKey { address, pid: (bpf_get_current_pid_tgid() >> 32) as u32, direction: 0 }
}

#[inline(always)]
fn begin(ctx: &ProbeContext) {
    if is_process_excluded() {
        return;
    }
    let Some(thread) = thread() else { return };
    // SAFETY: the context is that of a uprobe.
    let hook = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    let sp = registers::stack_pointer(ctx).wrapping_add(hook >> CALL_STACK_SHIFT);
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    let Some(call) = (unsafe { &mut *thread }).begin(sp) else { return };
    fill(call, registers::first(ctx), sp, registers::second(ctx), hook);
    call.count_at = match count_argument(hook) {
        None => 0,
        Some(3) => registers::fourth(ctx),
        Some(_) => registers::fifth(ctx),
    };
}

/// Whether the process that runs now is not reported.
#[inline(always)]
pub(super) fn is_process_excluded() -> bool {
    process_filter::is_enabled() && filter::is_current_process_excluded()
}

/// Makes `call` one that begins, and that returns the number of bytes.
#[inline(always)]
pub(super) fn fill(call: &mut TlsCall, object: u64, sp: u64, buffer: u64, hook: u64) {
    call.object.address = object;
    call.object.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    call.object.direction = 0;
    call.sp = sp;
    call.buffer = buffer;
    call.count_at = 0;
    call.socket = 0;
    call.hook = hook;
    call.is_reported = 0;
    call.is_excluded = 0;
    call.has_several = 0;
    call.ciphertext_length = 0;
}

/// The thread that runs now; `None` when the kernel has no memory for it.
#[inline(always)]
pub(super) fn thread() -> Option<*mut TlsThread> {
    let id = bpf_get_current_pid_tgid();
    if let Some(thread) = TLS_THREADS.get_ptr_mut(id) {
        return Some(thread);
    }
    let _ = TLS_THREADS.insert(id, &NO_TLS_THREAD, BPF_ANY.into());
    TLS_THREADS.get_ptr_mut(id)
}

/// The object with this key, which has `attributes` if it was not known.
#[inline(always)]
pub(super) fn object(key: *const TlsKey, attributes: u8) -> Option<*mut TlsObject> {
    // SAFETY: the key is on the stack or in a value of a map.
    let key = unsafe { &*key };
    if let Some(object) = TLS_OBJECTS.get_ptr_mut(key) {
        return Some(object);
    }
    // Two threads may use an object for the first time at once.
    let is_first = TLS_OBJECTS.insert(key, &NO_TLS_OBJECT, BPF_NOEXIST.into()).is_ok();
    let object = TLS_OBJECTS.get_ptr_mut(key)?;
    if is_first {
        // SAFETY: the pointer is to a value of the map.
        unsafe {
            (*object).attributes = attributes;
            // Microseconds, or about: what was at an address before is not as young.
            (*object).generation = (bpf_ktime_get_ns() >> 10) as u32 | 1;
        }
    }
    Some(object)
}

/// The object with this key is gone.
#[inline(always)]
pub(super) fn free(key: &TlsKey) {
    let Some(object) = TLS_OBJECTS.get_ptr_mut(key) else { return };
    // SAFETY: the pointer is to a value of the map.
    let object = unsafe { &*object };
    // Nothing was reported of it. SSL_new() calls SSL_clear(), too.
    if object.passed[0] == 0 && object.passed[1] == 0 && object.ciphertexts == 0 {
        return;
    }
    let generation = object.generation;
    if let Some(mut record) = emit::reserve::<RawTlsObjectGone>() {
        // SAFETY: it points to room for one in the ring buffer.
        unsafe {
            let record = record.as_mut_ptr();
            write_header(&raw mut (*record).header, KIND_TLS_OBJECT_GONE);
            write_object(&raw mut (*record).object, key, generation);
        }
        emit::submit(record, false);
    }
    let _ = TLS_OBJECTS.remove(key);
}

/// # Safety
/// The pointer is to a header in the ring buffer.
#[inline(always)]
unsafe fn write_header(header: *mut RawHeader, kind: u32) {
    // SAFETY: the caller's promise; the helper has no preconditions.
    unsafe {
        (*header).time_ns = bpf_ktime_get_ns();
        (*header).cookie = 0;
        (*header).kind = kind;
        (*header).padding = 0;
    }
}

/// # Safety
/// The first pointer is to an object in the ring buffer.
#[inline(always)]
pub(super) unsafe fn write_object(object: *mut RawTlsObject, key: &TlsKey, generation: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        (*object).address = key.address;
        (*object).pid = key.pid;
        (*object).generation = generation;
    }
}

#[inline(always)]
fn end(ctx: &ProbeContext) {
    let Some(thread) = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    let thread = unsafe { &mut *thread };
    // SAFETY: the context is that of a uprobe.
    let below = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) } >> CALL_STACK_SHIFT;
    let Some(call) = thread.end(registers::stack_pointer(ctx).wrapping_add(below)) else { return };
    note_end::<true>(ctx, call);
    // What is remembered are threads inside of calls: so one that waits long in one is not forgotten for those that wait no more.
    if thread.is_outside() {
        let _ = TLS_THREADS.remove(bpf_get_current_pid_tgid());
    }
}

/// The call has returned, of a library that `HANDS_OUT` ciphertext, or that uses its sockets itself.
#[inline(always)]
pub(super) fn note_end<const HANDS_OUT: bool>(ctx: &ProbeContext, call: &mut TlsCall) {
    let count = match count_returned(call.hook, registers::returned(ctx)) {
        Some(count) => count,
        None => {
            let from = call.count_at;
            // SAFETY: it has room for the number. The helper checks the address in the process.
            if !unsafe { read_user((&raw mut call.count_at).cast(), 8, from) } {
                emit::lost();
                return;
            }
            call.count_at
        }
    };
    call.count_at = count;
    let is_passed = count != 0 && call.is_reported == 0 && !call.is_silent();
    let is_ciphertext = HANDS_OUT && call.ciphertext_length != 0 && call.socket == 0;
    let is_late = call.hook & CALL_MAKES_LATE != 0;
    if !is_passed && !is_ciphertext && !is_late {
        return;
    }
    let Some(object) = object(&raw const call.object, LATE) else {
        emit::lost();
        return;
    };
    // SAFETY: the pointer is to a value of the map. No two threads use one direction of an object at once.
    let object = unsafe { &mut *object };
    if object.generation == 0 {
        // Another thread is just meeting it.
        emit::lost();
        return;
    }
    call.generation = object.generation;
    if is_late {
        object.attributes = LATE;
    }
    if call.socket != 0 {
        object.socket = call.socket;
        object.is_excluded = call.is_excluded as u8;
    }
    if is_passed {
        report(call, object);
    }
    // Last: before Linux 6.2 the verifier would go through all of the above once more for each way through this.
    if HANDS_OUT && call.ciphertext_length != 0 && call.socket == 0 && object.socket == 0 {
        object.ciphertexts = object.ciphertexts.wrapping_add(1);
        if is_ciphertext_reported(object.ciphertexts) {
            report_ciphertext(call);
        }
    }
}

/// Reports what `call` has passed, or is about to.
#[inline(always)]
pub(super) fn report(call: &mut TlsCall, object: &mut TlsObject) {
    let count = count(call);
    let direction = call.direction();
    let passed = pick_mut(&mut object.passed, direction);
    let offset = *passed;
    *passed = offset.wrapping_add(count);
    if call.is_excluded != 0 {
        return;
    }
    // What follows reads it from here: there is not enough stack for it.
    call.offset = offset;
    call.attributes = object.attributes.into();
    call.object.direction = direction.into();
    // SAFETY: what user space writes at the same time goes to another place.
    let skip = unsafe { TLS_SKIPS.get(&call.object) };
    let skip = skipped(skip, call.generation, offset);
    call.object.direction = 0;
    if skip > count {
        return;
    }
    if !call.has_buffer() {
        header(call, 0, count);
        return;
    }
    if skip != 0 {
        // That it passed, and with it the end of what is not needed.
        header(call, 0, skip);
    }
    let mut at = skip;
    for _ in 0..PLAINTEXT_PARTS_MAX {
        if self::count(call) - at < PLAINTEXT_PART as u64 {
            break;
        }
        part::<PLAINTEXT_PART>(call, at, PLAINTEXT_PART as u64);
        at += PLAINTEXT_PART as u64;
    }
    let rest = self::count(call) - at;
    if rest == 0 {
    } else if rest <= PAYLOAD_SIZES[0] as u64 {
        part::<{ PAYLOAD_SIZES[0] }>(call, at, rest);
    } else if rest <= PAYLOAD_SIZES[1] as u64 {
        part::<{ PAYLOAD_SIZES[1] }>(call, at, rest);
    } else if rest <= PAYLOAD_SIZES[2] as u64 {
        part::<{ PAYLOAD_SIZES[2] }>(call, at, rest);
    } else if rest < PLAINTEXT_PART as u64 {
        part::<PLAINTEXT_PART>(call, at, rest);
    } else {
        // The rest of a body, mostly: whoever reads it says when that is not so.
        header(call, at, rest);
    }
}

/// How many bytes a call has passed.
#[inline(always)]
fn count(call: &TlsCall) -> u64 {
    // SAFETY: the pointer is to a field of what is borrowed.
    unsafe { (&raw const call.count_at).read() }
}

/// A record with room for `N` bytes of plaintext.
#[repr(C)]
struct WithPayload<const N: usize> {
    head: RawPlaintext,
    payload: [u8; N],
}

/// Reports `length` bytes from `at` on of what a call has passed; at most `N` bytes, and not none.
#[inline(always)]
pub(super) fn part<const N: usize>(call: &TlsCall, at: u64, length: u64) {
    const { assert!(N.is_power_of_two()) };
    let Some(mut entry) = emit::reserve::<WithPayload<N>>() else { return };
    let record: *mut WithPayload<N> = entry.as_mut_ptr();
    // The verifier has to see both bounds, 1 to N, on the very register that it checks.
    let captured = (core::hint::black_box(length as u32 - 1) & (N as u32 - 1)) + 1;
    // SAFETY: `record` points to room for one in the ring buffer, and `captured` is at most N. The helper checks the address
    // in the process.
    let is_read = unsafe {
        write_plaintext(&raw mut (*record).head, call, at, captured, captured);
        read_user((&raw mut (*record).payload).cast(), captured, call.buffer.wrapping_add(at))
    };
    if is_read {
        emit::submit(entry, N > UNHURRIED_MAX);
    } else {
        entry.discard(BPF_RB_NO_WAKEUP.into());
        emit::lost();
    }
}

/// Reports that `length` bytes from `at` on of what a call has passed did so.
#[inline(always)]
pub(super) fn header(call: &TlsCall, at: u64, length: u64) {
    let Some(mut record) = emit::reserve::<RawPlaintext>() else { return };
    let length = if length > u64::from(u32::MAX) { u32::MAX } else { length as u32 };
    // SAFETY: it points to room for one in the ring buffer.
    unsafe { write_plaintext(record.as_mut_ptr(), call, at, length, 0) };
    emit::submit(record, false);
}

/// # Safety
/// The pointer is to room for a record in the ring buffer.
#[inline(always)]
pub(super) unsafe fn write_plaintext(
    record: *mut RawPlaintext,
    call: &TlsCall,
    at: u64,
    length: u32,
    captured: u32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        write_header(&raw mut (*record).header, KIND_PLAINTEXT);
        write_object(&raw mut (*record).object, &call.object, call.generation);
        (*record).offset = call.offset.wrapping_add(at);
        (*record).socket = call.socket;
        (*record).length = length;
        (*record).captured = captured;
        (*record).direction = call.direction();
        (*record).library = call.library();
        (*record).attributes = call.attributes as u8;
        (*record).padding = [0; 5];
    }
}

/// Keeps what is handed out with its call: of one that uses a socket itself, that says more.
#[inline(always)]
fn note_ciphertext(ctx: &ProbeContext) {
    let Some(thread) = TLS_THREADS.get_ptr_mut(bpf_get_current_pid_tgid()) else { return };
    // SAFETY: the pointer is to a value of the map, which only this thread uses.
    let Some(call) = (unsafe { &mut *thread }).current() else { return };
    if call.socket != 0 || call.ciphertext_length != 0 {
        return;
    }
    let length = registers::third(ctx) as i32;
    if call.is_over(registers::stack_pointer(ctx)) || length < CIPHERTEXT_MIN as i32 {
        return;
    }
    let captured = if length < CIPHERTEXT_MAX as i32 { length as u32 } else { CIPHERTEXT_MAX as u32 };
    let size = (core::hint::black_box(captured - 1) & (CIPHERTEXT_MAX as u32 - 1)) + 1;
    // SAFETY: there is room for it. The helper checks the address in the process.
    let is_read = unsafe { read_user((&raw mut call.ciphertext).cast(), size, registers::second(ctx)) };
    let [kind, major, ..] = call.ciphertext;
    if is_read && (CONTENT_TYPE_MIN..=CONTENT_TYPE_MAX).contains(&kind) && major == VERSION_MAJOR {
        call.ciphertext_length = captured.into();
    }
}

#[inline(always)]
fn report_ciphertext(call: &TlsCall) {
    let Some(mut entry) = emit::reserve::<RawCiphertext>() else { return };
    let record = entry.as_mut_ptr();
    // SAFETY: it points to room for one in the ring buffer.
    unsafe {
        write_header(&raw mut (*record).header, KIND_CIPHERTEXT);
        write_object(&raw mut (*record).object, &call.object, call.generation);
        (*record).captured = call.ciphertext_length as u32;
        (*record).direction = DIRECTION_OUT;
        (*record).padding = [0; 3];
        (*record).bytes = call.ciphertext;
    }
    emit::submit(entry, false);
}

/// Copies bytes of the process that runs now; false if not all of them can be read.
///
/// # Safety
/// `to` has room for `size` bytes.
#[inline(always)]
pub(super) unsafe fn read_user(to: *mut u8, size: u32, from: u64) -> bool {
    // SAFETY: the caller's promise. The helper checks the address in the process.
    unsafe { bpf_probe_read_user(to.cast(), size, from as *const c_void) == 0 }
}
