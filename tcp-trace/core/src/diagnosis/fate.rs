//! What became of an attempt of a gateway to get an answer, with what is known of why.

use tcp_trace_model::record::{Connection, How, TlsEnd, TlsOutcome};

use super::{
    failed_exchanges::{Because, Fault, Stop},
    resets::Origin,
    silence::{Silence, is_unacknowledged},
};

/// What became of an attempt to get an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// The connect was answered with an RST.
    Refused,
    /// No SYN was answered.
    SynUnanswered,
    /// There was no way to the host.
    NoRoute,
    /// This host had no local port left for the connect.
    NoPort,
    /// The connect failed before a SYN was sent.
    NoSyn,
    /// The TLS handshake did not come about.
    Handshake(Handshake),
    /// The kept connection was being closed as the request was sent, for this reason; else the exchange before had ended it.
    Race(Option<Because>),
    /// An RST came in place of a response.
    Reset(Rst),
    /// A FIN came in place of a response.
    Closed,
    /// The response broke off.
    Cut,
    /// The connection failed.
    Failed,
    /// No answer came in time.
    Silent(Delivery),
    /// What came is no HTTP.
    Invalid,
    /// What came is TLS, and the gateway had spoken HTTP.
    InvalidTls,
    /// A response with this status came.
    Answered(u16),
}

/// Why a TLS handshake of the gateway did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Handshake {
    /// The gateway sent an alert.
    OwnAlert,
    /// The upstream sent one.
    Alert,
    /// The answer is not TLS.
    NotTls,
    /// The connection ended without that either end said why.
    Ended,
}

/// What an RST means that came in place of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rst {
    /// The upstream closed with received data unread.
    Unread,
    /// Its socket was gone before the request was sent.
    Gone,
    /// By who sent it.
    From(Origin),
}

/// How far a request came that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Delivery {
    /// It was sent; more is not known.
    Sent,
    /// Nothing was sent.
    Nothing,
    /// It was not acknowledged.
    NotAcknowledged,
    /// Nobody accepted the connection.
    NotAccepted,
    /// The process did not read it, or not all of it.
    NotRead,
    /// The gateway did not send it to the end, because the upstream's window was closed.
    WindowClosed,
    /// The gateway did not send it to the end.
    Unfinished,
}

impl Fate {
    /// Whether a connect failed, and the kernel says when.
    pub(super) fn is_told(self) -> bool {
        matches!(self, Self::Refused | Self::NoRoute | Self::NoPort | Self::NoSyn)
    }

    /// Of an exchange that failed in this way.
    pub(super) fn of_fault(fault: Fault) -> Self {
        match fault {
            Fault::KeepaliveRace(_, because) => Self::Race(Some(because)),
            Fault::UsedAfterClose => Self::Race(None),
            Fault::Unread => Self::Reset(Rst::Unread),
            Fault::NoResponse(Stop::Reset, silence) => Self::Reset(match silence {
                Silence::ServerReset(origin) => Rst::From(origin),
                Silence::ServerEnded => Rst::From(Origin::ProcessEnded),
                Silence::SocketGone => Rst::Gone,
                _ => Rst::From(Origin::Unknown),
            }),
            Fault::NoResponse(Stop::Closed, _) => Self::Closed,
            Fault::NoResponse(Stop::Failed, _) => Self::Failed,
            Fault::NoResponse(Stop::GaveUp | Stop::Waiting, silence) => Self::Silent(match silence {
                Silence::NotAcknowledged => Delivery::NotAcknowledged,
                Silence::NotAccepted(_) => Delivery::NotAccepted,
                Silence::NotRead(_) | Silence::PartlyRead(_) => Delivery::NotRead,
                Silence::WindowClosed(_) => Delivery::WindowClosed,
                Silence::Unfinished(_) | Silence::AwaitsContinue(_) => Delivery::Unfinished,
                _ => Delivery::Sent,
            }),
            Fault::Cut(_) => Self::Cut,
        }
    }

    /// Of a connection whose TLS handshake failed, or had not ended when this end closed. The connection's own failure says more.
    pub(super) fn of_handshake(summary: &Connection) -> Option<Self> {
        let tls = summary.tls.as_deref()?;
        let has_failed = matches!(summary.close.how, How::Timeout | How::Error);
        let handshake = match tls.outcome {
            TlsOutcome::NotTls => Handshake::NotTls,
            TlsOutcome::Alert => match tls.alerts.iter().find(|alert| alert.fatal != Some(false)) {
                Some(alert) if alert.by == TlsEnd::Client => Handshake::OwnAlert,
                Some(_) => Handshake::Alert,
                None => Handshake::Ended,
            },
            TlsOutcome::Closed | TlsOutcome::Open if !has_failed => Handshake::Ended,
            _ => return None,
        };
        Some(Self::Handshake(handshake))
    }
}

impl Delivery {
    /// Of what was sent on a connection without HTTP that can be read.
    pub(super) fn of(summary: &Connection) -> Self {
        if is_unacknowledged(summary) {
            Self::NotAcknowledged
        } else if summary.bytes.sent == 0 {
            Self::Nothing
        } else {
            Self::Sent
        }
    }
}
