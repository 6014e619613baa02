//! In which call of a TLS library a thread is, and what of a call's plaintext is reported.

use crate::{
    CALL_COUNTS_AT_FIFTH, CALL_COUNTS_AT_FOURTH, CALL_HAS_NO_BUFFER, CALL_IS_SILENT, CALL_LIBRARY_SHIFT,
    CALL_RECEIVES, CALL_RETURNS_LONG, CIPHERTEXT_MAX, CIPHERTEXTS_ALL, DIRECTION_IN, DIRECTION_OUT, TlsKey,
    TlsSkip,
};

/// A call of a TLS library that has not returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsCall {
    /// Whose plaintext passes; its direction is 0.
    pub object: TlsKey,
    /// Stack pointer at the call's first instruction, and so at its last; 0 when there is no call.
    pub sp: u64,
    /// Where the plaintext is.
    pub buffer: u64,
    /// Where the number of bytes is, or 0 when it is returned; when the call has returned, that number.
    pub count_at: u64,
    /// Cookie of the socket that the thread used since the call began; 0 when it used none, or several.
    pub socket: u64,
    /// The hook's cookie.
    pub hook: u64,
    /// 1 once a call inside this one has passed what this one will return.
    pub is_reported: u32,
    /// 1 when the socket is excluded.
    pub is_excluded: u16,
    /// 1 once the thread has used several sockets: a callback of the program does so, too.
    pub has_several: u16,
    /// When it has returned: how many bytes passed in its direction before.
    pub offset: u64,
    /// When it has returned: which object at its address it was.
    pub generation: u32,
    /// When it has returned: [`LATE`](crate::LATE).
    pub attributes: u32,
    /// The beginning of the first TLS record that was handed out since the call began.
    pub ciphertext: [u8; CIPHERTEXT_MAX],
    /// How many bytes of it there are.
    pub ciphertext_length: u64,
}

/// The calls of one thread, the outer one first. A library can carry the TLS of another session: a client of an HTTPS proxy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsThread {
    /// The outer call.
    pub outer: TlsCall,
    /// The call inside it.
    pub inner: TlsCall,
}

/// The calls of one goroutine: it can move to another thread while it is in one, and its stack to another place. So stack pointers are what
/// they are below the stack's upper end, as `usize` has it: that moves with it, and they are in the order of those of a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Goroutine {
    /// Its calls.
    pub calls: TlsThread,
    /// Where its stack begins and ends: the first field of `g`, which C code relies on (`runtime/cgo`).
    pub stack: [u64; 2],
}

impl Goroutine {
    /// A stack pointer, relative to the stack's upper end.
    #[inline(always)]
    pub fn relative(&self, sp: u64) -> u64 {
        sp.wrapping_sub(self.stack[1])
    }

    /// An address that a call gets, the same way if it is one in the stack: then it moves.
    #[inline(always)]
    pub fn kept(&self, address: u64) -> u64 {
        let [from, to] = self.stack;
        if address >= from && address < to { self.relative(address) } else { address }
    }

    /// Ends the call that returns with this stack pointer, as [`TlsThread::end`] does: its buffer is where it is now.
    #[inline(always)]
    pub fn end(&mut self, sp: u64) -> Option<&mut TlsCall> {
        let call = self.calls.end(sp)?;
        // No process has addresses that are negative.
        if (call.buffer as i64) < 0 {
            call.buffer = call.buffer.wrapping_add(self.stack[1]);
        }
        Some(call)
    }
}

impl TlsThread {
    /// Whether a call began with the stack pointer `sp` that is not over.
    #[inline(always)]
    pub fn is_in(&self, sp: u64) -> bool {
        self.inner.sp == sp || self.outer.sp == sp
    }

    /// Whether the call that begins with the stack pointer `sp` did so before, and was reported then: a function of Go begins again when its
    /// stack had to grow, and when the scheduler wanted its goroutine to stop.
    #[inline(always)]
    pub fn is_again(&self, sp: u64, object: u64, length: u64) -> bool {
        let is_it = |call: &TlsCall| {
            call.sp == sp && call.is_reported != 0 && call.object.address == object && call.count_at == length
        };
        is_it(&self.inner) || is_it(&self.outer)
    }

    /// Where a call that begins with the stack pointer `sp` belongs. `None` for one inside two others. A call from which the thread
    /// has returned unseen has a lower place in the stack, or is taken for an outer one.
    #[inline(always)]
    pub fn begin(&mut self, sp: u64) -> Option<&mut TlsCall> {
        if self.outer.sp <= sp {
            self.inner.sp = 0;
            Some(&mut self.outer)
        } else if self.inner.sp <= sp {
            Some(&mut self.inner)
        } else {
            None
        }
    }

    /// The innermost call that has not returned.
    #[inline(always)]
    pub fn current(&mut self) -> Option<&mut TlsCall> {
        if self.inner.sp != 0 {
            Some(&mut self.inner)
        } else if self.outer.sp != 0 {
            Some(&mut self.outer)
        } else {
            None
        }
    }

