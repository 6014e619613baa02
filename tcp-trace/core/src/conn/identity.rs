//! Who and where a connection is: what all its records say of it.

use std::sync::Arc;

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::{Endpoints, Owner, ProcessKey, Role},
    filter::{Facts, Translated},
    record::{ConnectionId, Container, Network, Process, User},
    time::Time,
};

/// A process that connections share, and its recorded form.
#[derive(Clone, Debug)]
pub struct SharedOwner {
    /// The process.
    pub owner: Arc<Owner>,
    /// What records say of it.
    pub process: Arc<Process>,
    /// The container that it runs in, when its cgroup shows one.
    pub container: Option<Arc<Container>>,
}

/// What is known of who and where a connection is.
#[derive(Debug)]
pub(super) struct Identity {
    /// Records hold it too: a change makes a new one, and those that were written keep the old one.
    info: Arc<ConnectionInfo>,
    owner: Option<Arc<Owner>>,
    /// When that was learnt.
    owner_since: Time,
    /// Those that used it one after the other; `None` while there was only one.
    users: Option<Box<Users>>,
}

/// Users that are recorded of a connection; of further ones only how many they were.
const USERS_MAX: usize = 32;

/// The processes that used a connection one after the other.
#[derive(Debug, Default)]
struct Users {
    /// The first [`USERS_MAX`].
    first: Vec<OneUser>,
    /// Changes that are not in it.
    unrecorded: u32,
}

/// A process that used a connection.
#[derive(Debug)]
struct OneUser {
    since: Time,
    process: Arc<Process>,
    container: Option<Arc<Container>>,
}

impl Identity {
    pub(super) fn new(id: ConnectionId, role: Option<Role>) -> Self {
        Self {
            info: Arc::new(ConnectionInfo { role, ..ConnectionInfo::new(id) }),
            owner: None,
            owner_since: Time::default(),
            users: None,
        }
    }

    /// What records that are made now say of the connection.
    pub(super) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    /// The same in a record of what was over at `time`: its process is the one that had used the socket until then.
    pub(super) fn info_at(&self, time: Time) -> Arc<ConnectionInfo> {
        let of = self.users.as_ref().filter(|users| users.unrecorded == 0);
        let first = of.map_or(&[][..], |users| &users.first);
        let until = first.iter().rev().find(|user| user.since <= time).or(first.first());
        let is_other = |user: &&OneUser| Some(&user.process) != self.info.process.as_ref();
        let Some(OneUser { process, container, .. }) = until.filter(is_other) else {
            return self.info.clone();
        };
        Arc::new(ConnectionInfo {
            process: Some(process.clone()),
            container: container.clone(),
            ..(*self.info).clone()
        })
    }

    /// Learns which connection is the other end's, or that it is not recorded.
    pub(super) fn learn_peer(&mut self, peer: Option<ConnectionId>) {
        if self.info.peer_connection != peer {
            Arc::make_mut(&mut self.info).peer_connection = peer;
        }
    }

    pub(super) fn owner(&self) -> Option<&Owner> {
        self.owner.as_deref()
    }

