//! Routes of connections, asked for beside the loop: each at most once a second, and not more than a bounded number
//! of them.

use std::{
    collections::HashMap,
    mem,
    net::{IpAddr, SocketAddr},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use tcp_trace_core::pipeline::{Pipeline, RouteQuestion};
use tcp_trace_model::record::{ConnectionId, Route};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::namespaces::NamespaceSockets;
use crate::kernel::{netns::NetworkNamespace, rtnetlink::Rtnetlink};

/// Routes that are asked for in a second. Each takes some 20 us of a processor.
const ASKED_MAX: usize = 500;
/// How long an answer counts for other connections with the same addresses. Also the time in which `ASKED_MAX` count.
const FRESH: Duration = Duration::from_secs(1);
/// Connections that wait for answers at the same time.
const WAITING_MAX: usize = 16_384;
/// How long the last answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a route depends on, as far as the kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    netns: u32,
    local: IpAddr,
    peer: SocketAddr,
}

/// A route, or that there is none.
type Answer = Option<Arc<Route>>;

enum Entry {
    Known(Answer),
    /// Who waits for it.
    Waiting(Vec<ConnectionId>),
}

/// The thread that asks, and what it answered.
pub(super) struct Routes {
    questions: mpsc::Sender<Key>,
    answers: UnboundedReceiver<(Key, Answer)>,
    /// Bounded by `ASKED_MAX`: what is known is thrown away every `FRESH`.
    entries: HashMap<Key, Entry>,
    since: Instant,
    asked: usize,
    waiting: usize,
    left_out: u64,
}

impl Routes {
    /// Starts the thread. It ends when this is dropped.
    pub(super) fn new() -> std::io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (answering, answers) = unbounded_channel();
        thread::Builder::new().name("routes".to_owned()).spawn(move || answer(&asked, &answering))?;
        let (entries, since) = (HashMap::new(), Instant::now());
        Ok(Self { questions, answers, entries, since, asked: 0, waiting: 0, left_out: 0 })
    }

    /// Asks for a route; the answer may be known already.
    pub(super) fn ask(&mut self, question: RouteQuestion, pipeline: &mut Pipeline) {
        if let Some(answer) = self.known(question, Instant::now()) {
            pipeline.route(question.connection, answer);
        }
    }

    /// Hands the pipeline the answers that have come.
    pub(super) fn answer(&mut self, pipeline: &mut Pipeline) {
        while let Ok((key, answer)) = self.answers.try_recv() {
            self.take(key, &answer, pipeline);
        }
    }

    /// Waits for the answers that are still to come, for a while.
    pub(super) async fn finish(&mut self, pipeline: &mut Pipeline) {
        self.answer(pipeline);
        let until = tokio::time::Instant::now() + LAST_ANSWERS;
        while self.waiting > 0 {
            match tokio::time::timeout_at(until, self.answers.recv()).await {
                Ok(Some((key, answer))) => self.take(key, &answer, pipeline),
                _ => break,
            }
        }
        if self.left_out > 0 {
            log::info!(
                "no route recorded for {} connections (limit: {ASKED_MAX} route look-ups per second)",
                self.left_out
            );
        }
    }

    /// The answer, if there is one already; else it is asked for.
    fn known(&mut self, question: RouteQuestion, now: Instant) -> Option<Answer> {
        if now.duration_since(self.since) >= FRESH {
            self.entries.retain(|_, entry| matches!(entry, Entry::Waiting(_)));
            self.asked = self.entries.len();
            self.since = now;
        }
        let RouteQuestion { connection, netns, local, peer } = question;
        let key = Key { netns, local, peer };
        match self.entries.get_mut(&key) {
            Some(Entry::Known(answer)) => return Some(answer.clone()),
            Some(Entry::Waiting(connections)) if self.waiting < WAITING_MAX => connections.push(connection),
            None if self.asked < ASKED_MAX && self.questions.send(key).is_ok() => {
                self.asked += 1;
                self.entries.insert(key, Entry::Waiting(vec![connection]));
            }
            _ => {
                self.left_out += 1;
                return Some(None);
            }
        }
        self.waiting += 1;
        None
    }

    fn take(&mut self, key: Key, answer: &Answer, pipeline: &mut Pipeline) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let Entry::Waiting(connections) = mem::replace(entry, Entry::Known(answer.clone())) {
            self.waiting -= connections.len();
            for connection in connections {
                pipeline.route(connection, answer.clone());
            }
        }
    }
}

/// The thread: answers until nobody asks or listens.
fn answer(questions: &mpsc::Receiver<Key>, answers: &UnboundedSender<(Key, Answer)>) {
    let mut namespaces = NamespaceSockets::new();
    while let Some(key) = namespaces.receive(questions) {
        let rtnetlink = namespaces.get(key.netns, Instant::now(), open);
        let answer = rtnetlink.and_then(|rtnetlink| route(rtnetlink, key));
        if answers.send((key, answer)).is_err() {
            return;
        }
    }
}

fn route(rtnetlink: &mut Rtnetlink, Key { local, peer, .. }: Key) -> Answer {
    let route = rtnetlink.route(local, peer);
    let route = route.inspect_err(|error| log::info!("route to {peer}: {error}"));
    route.ok().flatten().map(Arc::new)
}

/// A socket in a network namespace.
fn open(namespace: &NetworkNamespace) -> Option<Rtnetlink> {
    let NetworkNamespace { inode, .. } = namespace;
    let socket = namespace.rtnetlink();
    socket.inspect_err(|error| log::info!("cannot request routes of network namespace {inode}: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(peer: SocketAddr, cookie: u64) -> RouteQuestion {
        let connection = ConnectionId::of_socket(cookie, 0);
        // No network namespace has this number, so what is asked for has no route.
        RouteQuestion { connection, netns: 0, local: [127, 0, 0, 1].into(), peer }
    }

    #[test]
    fn connections_with_the_same_addresses_share_an_answer_for_a_second() {
        let mut routes = Routes::new().unwrap();
        let (peer, now) = (SocketAddr::from(([127, 0, 0, 1], 80)), Instant::now());
        for cookie in 0..10 {
            assert_eq!(routes.known(question(peer, cookie), now), None, "it is being asked for");
        }
        assert_eq!((routes.asked, routes.waiting), (1, 10));
        let (key, answer) = routes.answers.blocking_recv().unwrap();
        routes.take(key, &answer, &mut Pipeline::new(tcp_trace_core::pipeline::Settings::default()));
        assert_eq!(routes.waiting, 0);
        assert_eq!(routes.known(question(peer, 10), now), Some(None), "it is known");
        assert_eq!(routes.known(question(peer, 11), now + FRESH), None, "it is asked for again");
        assert_eq!((routes.asked, routes.left_out), (1, 0));
    }

    #[test]
    fn beyond_so_many_in_a_second_none_is_asked_for() {
        let mut routes = Routes::new().unwrap();
        let peers = |count: u16| (0..count).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let now = Instant::now();
        let answers: Vec<_> =
            peers(ASKED_MAX as u16 + 3).map(|peer| routes.known(question(peer, 1), now)).collect();
        assert!(answers[..ASKED_MAX].iter().all(Option::is_none));
        assert_eq!(answers[ASKED_MAX..], [Some(None), Some(None), Some(None)]);
        assert_eq!(routes.left_out, 3);
        // Those that are not answered count still: a kernel that does not answer is not asked ever more.
        assert_eq!(routes.known(question(SocketAddr::from(([127, 0, 0, 2], 1)), 1), now + FRESH), Some(None));
    }
}