    /// The call that returns with the stack pointer `sp`: it is over. `None` if it was not seen.
    #[inline(always)]
    pub fn end(&mut self, sp: u64) -> Option<&mut TlsCall> {
        let Self { outer, inner } = self;
        if inner.sp == sp {
            inner.sp = 0;
            if inner.object.address == outer.object.address {
                if outer.is_silent() {
                    // gnutls_record_uncork() that calls gnutls_record_send().
                    inner.is_reported = 1;
                } else if inner.direction() == outer.direction() {
                    // SSL_read_ex() that calls SSL_read().
                    outer.is_reported = 1;
                }
            }
            Some(inner)
        } else if outer.sp == sp {
            outer.sp = 0;
            inner.sp = 0;
            Some(outer)
        } else {
            None
        }
    }

    /// Whether no call has begun that is not over.
    #[inline(always)]
    pub fn is_outside(&self) -> bool {
        self.outer.sp == 0 && self.inner.sp == 0
    }
}

impl TlsCall {
    /// Notes that the thread uses a socket. One that is not the call's own is used by a callback of the program; which of two is not known.
    #[inline(always)]
    pub fn note_socket(&mut self, cookie: u64, is_excluded: bool) {
        if self.has_several != 0 || self.socket == cookie {
            return;
        }
        if self.socket == 0 {
            self.socket = cookie;
            self.is_excluded = is_excluded.into();
        } else {
            self.socket = 0;
            self.is_excluded = 0;
            self.has_several = 1;
        }
    }

    /// Whether nothing of it is reported.
    #[inline(always)]
    pub fn is_silent(&self) -> bool {
        self.hook & CALL_IS_SILENT != 0
    }

    /// Whether it is known by now that the call is over, when a function that it may have called begins with the stack pointer `sp`.
    #[inline(always)]
    pub fn is_over(&self, sp: u64) -> bool {
        sp >= self.sp
    }

    /// [`DIRECTION_OUT`] or [`DIRECTION_IN`].
    #[inline(always)]
    pub fn direction(&self) -> u8 {
        if self.hook & CALL_RECEIVES == 0 { DIRECTION_OUT } else { DIRECTION_IN }
    }

    /// One of the `LIBRARY_` constants.
    #[inline(always)]
    pub fn library(&self) -> u8 {
        (self.hook >> CALL_LIBRARY_SHIFT) as u8
    }

    /// Whether the plaintext can be read.
    #[inline(always)]
    pub fn has_buffer(&self) -> bool {
        self.hook & CALL_HAS_NO_BUFFER == 0
    }
}

/// Which of its arguments says where a call puts the number of bytes.
#[inline(always)]
pub fn count_argument(hook: u64) -> Option<usize> {
    if hook & CALL_COUNTS_AT_FOURTH != 0 {
        Some(3)
    } else if hook & CALL_COUNTS_AT_FIFTH != 0 {
        Some(4)
    } else {
        None
    }
}

/// How many bytes passed in a call that returned `returned`: `None` when it is where [`TlsCall::count_at`] says.
#[inline(always)]
pub fn count_returned(hook: u64, returned: u64) -> Option<u64> {
    let number = if hook & CALL_RETURNS_LONG != 0 { returned as i64 } else { (returned as i32).into() };
    if number <= 0 {
        Some(0)
    } else if hook & (CALL_COUNTS_AT_FOURTH | CALL_COUNTS_AT_FIFTH) != 0 {
        None
    } else {
        Some(number as u64)
    }
}

/// The pieces of what a connection of rustls takes to send it: a list of addresses and lengths.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Where the list is.
    pub at: u64,
    /// How many there are.
    pub length: u64,
}

impl Chunks {
    /// Those of `OutboundChunks` of rustls 0.23 at the address `at`, of which `count` bytes were taken: `Single(&[u8])`, which has 0 where
    /// `Multiple { chunks: &[&[u8]], start, end }` has an address. `None` if it cannot be that, or a part of several pieces, which only is handed over
    /// when keys change meanwhile.
    #[inline(always)]
    pub fn of([first, second, third, fourth]: [u64; 4], at: u64, count: u64) -> Option<Self> {
        if first == 0 {
            (count <= third).then_some(Self { at: at.wrapping_add(8), length: 1 })
        } else {
            (third == 0 && count <= fourth).then_some(Self { at: first, length: second })
        }
    }
}

/// How far behind the state of a connection of rustls is what is written, if it is between that and something else that is `behind` it in the same
/// connection.
#[inline(always)]
pub fn distance(state: u64, behind: u64, written: u64) -> Option<u64> {
    (state <= written && written < behind).then(|| written - state)
}

/// Address and length of a `Payload` of rustls 0.23: `Borrowed(&[u8])`, or `Owned(Vec<u8>)`, whose capacity cannot be what stands for the former.
#[inline(always)]
pub fn received([capacity, address, length, _]: [u64; 4]) -> Option<(u64, u64)> {
    (capacity == 1 << 63 || length <= capacity && capacity < 1 << 63).then_some((address, length))
}

/// How many bytes from `offset` on are not needed.
#[inline(always)]
pub fn skipped(skip: Option<&TlsSkip>, generation: u32, offset: u64) -> u64 {
    match skip {
        Some(skip) if skip.generation == generation => skip.until.saturating_sub(offset),
        _ => 0,
    }
}

/// Whether the ciphertext with this number, from 1 on, is reported.
#[inline(always)]
pub fn is_ciphertext_reported(number: u32) -> bool {
    number <= CIPHERTEXTS_ALL || number & (number - 1) == 0
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
