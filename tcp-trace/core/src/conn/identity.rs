//! Who and where a connection is: what all its records say of it.

use std::sync::Arc;

use tcp_trace_model::{
    connection_info::ConnectionInfo,
    event::{Endpoints, Identity as Which, Owner, Role},
    filter::{Facts, Translated},
    record::{ConnectionId, Network, Process, User},
    time::Time,
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
    /// The first [`USERS_MAX`], and since when.
    first: Vec<(Time, Arc<Process>)>,
    /// Changes that are not in it.
    unrecorded: u32,
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

    /// Learns that a process uses the socket: it connects, reads, writes or closes. True when that is news.
    pub(super) fn learn_user(&mut self, time: Time, SharedOwner { owner, process }: SharedOwner) -> bool {
        match &self.owner {
            Some(known) if is_same(known, &owner) => {
                // What /proc says of a process is less than what the kernel reports of it.
                if known.identity == Which::default() && known.place == owner.place {
                    self.owner = Some(owner);
                }
                return false;
            }
            Some(_) => self.note_change(time, &process),
            None => self.owner_since = time,
        }
        self.owner = Some(owner);
        Arc::make_mut(&mut self.info).process = Some(process);
        true
    }

    /// Learns that a process has the socket open, which says less than that another uses it.
    pub(super) fn learn_holder(&mut self, time: Time, holder: SharedOwner) {
        if self.owner.is_none() {
            self.learn_user(time, holder);
        }
    }

    fn note_change(&mut self, time: Time, process: &Arc<Process>) {
        let users = self.users.get_or_insert_default();
        if users.first.is_empty() {
            users.first.extend(self.info.process.clone().map(|before| (self.owner_since, before)));
        }
        if users.first.len() < USERS_MAX {
            users.first.push((time, process.clone()));
        } else {
            users.unrecorded = users.unrecorded.saturating_add(1);
        }
    }

    /// Those that used it one after the other, where it was more than one, and how many are not among them.
    pub(super) fn users(&self) -> (Vec<User>, u32) {
        let Some(users) = &self.users else { return (Vec::new(), 0) };
        let user =
            |(time, process): &(Time, Arc<Process>)| User { time: *time, process: (**process).clone() };
        (users.first.iter().map(user).collect(), users.unrecorded)
    }
}

/// Whether it is the same process, and executes the same program. One that was found in /proc is known by its id only.
fn is_same(one: &Owner, other: &Owner) -> bool {
    let (of_one, of_other, unknown) = (one.identity, other.identity, Which::default());
    one.pid == other.pid
        && (of_one == unknown
            || of_other == unknown
            || (of_one.started, of_one.executions) == (of_other.started, of_other.executions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, started: u64, executions: u64) -> SharedOwner {
        let identity = Which { started, executions, cgroup: 0 };
        let owner = Owner { identity, ..Owner::new(pid, "worker") };
        SharedOwner { process: Arc::new((&owner).into()), owner: Arc::new(owner) }
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
    fn who_has_it_open_is_its_process_until_another_uses_it() {
        let mut identity = Identity::new(ConnectionId::of_socket(1, 0), None);
        identity.learn_holder(Time(1), process(7, 0, 0));
        // It was only found in /proc: now it is known which one it is.
        assert!(!identity.learn_user(Time(2), process(7, 100, 3)));
        assert_eq!(identity.owner().map(|owner| owner.identity.executions), Some(3));
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
