//! What the server of a connection is called.

use tcp_trace_model::{
    lookup::Resolved,
    record::{Server, ServerSource},
};

use super::Connection;

/// What is known of names; `None` while there is nothing of it.
#[derive(Debug, Default)]
pub(super) struct ServerName(Option<Box<Names>>);

/// Names, by their source.
#[derive(Debug, Default)]
struct Names {
    resolved: Option<Resolved>,
    host: Option<String>,
    sni: Option<String>,
}

impl Connection {
    /// Notes the lookup that this connection follows.
    pub fn learn_resolved(&mut self, resolved: Resolved) {
        self.server_name.0.get_or_insert_default().resolved = Some(resolved);
    }

    /// The lookup that it follows.
    pub fn resolved(&self) -> Option<&Resolved> {
        self.server_name.0.as_ref()?.resolved.as_ref()
    }

    /// Whether an HTTP request has named the host.
    pub fn knows_host(&self) -> bool {
        self.server_name.0.as_ref().is_some_and(|told| told.host.is_some())
    }

    /// Notes the host that an HTTP request names, once.
    pub fn learn_host(&mut self, host: &str) {
        self.server_name.0.get_or_insert_default().host.get_or_insert_with(|| host.to_owned());
    }

    /// Notes the host that a ClientHello names.
    pub fn learn_sni(&mut self, host: &str) {
        self.server_name.0.get_or_insert_default().sni = Some(host.to_owned());
    }

    /// What the server is called, as recorded.
    pub(super) fn server(&self) -> Option<Server> {
        let Names { resolved, host, sni, .. } = self.server_name.0.as_deref()?;
        let resolved = resolved.as_ref().map(|resolved| (&resolved.name, ServerSource::Dns));
        let host = host.as_ref().map(|host| (host, ServerSource::Host));
        let sni = sni.as_ref().map(|sni| (sni, ServerSource::Sni));
        let (address, source) = resolved.or(host).or(sni)?;
        Some(Server { address: address.clone(), source })
    }
}
