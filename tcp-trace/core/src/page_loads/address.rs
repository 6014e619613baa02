//! Addresses of pages and of their parts, as far as they have to be compared.

use std::fmt::Write as _;

use fluent_uri::{Uri, UriRef};
use tcp_trace_model::record::{Http, Text};

/// Ports that a URL need not name (RFC 9110, sections 4.2.1 and 4.2.2).
const DEFAULT_PORTS: [(&str, &str); 2] = [("http", ":80"), ("https", ":443")];

/// A URL of `http` or `https` without its fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    /// Scheme, host and port: `http://localhost:8080`, in lower case and without the default port.
    pub(super) origin: String,
    /// Path and query as they stand: `/a?x=1`.
    pub(super) rest: String,
}

impl Address {
    /// The address that a request is for. `None` for CONNECT, for `*`, and if the host is unknown.
    pub(super) fn of_request(http: &Http) -> Option<Self> {
        let url = http.exchange.url.as_ref()?;
        let (scheme, host) = (text(url.scheme.as_ref()?), text(url.host.as_ref()?));
        let query = url.query.as_ref().map_or(String::new(), |query| format!("?{}", text(query)));
        Self::parse(&format!("{scheme}://{host}{}{query}", text(&url.path)))
    }

    /// A URL that is absolute.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (_, default_port) = DEFAULT_PORTS.into_iter().find(|(name, _)| *name == scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
        if authority.is_empty() {
            return None;
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        Some(Self { origin: format!("{scheme}://{authority}"), rest: format!("{slash}{rest}") })
    }

    /// Where a Location (RFC 9110, section 10.2.2) in the response to a request for this leads.
    pub(super) fn followed(&self, location: &str) -> Option<Self> {
        let escaped = escaped(location);
        let base = escaped_whole(self);
        let base = Uri::parse(base.as_str()).ok()?;
        let base = Uri::parse(base.strip_fragment().to_string()).ok()?;
        let target = UriRef::parse(escaped.as_str()).ok()?.resolve_against(&base).ok()?;
        Self::parse(target.as_str())
    }

    /// Whether it says no more than the origin: what a Referer is cut down to by most policies (Referrer Policy,
    /// section 3).
    pub(super) fn is_bare(&self) -> bool {
        self.rest == "/"
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.origin, self.rest)
    }
}

/// Bytes of a recording as text, for comparisons. What is not UTF-8 is replaced.
pub(super) fn text(text: &Text) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&text.0)
}

fn escaped_whole(address: &Address) -> String {
    escaped(&address.to_string())
}

/// With the characters percent-encoded that no URI has and that browsers encode in one (URL Standard, path
/// percent-encode set).
fn escaped(url: &str) -> String {
    let mut escaped = String::with_capacity(url.len());
    for byte in url.trim().bytes() {
        if byte.is_ascii_graphic() && !b"\"<>^`{|}\\".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod address_tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn addresses_are_the_same_when_browsers_ask_for_the_same() {
        for (url, same) in [
            ("http://Host/a", "http://host:80/a"),
            ("HTTPS://host:443/", "https://host"),
            ("http://host/a#part", "http://host/a"),
            ("http://host?x", "http://host/?x"),
            ("http://[::1]:80/", "http://[::1]/"),
        ] {
            assert_eq!(address(url), address(same));
        }
        for (url, other) in [
            ("http://host/a", "http://host/A"),
            ("http://host/a", "https://host/a"),
            ("http://host/a", "http://host/a?"),
            ("http://host:8080/", "http://host/"),
        ] {
            assert_ne!(address(url), address(other));
        }
        for url in ["", "about:client", "host/a", "http:///a", "file:///a", "ftp://host/"] {
            assert_eq!(Address::parse(url), None, "{url}");
        }
    }

    #[test]
    fn a_location_is_resolved_against_the_request() {
        for (location, expected) in [
            ("http://other/", "http://other/"),
            ("/new?x=1", "http://host:8080/new?x=1"),
            ("next", "http://host:8080/shop/next"),
            ("../up/./here", "http://host:8080/up/here"),
            ("?page=2", "http://host:8080/shop/index.html?page=2"),
            ("//cdn/x", "http://cdn/x"),
            ("/with space/größe|x", "http://host:8080/with%20space/gr%C3%B6%C3%9Fe%7Cx"),
            ("/part#here", "http://host:8080/part"),
        ] {
            let from = address("http://host:8080/shop/index.html");
            assert_eq!(from.followed(location).unwrap().to_string(), expected, "{location}");
        }
        assert_eq!(address("http://host/").followed("mailto:a@b"), None);
        assert_eq!(address("http://host/{a}").followed("/b").unwrap().to_string(), "http://host/b");
    }
}
