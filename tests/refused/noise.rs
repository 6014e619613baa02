//! Kinds of segments that do not belong to the conversation.

/// What a segment that does not belong to the conversation is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Noise {
    WithoutAck,
    AckOfUnsent,
    OldAck,
    BadChecksum,
    BeyondTheWindow,
    /// What was sent before, with other bytes.
    OldData,
    /// The same, and behind it the next bytes as they are.
    OldAndNew,
    Syn,
    SynAck,
    /// The SYN again that began the conversation, with what has no place there.
    OwnSynFin,
    OwnSynRst,
    OwnSynData,
    OwnSynAck,
    Rst,
    OldRst,
    FinWithBadAck,
    OldFin,
    ZeroWindow,
    /// The next bytes but one, as they are.
    Early,
}

pub(crate) const NOISES: [Noise; 19] = [
    Noise::WithoutAck,
    Noise::AckOfUnsent,
    Noise::OldAck,
    Noise::BadChecksum,
    Noise::BeyondTheWindow,
    Noise::OldData,
    Noise::OldAndNew,
    Noise::Syn,
    Noise::SynAck,
    Noise::OwnSynFin,
    Noise::OwnSynRst,
    Noise::OwnSynData,
    Noise::OwnSynAck,
    Noise::Rst,
    Noise::OldRst,
    Noise::FinWithBadAck,
    Noise::OldFin,
    Noise::ZeroWindow,
    Noise::Early,
];
