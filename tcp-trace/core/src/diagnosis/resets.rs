//! Where an RST came from that a client got of its server, as far as the server's end tells.

use tcp_trace_model::{
    event::State,
    record::{By, Connection, How},
};

/// Who sent it, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The server's kernel: close() with SO_LINGER of 0 seconds, or a disconnect.
    Linger,
    /// The server's kernel: the socket was destroyed from outside.
    Destroyed,
    /// The server's kernel: data came that nobody could read any more.
    DataAfterClose,
    /// The server's kernel: its process ended, with data unread or with SO_LINGER of 0 seconds.
    ProcessEnded,
    /// The server's kernel, for a reason that its name tells.
    Kernel,
    /// The server's kernel, which gives no reason: before Linux 6.10, and in some places still.
    Unnamed,
    /// Not the server's kernel, whose end was traced.
    Between,
    /// The server's end was not traced.
    Unknown,
}

impl Origin {
    /// Of the server's end, when it was traced.
    pub(super) fn of(server: Option<&Connection>) -> Self {
        let Some(server) = server else { return Self::Unknown };
        let close = &server.close;
        if close.reason.as_deref() == Some("ECONNABORTED") {
            return Self::Destroyed;
        }
        match (close.how, close.by) {
            (How::Rst, By::Local) if close.process_ended => Self::ProcessEnded,
            // What is unread has a fault of its own.
            (How::Rst, By::Local) => match close.reason.as_deref() {
                Some("TCP_STATE" | "TCP_DISCONNECT_WITH_DATA") => Self::Linger,
                Some("TCP_ABORT_ON_DATA") => Self::DataAfterClose,
                None if had_sent_fin(server) => Self::DataAfterClose,
                None => Self::Unnamed,
                Some(_) => Self::Kernel,
            },
            (How::Rst, By::Peer) | (How::Open, _) => Self::Between,
            _ => Self::Unknown,
        }
    }

    /// Why such an RST is sent.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Linger => {
                "The server's own kernel sent the RST when its process closed the socket with SO_LINGER set to 0 \
                 seconds (or disconnected it by connect() to AF_UNSPEC). That discards what is not sent yet. The \
                 process was alive."
            }
            Self::Destroyed => {
                "The server's socket was destroyed from outside its process (ECONNABORTED): by an administrator with \
                 `ss -K`, or by a program that does the same (SOCK_DESTROY), as Android's and some CNIs' do."
            }
            Self::DataAfterClose => {
                "The server had closed the socket already when more data came, so that its kernel answered with an \
                 RST."
            }
            Self::ProcessEnded => {
                "The server's process ended (it exited, or a signal killed it), and its kernel sent an RST: it does so where \
                 data is still unread, or with SO_LINGER set to 0 seconds."
            }
            Self::Kernel => {
                "The server's own kernel sent the RST, for the reason that it gives; `tcp-trace explain` has its \
                 name."
            }
            Self::Unnamed => {
                "The server's own kernel sent the RST, and gives no reason (before Linux 6.10 there is none). It does so when \
                 the process closes the socket with SO_LINGER set to 0 seconds or disconnects it, when data comes after \
                 close(), and when memory runs out."
            }
            Self::Between => {
                "The server's kernel did not send this RST: its end was traced. A device or program in between \
                 (load balancer, firewall, service mesh) sent it in the server's name."
            }
            Self::Unknown => {
                "Several causes look the same from here: the server closed with received data unread or with \
                 SO_LINGER 0, its process ended with data unread, its host restarted and no longer knows the \
                 connection, or a device in between answered in its name. A trace on the server's host tells them \
                 apart."
            }
        }
    }

    /// What to do about it.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Linger => {
                "Look for SO_LINGER in the server's program and its libraries; close without it, after the response \
                 was written."
            }
            Self::Destroyed => {
                "Find out who destroys sockets on the server's host (ss -K in scripts, connection limits by address, \
                 a CNI or VPN client that changes addresses)."
            }
            Self::DataAfterClose => {
                "Let the server read the request to its end before close(), or shutdown(SHUT_WR) and read for a while \
                 (nginx: lingering_close)."
            }
            Self::ProcessEnded => {
                "Find out why the process ended: its log, its exit status (systemctl status, docker inspect), the \
                 kernel's log (out of memory, segfault)."
            }
            Self::Kernel => "Look the reason up: tcp-trace explain NAME.",
            Self::Unnamed => {
                "Look at the server's log at this time, and for SO_LINGER in its program and its libraries."
            }
            Self::Between => {
                "Check the timeouts and limits of whatever is in between: firewall, load balancer, NAT, service mesh."
            }
            Self::Unknown => {
                "Run tcp-trace diagnose --for 60s on the server's host. Check the server's log, and exits and restarts \
                 of its process, at this time, and the timeouts of devices in between."
            }
        }
    }

    /// Whether the server's own kernel sent it.
    pub(super) fn is_of_server(self) -> bool {
        !matches!(self, Self::Between | Self::Unknown)
    }

    /// Its name in the evidence, where it is known.
    pub(super) fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Linger => "the server's kernel: SO_LINGER 0 or a disconnect",
            Self::Destroyed => "the server's kernel: the socket was destroyed from outside (ECONNABORTED)",
            Self::DataAfterClose => "the server's kernel: data came after close()",
            Self::ProcessEnded => "the server's kernel: the process ended",
            Self::Kernel | Self::Unnamed => "the server's kernel",
            Self::Between => "not the server's kernel",
            Self::Unknown => return None,
        })
    }
}

