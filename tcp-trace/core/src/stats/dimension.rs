//! By what exchanges are grouped.

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::Role,
    record::{Http, Text},
};

use super::template::template;

/// By what exchanges are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dimension {
    /// Method and path, without what differs from request to request.
    #[default]
    Path,
    /// The host that requests name.
    Host,
    /// The other end: of a server the client's address, of a client the server's address and port.
    Peer,
    /// The processes at the ends on this host.
    Process,
    /// The containers of those processes.
    Container,
    /// Status code.
    Status,
}

/// What is shown where it is unknown.
const UNKNOWN: &str = "-";

impl Dimension {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Host => "host",
            Self::Peer => "peer",
            Self::Process => "process",
            Self::Container => "container",
            Self::Status => "status",
        }
    }

    /// The group of an exchange, whose other end may be on this host too.
    pub(super) fn of(self, http: &Http, other: Option<&ConnectionInfo>) -> String {
        let name = match self {
            Self::Path => path(http),
            Self::Host => http.exchange.url.as_ref().and_then(|url| url.host.as_ref()).map(words),
            Self::Peer => Some(peer(http)),
            Self::Process => {
                both(http, other, |info| info.process.as_ref().map(|process| words(&process.name)))
            }
            Self::Container => both(http, other, |info| {
                info.container.as_ref().map(|container| container.id.chars().take(12).collect())
            }),
            Self::Status => match &http.exchange.response {
                Some(response) => Some(response.status_code.to_string()),
                None => Some("no response".to_owned()),
            },
        };
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned())
    }
}

fn words(text: &Text) -> String {
    text.printable().to_string()
}

fn path(http: &Http) -> Option<String> {
    let request = http.exchange.request.as_ref()?;
    let path = http.exchange.url.as_ref().map_or_else(String::new, |url| words(&url.path));
    Some(format!("{} {}", words(&request.method), template(&path)))
}

fn peer(http: &Http) -> String {
    let peer = http.connection.ends().peer;
    match http.connection.role {
        Some(Role::Server) => peer.address.to_string(),
        _ => peer.to_string(),
    }
}

/// `wrk → nginx`; an end that is not on this host, or unknown, is left out.
fn both(
    http: &Http,
    other: Option<&ConnectionInfo>,
    name: impl Fn(&ConnectionInfo) -> Option<String>,
) -> Option<String> {
    let own = name(&http.connection);
    let other = other.and_then(&name);
    let (client, server) = match http.connection.role {
        Some(Role::Server) => (other, own),
        _ => (own, other),
    };
    match (client, server) {
        (None, None) => None,
        (Some(client), None) => Some(format!("{client} →")),
        (None, Some(server)) => Some(format!("→ {server}")),
        (Some(client), Some(server)) => Some(format!("{client} → {server}")),
    }
}
