//! Which answer belongs to which question, by socket, transaction and question; and what got none.

use std::collections::BTreeMap;

use tcp_trace_model::{
    event::{Cookie, Direction, Endpoints, Owner},
    lookup::{Answer, Outcome, Question, Transport},
    record::ConnectionId,
    time::Time,
};

use super::message::{Message, parse};

/// How long an answer is waited for since the question was last sent, in microseconds: twice what resolvers wait
/// before they ask again.
pub const ANSWER_TIMEOUT_US: u64 = 10_000_000;
/// How long a lookup that is over waits for its process to become known, in microseconds.
pub const OWNER_PATIENCE_US: u64 = 100_000;
/// Questions that wait for an answer, and lookups that wait for their process, at the same time; further ones are
/// counted as lost.
pub const OPEN_MAX: usize = 16_384;

/// Where a message was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The asking socket.
    pub cookie: Cookie,
    /// Its ends: the server is the peer.
    pub endpoints: Endpoints,
    /// Inode number of its network namespace, when known.
    pub netns: Option<u32>,
    /// What carried it.
    pub transport: Transport,
    /// The connection that carried it.
    pub connection: Option<ConnectionId>,
    /// The asking process, when known already.
    pub owner: Option<Owner>,
}

/// A lookup that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Where the question was seen.
    pub source: Source,
    /// The asking process, when known.
    pub owner: Option<Owner>,
    /// What was asked, when it could be understood.
    pub question: Option<Question>,
    /// When the query was first sent.
    pub started: Time,
    /// When the answer arrived, or the lookup was given up.
    pub ended: Time,
    /// From the first question to the answer.
    pub duration_us: Option<u64>,
    /// How often the question was sent again.
    pub retransmits: u32,
    /// The answer's code.
    pub rcode: Option<String>,
    /// The answer's records.
    pub answers: Vec<Answer>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was wrong with a message.
    pub error: Option<String>,
}

/// A question without an answer.
#[derive(Debug)]
struct Open {
    source: Source,
    question: Option<Question>,
    started: Time,
    last_sent: Time,
    retransmits: u32,
    /// Events were lost since.
    is_uncertain: bool,
}

/// Socket, transaction, and a number that tells further questions of the same transaction apart.
type Key = (Cookie, u16, u64);

/// The lookups that are going on.
#[derive(Debug, Default)]
pub struct Lookups {
    open: BTreeMap<Key, Open>,
    next: u64,
    /// Over, but of an unknown process.
    ownerless: Vec<Lookup>,
    lost: u64,
}

