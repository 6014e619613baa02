//! Why the kernel does not take a segment that arrives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// Why the kernel refuses a segment: in its own words (`enum skb_drop_reason`), where it has any.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum Refusal {
            $($(#[doc = $doc])* #[serde(rename = $text)] $name,)*
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in a recording.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    /// It has none of ACK, RST and SYN; in SYN_SENT, it is no SYN.
    Flags = "TCP_FLAGS",
    /// Its timestamp is older than the last one (RFC 7323, section 5).
    Paws = "TCP_RFC7323_PAWS",
    /// It lies beyond the window.
    InvalidSequence = "TCP_INVALID_SEQUENCE",
    /// A FIN that lies before what was received.
    OldSequence = "TCP_OLD_SEQUENCE",
    /// An RST without the expected number (RFC 5961, section 3.2).
    Reset = "TCP_RESET",
    /// A SYN on a connection that is synchronised (RFC 5961, section 4.2).
    InvalidSyn = "TCP_INVALID_SYN",
    /// It acknowledges what was acknowledged long ago (RFC 5961, section 5.2).
    TooOldAck = "TCP_TOO_OLD_ACK",
    /// It acknowledges what was never sent.
    AckUnsentData = "TCP_ACK_UNSENT_DATA",
    /// The window is closed.
    ZeroWindow = "TCP_ZEROWINDOW",
    /// It begins where the window ends.
    OverWindow = "TCP_OVERWINDOW",
    /// Data for a socket that is closed (`enum sk_rst_reason`).
    AbortOnData = "TCP_ABORT_ON_DATA",
    /// It answers a SYN and acknowledges another number.
    InvalidAckSequence = "TCP_INVALID_ACK_SEQUENCE",
    /// It lies behind the peer's FIN; the kernel has no name for that.
    AfterFin = "TCP_AFTER_FIN",
    /// It ends beyond the window.
    InvalidEndSequence = "TCP_INVALID_END_SEQUENCE",
    /// Its checksum is wrong.
    Checksum = "TCP_CSUM",
}

/// What the kernel makes of a segment that arrives, by what its socket says at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It takes it, as far as is known.
    #[default]
    Taken,
    /// It takes what the segment says of the connection, and not its payload.
    WithoutPayload,
    /// All of it had been received: a retransmit.
    Old,
    /// It refuses it.
    Refused(Refusal),
    /// It refuses it, unless what it compares with changes in that moment: what acknowledges it tells.
    Unsure(Refusal),
}

/// How many segments were refused, by the reason.
pub type Refusals = BTreeMap<Refusal, u64>;
