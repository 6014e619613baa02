//! When the route of a connection is asked for, and where the answer goes.

use std::sync::Arc;

use tcp_trace_model::record::{Connection, Interface, Route, RouteType};

use super::*;

fn route(index: u32) -> Option<Arc<Route>> {
    let interface = Interface { index, name: None };
    Some(Arc::new(Route { kind: RouteType::Local, interface, preferred_source: None, next_hop: None }))
}

impl Host {
    /// curl's SYN.
    fn syn(&mut self) {
        let port = 8080;
        self.state(CLIENT, endpoints(0, port), State::Close, State::SynSent, Some(owner(7, "curl")), 0);
        let ends = endpoints(41352, port);
        self.segment(CLIENT, ends, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", State::SynSent);
    }

    fn becomes(&mut self, old: State, new: State, error: i32) {
        self.state(CLIENT, endpoints(41352, 8080), old, new, None, error);
    }

    fn tick_us(&mut self, us: u64) {
        self.now += us * 1_000;
        self.pipeline.tick(Time(self.now));
        self.take();
    }

    fn questions(&mut self) -> Vec<RouteQuestion> {
        std::mem::take(&mut self.questions)
    }

    fn client(&self) -> Option<&Connection> {
        self.out.iter().find_map(|record| match record {
            Record::Connection(summary) if summary.connection.id.cookie == CLIENT => Some(&**summary),
            _ => None,
        })
    }
}

#[test]
fn a_connect_is_asked_for_once_it_has_succeeded_or_failed() {
    for (new, error) in [(State::Established, 0), (State::Close, 113)] {
        let mut host = Host::new(Filter::default());
        host.syn();
        assert_eq!(host.questions(), [], "the next hop may be unknown still");
        host.becomes(State::SynSent, new, error);
        let [question] = host.questions()[..] else { panic!("one question") };
        let expected = endpoints(41352, 8080);
        assert_eq!((question.local, question.peer), (expected.local.ip(), expected.peer));
        assert_eq!((question.connection.cookie, question.netns), (CLIENT, NETNS));
    }
}

#[test]
fn a_connect_that_hangs_is_asked_for_when_its_syn_comes_again() {
    let mut host = Host::new(Filter::default());
    host.syn();
    let ends = endpoints(41352, 8080);
    host.segment(CLIENT, ends, Direction::Out, Flags::SYN, (CLIENT_ISN, 0), b"", State::SynSent);
    let [first] = host.questions()[..] else { panic!("one question") };
    host.pipeline.route(first.connection, route(1));
    host.becomes(State::SynSent, State::Close, 110);
    let [second] = host.questions()[..] else { panic!("one more") };
    host.pipeline.route(second.connection, None);
    host.finish();
    let index = host.client().unwrap().route.as_ref().map(|route| route.interface.index);
    assert_eq!(index, Some(1), "what was known stays");
}

#[test]
fn servers_and_what_does_not_come_out_are_not_asked_for() {
    let mut host = Host::new(Filter::default());
    host.handshake();
    let cookies: Vec<_> = host.questions().iter().map(|question| question.connection.cookie).collect();
    assert_eq!(cookies, [CLIENT]);
    let mut host = Host::new(Filter { port: vec![81], ..Filter::default() });
    host.handshake();
    assert_eq!(host.questions(), []);
}

#[test]
fn a_summary_waits_for_its_route_but_not_for_ever() {
    for is_answered in [true, false] {
        let mut host = Host::new(Filter::default());
        host.syn();
        host.becomes(State::SynSent, State::Close, 111);
        host.tick_us(100_000);
        assert!(host.client().is_none(), "it waits");
        let [question] = host.questions()[..] else { panic!("one question") };
        if is_answered {
            host.pipeline.route(question.connection, route(3));
            host.tick_us(1);
        } else {
            host.tick_us(1_000_000);
        }
        let summary = host.client().expect("it has waited long enough");
        let index = summary.route.as_ref().map(|route| route.interface.index);
        assert_eq!(index, is_answered.then_some(3));
    }
}