/// Whether an end had sent its FIN before.
fn had_sent_fin(end: &Connection) -> bool {
    let closing = [State::FinWait1, State::FinWait2, State::Closing, State::LastAck];
    end.states.iter().any(|span| closing.contains(&span.state))
}

#[cfg(test)]
mod tests {
    use tcp_trace_model::{event::Role, record::StateSpan};

    use super::*;
    use crate::diagnosis::testing_http::summary;

    #[test]
    fn the_servers_end_says_who_sent_the_rst() {
        for (by, how, reason, process_ended, expected) in [
            (By::Local, How::Rst, Some("TCP_STATE"), false, Origin::Linger),
            (By::Local, How::Rst, None, false, Origin::Unnamed),
            (By::Local, How::Rst, Some("TCP_ABORT_ON_LINGER"), false, Origin::Kernel),
            (By::Local, How::Rst, Some("TCP_STATE"), true, Origin::ProcessEnded),
            (By::Local, How::Rst, Some("ECONNABORTED"), false, Origin::Destroyed),
            (By::None, How::Error, Some("ECONNABORTED"), false, Origin::Destroyed),
            (By::Local, How::Rst, Some("TCP_ABORT_ON_DATA"), false, Origin::DataAfterClose),
            (By::Local, How::Rst, Some("TCP_ABORT_ON_MEMORY"), false, Origin::Kernel),
            (By::Peer, How::Rst, Some("ECONNRESET"), false, Origin::Between),
            (By::None, How::Open, None, false, Origin::Between),
        ] {
            let mut server = summary(Role::Server, by, how);
            server.close.reason = reason.map(str::to_owned);
            server.close.process_ended = process_ended;
            assert_eq!(Origin::of(Some(&server)), expected, "{:?}", server.close);
        }
        assert_eq!(Origin::of(None), Origin::Unknown);
    }

    #[test]
    fn a_kernel_without_reasons_blames_no_so_linger() {
        let mut server = summary(Role::Server, By::Local, How::Rst);
        let span = StateSpan { state: State::FinWait2, ..server.states[0].clone() };
        server.states.push(span);
        assert_eq!(Origin::of(Some(&server)), Origin::DataAfterClose);
        server.close.reason = Some("TCP_STATE".to_owned());
        assert_eq!(Origin::of(Some(&server)), Origin::Linger);
        assert!(!Origin::Unnamed.name().unwrap_or_default().contains("LINGER"));
    }

    #[test]
    fn only_where_nothing_is_known_several_causes_are_named() {
        for origin in [Origin::Linger, Origin::Destroyed, Origin::ProcessEnded, Origin::Between] {
            assert!(!origin.why().contains("crashed"), "{origin:?}");
            assert!(origin.name().is_some());
        }
        assert!(Origin::Unknown.why().contains("Several causes"));
    }
}
