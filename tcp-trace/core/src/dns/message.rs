//! One DNS message (RFC 1035, section 4), and what it says of a lookup.

use std::{collections::HashSet, net::IpAddr};

use domain::{
    base::{self, ParsedName, iana::Rcode, message::RecordSection, name::ToLabelIter, wire::ParseError},
    rdata::AllRecordData,
};
use tcp_trace_model::lookup::{Answer, Outcome, Question};
use thiserror::Error;

/// Answers of one message that are kept; that there were more is told.
pub const ANSWERS_MAX: usize = 256;
/// Bytes of one answer's data that are kept.
pub(super) const DATA_BYTES_MAX: usize = 1024;

/// Why bytes are no DNS message at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{length} bytes are too short for a DNS header")]
pub struct Malformed {
    /// How many there were.
    pub length: usize,
}

/// A message, as far as it can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The transaction.
    pub id: u16,
    /// Whether it is an answer.
    pub is_response: bool,
    /// Whether there is more than fits.
    pub is_truncated: bool,
    /// The answer's code, `NOERROR`.
    pub rcode: String,
    /// Its first question.
    pub question: Option<Question>,
    /// Its answers, in their order.
    pub answers: Vec<Answer>,
    /// What could not be understood of it.
    pub error: Option<String>,
}

/// Understands as much of a message as can be.
pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    let message = base::Message::from_slice(bytes).map_err(|_| Malformed { length: bytes.len() })?;
    let header = message.header();
    let mut parsed = Message {
        id: header.id(),
        is_response: header.qr(),
        is_truncated: header.tc(),
        rcode: rcode(message.opt_rcode().rcode(), header.rcode()),
        question: None,
        answers: Vec::new(),
        error: None,
    };
    match message.question().next() {
        Some(Ok(question)) => {
            parsed.question =
                Some(Question { name: shown(question.qname()), kind: question.qtype().to_string() });
        }
        Some(Err(error)) => parsed.error = Some(format!("question: {error}")),
        None => {}
    }
    match message.answer() {
        Ok(section) => answers(section, &mut parsed),
        Err(error) => {
            parsed.error.get_or_insert_with(|| format!("question: {error}"));
        }
    }
    Ok(parsed)
}

/// The code of the header, unless there is an extended one (RFC 6891, section 6.1.3).
fn rcode(extended: Rcode, plain: Rcode) -> String {
    if extended == Rcode::NOERROR { plain.to_string() } else { extended.to_string() }
}

fn answers(section: RecordSection<'_, [u8]>, parsed: &mut Message) {
    for (number, record) in section.enumerate() {
        if number == ANSWERS_MAX {
            parsed.error = Some(format!("more than {ANSWERS_MAX} answers"));
            return;
        }
        match record.and_then(|record| answer(&record)) {
            Ok(answer) => parsed.answers.push(answer),
            Err(error) => {
                parsed.error.get_or_insert_with(|| format!("answer {}: {error}", number + 1));
                return;
            }
        }
    }
}

fn answer(record: &base::ParsedRecord<'_, [u8]>) -> Result<Answer, ParseError> {
    let known = record.to_any_record::<AllRecordData<_, ParsedName<_>>>()?;
    let mut data = match known.data() {
        AllRecordData::Cname(target) => shown(target.cname()),
        data => data.to_string(),
    };
    // It is ASCII: presentation format escapes everything else.
    data.truncate(data.floor_char_boundary(DATA_BYTES_MAX));
    Ok(Answer {
        name: shown(&record.owner()),
        kind: record.rtype().to_string(),
        ttl: record.ttl().as_secs(),
        data,
    })
}

/// A name without its last dot. Names of an answer can be long by compression, but no longer than 255 bytes.
fn shown(name: &(impl ToLabelIter + std::fmt::Display)) -> String {
    let text = name.to_string();
    if text.is_empty() { ".".to_owned() } else { text }
}

impl Message {
    /// What this answer means for whoever asked `question`.
    pub fn outcome(&self, question: Option<&Question>) -> Outcome {
        match self.rcode.as_str() {
            "NXDOMAIN" => Outcome::Nxdomain,
            "SERVFAIL" => Outcome::Servfail,
            "REFUSED" => Outcome::Refused,
            "NOERROR" if self.is_truncated => Outcome::Truncated,
            "NOERROR" if self.error.is_some() => Outcome::Malformed,
            "NOERROR" => {
                let is_asked = |answer: &Answer| {
                    question.is_none_or(|question| question.kind == "ANY" || question.kind == answer.kind)
                };
                if self.answers.iter().any(is_asked) { Outcome::Ok } else { Outcome::NoData }
            }
            _ => Outcome::Error,
        }
    }
}

/// The addresses that answers give for a name, through the aliases that lead there.
pub(super) fn addresses(question: &Question, answers: &[Answer]) -> Vec<IpAddr> {
    let mut names = HashSet::from([question.name.to_ascii_lowercase()]);
    let mut found = Vec::new();
    for answer in answers {
        if !names.contains(&answer.name.to_ascii_lowercase()) {
            continue;
        }
        match answer.kind.as_str() {
            "CNAME" => {
                names.insert(answer.data.to_ascii_lowercase());
            }
            "A" | "AAAA" => found.extend(answer.data.parse::<IpAddr>().map(|address| address.to_canonical())),
            _ => {}
        }
    }
    found
}
