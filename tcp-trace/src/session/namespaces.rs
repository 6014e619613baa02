//! Netlink sockets in network namespaces, by the namespace's inode number. A socket keeps its namespace alive, with the
//! interfaces that were moved into it, so none is kept for long.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::kernel::netns::{self, NetworkNamespace};

/// How long a socket is kept after it was opened, however often it is used; also how long a namespace that was not found or
/// could not be entered is not tried again. Finding one reads /proc.
const KEPT: Duration = Duration::from_secs(10);
/// How long the list of namespaces counts: several sockets that expire together are opened again after one look.
const FRESH: Duration = Duration::from_secs(1);

/// The sockets of one thread.
pub(super) struct NamespaceSockets<T> {
    /// When each was opened; `None` where that failed.
    sockets: HashMap<u32, (Instant, Option<T>)>,
    /// The ways into all namespaces, and when they were looked up. They keep nothing alive.
    found: Option<(Instant, Vec<NetworkNamespace>)>,
}

impl<T> NamespaceSockets<T> {
    pub(super) fn new() -> Self {
        Self { sockets: HashMap::new(), found: None }
    }

    /// The next question of a thread that answers with these sockets; `None` when there will be no more. Sockets that
    /// expire meanwhile are closed.
    pub(super) fn receive<Q>(&mut self, questions: &Receiver<Q>) -> Option<Q> {
        loop {
            let wait = self.expire(Instant::now());
            match questions.recv_timeout(wait) {
                Ok(question) => {
                    self.expire(Instant::now());
                    return Some(question);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// The socket in a namespace, which `open` makes where none is kept; `None` where none can be had.
    pub(super) fn get(
        &mut self,
        netns: u32,
        now: Instant,
        open: impl FnOnce(&NetworkNamespace) -> Option<T>,
    ) -> Option<&mut T> {
        if !self.sockets.contains_key(&netns) {
            let socket = self.find(netns, now).and_then(open);
            self.sockets.insert(netns, (now, socket));
        }
        let (_, socket) = self.sockets.get_mut(&netns)?;
        socket.as_mut()
    }

    /// Closes sockets that were kept long enough; returns the time until the next one is.
    fn expire(&mut self, now: Instant) -> Duration {
        self.sockets.retain(|_, (opened, _)| now.duration_since(*opened) < KEPT);
        let ages = self.sockets.values().map(|(opened, _)| now.duration_since(*opened));
        KEPT - ages.max().unwrap_or_default()
    }

    fn find(&mut self, netns: u32, now: Instant) -> Option<&NetworkNamespace> {
        let is_known = self.found.as_ref().is_some_and(|(since, found)| {
            now.duration_since(*since) < FRESH && found.iter().any(|namespace| namespace.inode == netns)
        });
        if !is_known {
            self.found = Some((now, all().unwrap_or_default()));
        }
        let (_, found) = self.found.as_ref()?;
        found.iter().find(|namespace| namespace.inode == netns)
    }
}

/// All network namespaces that can be found. A failure is logged.
pub(super) fn all() -> io::Result<Vec<NetworkNamespace>> {
    netns::find()
        .map(|namespaces| namespaces.found)
        .inspect_err(|error| log::warn!("cannot find network namespaces: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, sync::mpsc::channel};

    use super::*;

    fn own() -> u32 {
        u32::try_from(fs::metadata("/proc/self/ns/net").unwrap().ino()).unwrap()
    }

    #[test]
    fn a_socket_is_kept_for_its_time_and_no_longer_although_it_is_used() {
        let mut namespaces = NamespaceSockets::new();
        let start = Instant::now();
        let mut opened = 0;
        let mut use_at = |after: Duration| {
            namespaces.expire(start + after);
            let socket = namespaces.get(own(), start + after, |_| {
                opened += 1;
                Some(opened)
            });
            socket.copied()
        };
        let nearly = KEPT - Duration::from_millis(1);
        assert_eq!(
            [Duration::ZERO, Duration::from_secs(5), nearly, KEPT, KEPT + nearly].map(&mut use_at),
            [Some(1), Some(1), Some(1), Some(2), Some(2)]
        );
    }

    #[test]
    fn what_is_not_found_or_cannot_be_opened_is_tried_again_later() {
        let mut namespaces = NamespaceSockets::<u32>::new();
        let start = Instant::now();
        // No network namespace has this number.
        assert_eq!(namespaces.get(0, start, |_| unreachable!("there is none")), None);
        assert_eq!(namespaces.get(own(), start, |_| None), None);
        assert_eq!(namespaces.get(own(), start, |_| unreachable!("it was tried just now")), None);
        namespaces.expire(start + KEPT);
        assert_eq!(namespaces.get(own(), start + KEPT, |_| Some(7)), Some(&mut 7));
    }

    #[test]
    fn the_time_to_wait_is_until_the_oldest_expires() {
        let mut namespaces = NamespaceSockets::new();
        let start = Instant::now();
        assert_eq!(namespaces.expire(start), KEPT);
        namespaces.get(own(), start, |_| Some(()));
        namespaces.get(0, start + Duration::from_secs(4), |_| Some(()));
        assert_eq!(namespaces.expire(start + Duration::from_secs(6)), Duration::from_secs(4));
        assert_eq!(namespaces.expire(start + KEPT), Duration::from_secs(4));
    }

    #[test]
    fn questions_come_through_until_nobody_asks() {
        let (asking, questions) = channel();
        let mut namespaces = NamespaceSockets::<()>::new();
        asking.send(1).unwrap();
        assert_eq!(namespaces.receive(&questions), Some(1));
        drop(asking);
        assert_eq!(namespaces.receive(&questions), None);
    }
}