impl Lookups {
    /// Takes a message. `length` is that of the whole message, of which `bytes` may be the beginning. Lookups that
    /// are over are appended.
    pub fn message(
        &mut self,
        time: Time,
        source: Source,
        direction: Direction,
        (bytes, length): (&[u8], usize),
        over: &mut Vec<Lookup>,
    ) {
        let mut message = match parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                let open = Open::new(time, source, None);
                self.over(open.malformed(time, error.to_string()), over);
                return;
            }
        };
        if bytes.len() < length {
            message.error = Some(format!("only the first {} of its {length} bytes were seen", bytes.len()));
        }
        match (direction, message.is_response) {
            (Direction::Out, false) => self.question(time, source, message, over),
            (Direction::In, true) => self.answer(time, &source, message, over),
            // This socket is a server's, whose client uses port 53 too.
            _ => {}
        }
    }

    fn question(&mut self, time: Time, source: Source, message: Message, over: &mut Vec<Lookup>) {
        let Message { id, question, error, .. } = message;
        if let Some(error) = error {
            let open = Open::new(time, source, question);
            self.over(open.malformed(time, error), over);
            return;
        }
        let again = self.of_transaction(source.cookie, id).find(|(_, open)| {
            open.source.endpoints == source.endpoints && is_same(open.question.as_ref(), question.as_ref())
        });
        if let Some((_, open)) = again {
            open.retransmits += 1;
            open.last_sent = time;
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.lost += 1;
            return;
        }
        self.next += 1;
        self.open.insert((source.cookie, id, self.next), Open::new(time, source, question));
    }

    fn answer(&mut self, time: Time, source: &Source, message: Message, over: &mut Vec<Lookup>) {
        let question = message.question.as_ref();
        let is_answered = |open: &Open| question.is_some() && is_same(open.question.as_ref(), question);
        let mut answered = None;
        for (key, open) in self.of_transaction(source.cookie, message.id) {
            let is_of_server = open.source.endpoints.peer == source.endpoints.peer;
            // A server that does not understand a question need not repeat it.
            if is_of_server && (question.is_none() || is_answered(open)) {
                answered = Some(*key);
                break;
            }
            // Where this host translates addresses, a question leaves for another one than the socket asks, and from which
            // the answer comes.
            if answered.is_none() && is_answered(open) {
                answered = Some(*key);
            }
        }
        // Without a question it is a second answer, or its question is older than the session, or it is forged.
        let Some(key) = answered else { return };
        if let Some(mut open) = self.open.remove(&key) {
            open.source.endpoints = source.endpoints;
            self.over(open.answered(time, message), over);
        }
    }

    fn of_transaction(&mut self, cookie: Cookie, id: u16) -> impl Iterator<Item = (&Key, &mut Open)> {
        self.open.range_mut((cookie, id, 0)..=(cookie, id, u64::MAX))
    }

    /// Learns which process asked what was asked last through a socket.
    pub fn owner(&mut self, cookie: Cookie, owner: &Owner, over: &mut Vec<Lookup>) {
        for (_, open) in self.open.range_mut((cookie, 0, 0)..=(cookie, u16::MAX, u64::MAX)) {
            open.source.owner.get_or_insert_with(|| owner.clone());
        }
        let is_its = |lookup: &mut Lookup| lookup.source.cookie == cookie;
        over.extend(self.ownerless.extract_if(.., is_its).map(|mut lookup| {
            lookup.owner = Some(owner.clone());
            lookup
        }));
    }

    /// Gives up what waits too long.
    pub fn tick(&mut self, now: Time, over: &mut Vec<Lookup>) {
        self.give_up(now, over, |_, open| now.micros_since(open.last_sent) >= ANSWER_TIMEOUT_US);
        let is_late = |lookup: &mut Lookup| now.micros_since(lookup.ended) >= OWNER_PATIENCE_US;
        over.extend(self.ownerless.extract_if(.., is_late));
    }

    /// Notes that events were lost: answers may be among them.
    pub fn events_lost(&mut self) {
        self.open.values_mut().for_each(|open| open.is_uncertain = true);
    }

    /// Ends the lookups of a connection that is over.
    pub fn closed(&mut self, cookie: Cookie, now: Time, over: &mut Vec<Lookup>) {
        self.give_up(now, over, |(of, ..), _| *of == cookie);
    }

    /// Ends the session.
    pub fn finish(&mut self, now: Time, over: &mut Vec<Lookup>) {
        self.give_up(now, over, |_, _| true);
        over.append(&mut self.ownerless);
    }

    /// Lookups that found no room since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn give_up(
        &mut self,
        now: Time,
        over: &mut Vec<Lookup>,
        mut is_over: impl FnMut(&Key, &mut Open) -> bool,
    ) {
        if self.open.is_empty() {
            return;
        }
        let mut given_up: Vec<_> =
            self.open.extract_if(.., |key, open| is_over(key, open)).map(|(_, open)| open).collect();
        given_up.sort_by_key(|open| open.started);
        for open in given_up {
            self.over(open.unanswered(now), over);
        }
    }

    fn over(&mut self, lookup: Lookup, over: &mut Vec<Lookup>) {
        if lookup.owner.is_some() || self.ownerless.len() >= OPEN_MAX {
            over.push(lookup);
        } else {
            self.ownerless.push(lookup);
        }
    }
}

impl Open {
    fn new(time: Time, source: Source, question: Option<Question>) -> Self {
        Self { source, question, started: time, last_sent: time, retransmits: 0, is_uncertain: false }
    }

    fn answered(self, time: Time, message: Message) -> Lookup {
        let outcome = message.outcome(self.question.as_ref());
        let Message { rcode, answers, error, .. } = message;
        let duration_us = Some(time.micros_since(self.started));
        Lookup { rcode: Some(rcode), answers, error, duration_us, ..self.over(time, outcome) }
    }

    fn unanswered(self, now: Time) -> Lookup {
        let outcome = if self.is_uncertain { Outcome::Unseen } else { Outcome::NoAnswer };
        self.over(now, outcome)
    }

    fn malformed(self, time: Time, error: String) -> Lookup {
        Lookup { error: Some(error), ..self.over(time, Outcome::Malformed) }
    }

    fn over(self, ended: Time, outcome: Outcome) -> Lookup {
        let Self { mut source, question, started, retransmits, .. } = self;
        let owner = source.owner.take();
        Lookup {
            source,
            owner,
            question,
            started,
            ended,
            duration_us: None,
            retransmits,
            rcode: None,
            answers: Vec::new(),
            outcome,
            error: None,
        }
    }
}

fn is_same(one: Option<&Question>, other: Option<&Question>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_same(other),
        (None, None) => true,
        _ => false,
    }
}