    /// What a filter goes by, but for translated addresses.
    pub(super) fn facts(&self) -> Facts<'_> {
        let network = self.info.network.as_ref();
        Facts {
            connection: Some(self.info.id),
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

    /// Learns that a process uses the socket: it connects, reads, writes or closes. True when that is news.
    pub(super) fn learn_user(&mut self, time: Time, user: SharedOwner) -> bool {
        let SharedOwner { owner, process, container } = user;
        match &self.owner {
            Some(known) if is_same(known, &owner) => {
                // What /proc says of a process is less than what the kernel reports of it.
                let is_found = known.key == ProcessKey::default();
                if !is_found || known.name == owner.name {
                    if is_found && known.info == owner.info {
                        self.owner = Some(owner);
                    }
                    return false;
                }
                // It executes another program than when it was found to have the socket open.
                self.owner_since = time;
            }
            Some(_) => self.note_change(time, &process, &container),
            None => self.owner_since = time,
        }
        self.owner = Some(owner);
        let info = Arc::make_mut(&mut self.info);
        (info.process, info.container) = (Some(process), container);
        true
    }

    /// The process that used it last, as other connections may have it too.
    pub(super) fn shared_owner(&self) -> Option<SharedOwner> {
        let ConnectionInfo { process, container, .. } = &*self.info;
        let (owner, process) = (self.owner.clone()?, process.clone()?);
        Some(SharedOwner { owner, process, container: container.clone() })
    }

    /// Learns that a process has the socket open, which says less than that another uses it.
    pub(super) fn learn_holder(&mut self, time: Time, holder: SharedOwner) {
        if self.owner.is_none() {
            self.learn_user(time, holder);
        }
    }

    fn note_change(&mut self, time: Time, process: &Arc<Process>, container: &Option<Arc<Container>>) {
        let users = self.users.get_or_insert_default();
        if users.first.is_empty() {
            let ConnectionInfo { process, container, .. } = &*self.info;
            let before = |process| OneUser { since: self.owner_since, process, container: container.clone() };
            users.first.extend(process.clone().map(before));
        }
        if users.first.len() < USERS_MAX {
            let (process, container) = (process.clone(), container.clone());
            users.first.push(OneUser { since: time, process, container });
        } else {
            users.unrecorded = users.unrecorded.saturating_add(1);
        }
    }

    /// Those that used it one after the other, where it was more than one, and how many are not among them.
    pub(super) fn users(&self) -> (Vec<User>, u32) {
        let Some(users) = &self.users else { return (Vec::new(), 0) };
        let user = |user: &OneUser| User { time: user.since, process: (*user.process).clone() };
        (users.first.iter().map(user).collect(), users.unrecorded)
    }
}

/// Whether it is the same process, and executes the same program. One that was found in /proc is known by its id only.
fn is_same(one: &Owner, other: &Owner) -> bool {
    let (of_one, of_other, unknown) = (one.key, other.key, ProcessKey::default());
    one.pid == other.pid
        && (of_one == unknown
            || of_other == unknown
            || (of_one.started, of_one.executions) == (of_other.started, of_other.executions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, started: u64, executions: u64) -> SharedOwner {
        let key = ProcessKey { started, executions, cgroup: 0 };
        let owner = Owner { key, ..Owner::new(pid, "worker") };
        SharedOwner { process: Arc::new((&owner).into()), owner: Arc::new(owner), container: None }
    }

    #[test]
    fn a_holder_that_executes_another_program_before_it_uses_the_socket_is_that_program() {
        let found = Owner::new(7, "bash");
        let found =
            SharedOwner { process: Arc::new((&found).into()), owner: Arc::new(found), container: None };
        let mut identity = Identity::new(ConnectionId::default(), Some(Role::Server));
        identity.learn_holder(Time(1), found);
        assert!(identity.learn_user(Time(2), process(7, 1, 2)));
        assert_eq!(
            identity.info().process.as_ref().map(|process| process.name.clone()),
            Some("worker".into())
        );
        assert_eq!(identity.users(), (Vec::new(), 0), "nobody used it before");
        assert!(!identity.learn_user(Time(3), process(7, 1, 2)));
    }

    #[test]
    fn the_process_is_who_uses_the_socket() {
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        assert!(identity.learn_user(Time(1), process(7, 100, 0)));
        assert!(!identity.learn_user(Time(2), process(7, 100, 0)));
        assert_eq!(identity.users(), (vec![], 0));
        let recorded = identity.info().clone();
        // It executes another program; another process takes over; the process id is used again.
        for (time, (pid, started, executions)) in [(3, (7, 100, 1)), (4, (8, 200, 0)), (5, (8, 300, 0))] {
            assert!(identity.learn_user(Time(time), process(pid, started, executions)));
        }
        let pid = |info: &ConnectionInfo| info.process.as_ref().map(|process| process.pid);
        assert_eq!((pid(&recorded), pid(identity.info())), (Some(7), Some(8)));
        let users: Vec<_> = identity.users().0.iter().map(|user| (user.time.0, user.process.pid)).collect();
        assert_eq!(users, [(1, 7), (3, 7), (4, 8), (5, 8)]);
    }

    #[test]
    fn what_was_over_names_who_had_used_the_socket_until_then() {
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        let pid_at =
            |identity: &Identity, time| identity.info_at(Time(time)).process.as_ref().map(|it| it.pid);
        assert_eq!(pid_at(&identity, 5), None);
        identity.learn_user(Time(10), process(7, 100, 0));
        assert_eq!(pid_at(&identity, 5), Some(7), "it was there, as its first use shows later");
        identity.learn_user(Time(20), process(8, 200, 0));
        identity.learn_user(Time(30), process(9, 300, 0));
        let at = [15, 20, 29, 30, 40].map(|time| pid_at(&identity, time));
        assert_eq!(at, [Some(7), Some(8), Some(8), Some(9), Some(9)]);
        assert_eq!(pid_at(&identity, 5), Some(7), "nobody else is known");
        assert!(Arc::ptr_eq(&identity.info_at(Time(40)), identity.info()));
    }

    #[test]
    fn who_has_it_open_is_its_process_until_another_uses_it() {
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        identity.learn_holder(Time(1), process(7, 0, 0));
        // It was only found in /proc: now it is known which one it is.
        assert!(!identity.learn_user(Time(2), process(7, 100, 3)));
        assert_eq!(identity.owner().map(|owner| owner.key.executions), Some(3));
        identity.learn_holder(Time(3), process(8, 0, 0));
        assert_eq!(identity.owner().map(|owner| owner.pid), Some(7));
        assert!(identity.learn_user(Time(4), process(8, 200, 0)));
        assert_eq!(identity.users().0.len(), 2);
    }

    #[test]
    fn users_are_bounded_and_counted() {
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        for time in 0..100 {
            identity.learn_user(Time(time), process(7 + (time % 2) as u32, 100, 0));
        }
        let (users, unrecorded) = identity.users();
        assert_eq!((users.len(), unrecorded as usize), (USERS_MAX, 100 - USERS_MAX));
        assert_eq!(identity.owner().map(|owner| owner.pid), Some(8));
    }

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
