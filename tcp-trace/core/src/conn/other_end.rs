//! What is known of a connection's other end: what it is called, and the way to it.

use std::sync::Arc;

use tcp_trace_model::{
    lookup::Resolved,
    record::{Route, Server, ServerSource},
};

/// The other end, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct OtherEnd {
    pub(super) route: Option<Arc<Route>>,
    /// Whether the kernel was queried for the route and has not answered.
    pub(super) awaits_route: bool,
    /// `None` while there is nothing of it.
    names: Option<Box<Names>>,
}

/// Names of a server, by their source.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) resolved: Option<Resolved>,
    pub(super) host: Option<String>,
    pub(super) sni: Option<String>,
}

impl OtherEnd {
    /// Notes the kernel's answer. The last one that says something counts.
    pub(super) fn learn_route(&mut self, route: Option<Arc<Route>>) {
        self.awaits_route = false;
        self.route = route.or(self.route.take());
    }

    pub(super) fn names(&self) -> Option<&Names> {
        self.names.as_deref()
    }

    pub(super) fn names_mut(&mut self) -> &mut Names {
        self.names.get_or_insert_default()
    }

    /// What the server is called, as recorded.
    pub(super) fn server(&self) -> Option<Server> {
        let Names { resolved, host, sni } = self.names()?;
        let resolved = resolved.as_ref().map(|resolved| (&resolved.name, ServerSource::Dns));
        let host = host.as_ref().map(|host| (host, ServerSource::Host));
        let sni = sni.as_ref().map(|sni| (sni, ServerSource::Sni));
        let (address, source) = resolved.or(host).or(sni)?;
        Some(Server { address: address.clone(), source })
    }
}
