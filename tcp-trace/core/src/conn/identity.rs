//! Who and where a connection is: what all its records say of it.

use std::sync::Arc;

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::{Endpoints, Owner, Role},
    filter::{Facts, Translated},
    record::{ConnectionId, Network, Process},
};

/// A process that connections share, and its recorded form.
#[derive(Clone, Debug)]
pub struct SharedOwner {
    /// The process.
    pub owner: Arc<Owner>,
    /// What records say of it.
    pub process: Arc<Process>,
}

/// What is known of who and where a connection is.
#[derive(Debug)]
pub(super) struct Identity {
    /// Records hold it too: a change makes a new one, and those that were written keep the old one.
    info: Arc<ConnectionInfo>,
    owner: Option<Arc<Owner>>,
}

impl Identity {
    pub(super) fn new(id: ConnectionId, role: Option<Role>) -> Self {
        Self { info: Arc::new(ConnectionInfo { role, ..ConnectionInfo::new(id) }), owner: None }
    }

    /// What records that are made now say of the connection.
    pub(super) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    pub(super) fn owner(&self) -> Option<&Owner> {
        self.owner.as_deref()
    }

    /// What a filter goes by, but for translated addresses.
    pub(super) fn facts(&self) -> Facts<'_> {
        let network = self.info.network.as_ref();
        Facts {
            endpoints: network.map(Network::endpoints),
            netns: network.and_then(|network| network.netns),
            translated: Translated::No,
            owner: self.owner(),
        }
    }

    /// Learns which end it is, once.
    pub(super) fn learn_role(&mut self, role: Role) {
        if self.info.role.is_none() {
            Arc::make_mut(&mut self.info).role = Some(role);
        }
    }

    /// Learns addresses; complete ones are kept against the zeros that a closing socket has.
    pub(super) fn learn_endpoints(&mut self, endpoints: Endpoints, netns: Option<u32>) {
        let learnt = match &self.info.network {
            None => Network::new(endpoints, netns),
            Some(known) => {
                let is_complete = known.local.port != 0 && known.peer.port != 0;
                if is_complete && (netns.is_none() || netns == known.netns) {
                    return;
                }
                let netns = netns.or(known.netns);
                if is_complete || known.local.port != 0 && endpoints.local.port() == 0 {
                    Network { netns, ..*known }
                } else {
                    Network { translated: known.translated, ..Network::new(endpoints, netns) }
                }
            }
        };
        if self.info.network != Some(learnt) {
            Arc::make_mut(&mut self.info).network = Some(learnt);
        }
    }

    /// Learns with which addresses its segments leave this host; that they are its own is no news.
    pub(super) fn learn_translated(&mut self, translated: Endpoints) {
        let is_news = |known: &Network| known.translated.is_none() && known.endpoints() != translated;
        if self.info.network.as_ref().is_some_and(is_news)
            && let Some(network) = &mut Arc::make_mut(&mut self.info).network
        {
            network.translated = Some(translated.into());
        }
    }

    /// Learns the process, once: the one that connected, or that first used an accepted socket.
    pub(super) fn learn_owner(&mut self, SharedOwner { owner, process }: SharedOwner) {
        if self.owner.is_none() {
            self.owner = Some(owner);
            Arc::make_mut(&mut self.info).process = Some(process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learnt_later_is_not_in_what_was_recorded() {
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        let recorded = identity.info().clone();
        identity.learn_role(Role::Client);
        assert_eq!((recorded.role, identity.info().role), (None, Some(Role::Client)));
        let before = Arc::as_ptr(identity.info());
        identity.learn_role(Role::Server);
        assert_eq!((identity.info().role, Arc::as_ptr(identity.info())), (Some(Role::Client), before));
    }

    #[test]
    fn complete_addresses_are_kept() {
        let ends = |local: &str, peer: &str| Endpoints {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        for (endpoints, netns, local_port, known_netns) in [
            (ends("0.0.0.0:0", "127.0.0.2:80"), None, 0, None),
            (ends("127.0.0.1:5000", "127.0.0.2:80"), None, 5000, None),
            (ends("127.0.0.1:0", "127.0.0.2:80"), Some(7), 5000, Some(7)),
            (ends("127.0.0.1:6000", "127.0.0.2:80"), None, 5000, Some(7)),
        ] {
            identity.learn_endpoints(endpoints, netns);
            let network = identity.info().network.unwrap();
            assert_eq!((network.local.port, network.netns), (local_port, known_netns), "{endpoints:?}");
        }
    }
}
