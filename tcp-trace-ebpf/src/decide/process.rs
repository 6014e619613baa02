//! The process filter's state machine: whether the process of a socket is selected, decided in process context and
//! remembered at the socket, where programs in any context find it.
//!
//! The answer is that of user space: a connection is selected from the first process on that is. So nothing is
//! decided of sockets whose process user space may have learnt elsewhere: those that are older than tracing, until it
//! has loaded the list of them. Listeners are left to it, because others accept from them, and connections to DNS
//! servers, because a connection that is selected may follow a lookup.

use crate::{
    DNS_PORT,
    tcp::{CLOSE, ESTABLISHED, FIN, RST, SYN_RECV, SYN_SENT},
};

/// What is decided of a socket.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: user space decides.
    #[default]
    Undecided = 0,
    /// The socket was accepted; the first process that uses it will decide.
    Pending = 1,
    /// The process is selected, or only user space can tell.
    Selected = 2,
    /// The process is excluded. User space knows the socket: transitions, FIN and RST are reported, so that it can forget
    /// the connection and knows what becomes of the other end, if that is on this host.
    Excluded = 3,
    /// The process is excluded, and nothing was ever reported of this incarnation of the socket.
    ExcludedUnreported = 4,
}

impl Verdict {
    /// Whether the process is excluded.
    #[inline(always)]
    pub const fn is_excluded(self) -> bool {
        matches!(self, Self::Excluded | Self::ExcludedUnreported)
    }

    /// Whether a segment with these control bits may be reported.
    #[inline(always)]
    pub const fn admits(self, flags: u8) -> bool {
        match self {
            Self::Undecided | Self::Pending | Self::Selected => true,
            Self::Excluded => flags & (FIN | RST) != 0,
            Self::ExcludedUnreported => false,
        }
    }
}

/// How a verdict is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is this one.
    Keep(Verdict),
    /// The process that runs now decides: this one when it is excluded, else [`Verdict::Selected`].
    Judge(Verdict),
}

impl Step {
    /// The verdict, where `is_excluded` says whether the process that runs now is excluded; it is asked only when needed.
    #[inline(always)]
    pub fn verdict(self, peer_port: u16, is_excluded: impl FnOnce() -> bool) -> Verdict {
        match self {
            Self::Keep(verdict) => verdict,
            Self::Judge(excluded) if peer_port != DNS_PORT && is_excluded() => excluded,
            Self::Judge(_) => Verdict::Selected,
        }
    }
}

/// At a transition, which is made in process context when `is_by_process`. The verdict is to be remembered once the
/// transition is reported.
///
/// `known` is the verdict so far, `is_process_known` whether a process of the socket was reported, and
/// `is_existing_loaded` whether user space has the list of the sockets that are older than tracing.
#[inline(always)]
pub fn at_transition(
    (old, new): (u8, u8),
    is_by_process: bool,
    known: Verdict,
    is_process_known: bool,
    is_existing_loaded: bool,
) -> Step {
    if (old, new) == (CLOSE, SYN_SENT) {
        return Step::Judge(if is_existing_loaded { Verdict::ExcludedUnreported } else { Verdict::Excluded });
    }
    if old == CLOSE {
        return Step::Keep(Verdict::Undecided);
    }
    match known {
        Verdict::Undecided
            if (old, new) == (SYN_RECV, ESTABLISHED) && !is_process_known && is_existing_loaded =>
        {
            Step::Keep(Verdict::Pending)
        }
        known if is_by_process => at_use(known),
        known => Step::Keep(known),
    }
}

/// When a process reads or writes: the first of an accepted socket, or another one than before. What is selected stays so.
#[inline(always)]
pub fn at_use(known: Verdict) -> Step {
    match known {
        Verdict::Pending => Step::Judge(Verdict::Excluded),
        Verdict::Excluded | Verdict::ExcludedUnreported => Step::Judge(known),
        Verdict::Undecided | Verdict::Selected => Step::Keep(known),
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
