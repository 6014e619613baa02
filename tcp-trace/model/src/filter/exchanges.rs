//! Which exchanges the user selected.

use std::{
    fmt,
    ops::RangeInclusive,
    str::{self, FromStr},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wildmatch::WildMatch;

use crate::{
    exchange::{Exchange, Version},
    omit,
};

/// The filters of exchanges. Values of one kind are alternatives; kinds restrict each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExchangeFilter {
    /// Status codes: `404`, `5xx`, `400-499`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<Status>,
    /// Methods, in capitals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<String>,
    /// Hosts as requests name them, with `*` and `?`. One without a port matches each port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<Pattern>,
    /// Paths, with `*` and `?`, without the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Pattern>,
    /// Only those that took longer, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_us: Option<u64>,
    /// Only those that [failed](Exchange::has_failed).
    #[serde(default, skip_serializing_if = "omit::is_false")]
    pub failed: bool,
    /// Protocols.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocol: Vec<HttpProtocol>,
}

impl ExchangeFilter {
    /// Whether it selects every exchange.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it selects an exchange, as far as that was seen: what is missing matches nothing.
    pub fn selects(&self, exchange: &Exchange) -> bool {
        let Self { status, method, host, path, slower_us, failed, protocol } = self;
        let request = exchange.request.as_ref();
        let url = exchange.url.as_ref();
        let code = exchange.response.as_ref().map(|response| response.status_code);
        any(status, code, |status, code| status.contains(code))
            && any(method, request, |name, request| name.as_bytes().eq_ignore_ascii_case(&request.method.0))
            && any(host, url.and_then(|url| url.host.as_ref()), |host, name| host.matches_host(&name.0))
            && any(path, url, |path, url| path.matches(&url.path.0))
            && slower_us.is_none_or(|us| exchange.timing.total_us > us)
            && (!failed || exchange.has_failed())
            && any(protocol, Some(exchange), |protocol, exchange| protocol.is_of(exchange))
    }
}

/// Whether one of `wanted` matches, if any are.
fn any<W, V: Copy>(wanted: &[W], value: Option<V>, matches: impl Fn(&W, V) -> bool) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|wanted| matches(wanted, value)))
}

/// A range of status codes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Status(RangeInclusive<u16>);

impl Status {
    fn contains(&self, code: u16) -> bool {
        self.0.contains(&code)
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..1000).contains(code));
        let class = || {
            let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"))?;
            let class = class.parse::<u16>().ok().filter(|class| (1..10).contains(class))?;
            Some(class * 100..=class * 100 + 99)
        };
        let range = || {
            let (first, last) = text.split_once('-')?;
            let range = code(first)?..=code(last)?;
            (!range.is_empty()).then_some(range)
        };
        let one = || code(text).map(|code| code..=code);
        one().or_else(class).or_else(range).map(Self).ok_or_else(|| {
            "expected a status code, a class or a range, such as 404, 5xx or 400-499".to_owned()
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        match (first == last, first % 100 == 0 && *last == first + 99) {
            (true, _) => write!(f, "{first}"),
            (false, true) => write!(f, "{}xx", first / 100),
            (false, false) => write!(f, "{first}-{last}"),
        }
    }
}

/// A text with `*`, which stands for any characters, and `?`, which stands for one.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Pattern {
    text: String,
    matcher: WildMatch,
    without_case: WildMatch,
}

impl Pattern {
    fn matches(&self, text: &[u8]) -> bool {
        self.matcher.matches(&String::from_utf8_lossy(text))
    }

    /// Names of hosts have no case (RFC 9110, section 4.2.3).
    fn matches_host(&self, host: &[u8]) -> bool {
        let host = String::from_utf8_lossy(host);
        let without_port =
            || host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map(|(name, _)| name);
        self.without_case.matches(&host) || without_port().is_some_and(|name| self.without_case.matches(name))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("expected a text; * stands for any characters".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            matcher: WildMatch::new(text),
            without_case: WildMatch::new_case_insensitive(text),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How an exchange was transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HttpProtocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC, which is in HTTP/2.
    Grpc,
    /// A WebSocket was opened.
    WebSocket,
    /// Inside of TLS.
    Tls,
}

impl HttpProtocol {
    /// All, with their names.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("http1", Self::Http1),
        ("http2", Self::Http2),
        ("grpc", Self::Grpc),
        ("websocket", Self::WebSocket),
        ("tls", Self::Tls),
    ];

    fn is_of(self, exchange: &Exchange) -> bool {
        match self {
            Self::Http1 => exchange.version().is_some_and(|version| version != Version::HTTP2),
            Self::Http2 => exchange.version() == Some(Version::HTTP2),
            Self::Grpc => exchange.stream.as_ref().is_some_and(|stream| stream.grpc.is_some()),
            Self::WebSocket => exchange.websocket.is_some(),
            Self::Tls => exchange.tls.is_some(),
        }
    }
}

impl FromStr for HttpProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol);
        found.ok_or_else(|| format!("expected one of {}", Self::NAMES.map(|(name, _)| name).join(", ")))
    }
}

/// A recording has these as they are typed.
macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Status);
as_text!(Pattern);

#[cfg(test)]
#[path = "exchanges_tests.rs"]
mod tests;
