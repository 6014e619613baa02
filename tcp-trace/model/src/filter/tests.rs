//! Which connections are selected.

use std::net::SocketAddr;

use super::*;

fn endpoints(local_port: u16) -> Option<Endpoints> {
    Some(Endpoints {
        local: SocketAddr::from(([10, 0, 0, 1], local_port)),
        peer: SocketAddr::from(([10, 0, 0, 2], 8080)),
    })
}

fn owner(followed: bool) -> Owner {
    Owner { followed, ..Owner::new(7, "curl") }
}

fn judge(filter: &Filter, endpoints: Option<Endpoints>, owner: Option<&Owner>) -> Option<bool> {
    filter.judge(Facts { endpoints, netns: Some(4_026_531_840), owner, ..Facts::default() })
}

#[test]
fn no_filter_lets_everything_through_at_once() {
    assert_eq!(judge(&Filter::default(), None, None), Some(true));
}

#[test]
fn a_port_matches_either_end() {
    let filter = |port| Filter { port: vec![port], ..Filter::default() };
    assert_eq!(judge(&filter(8080), endpoints(41352), None), Some(true));
    assert_eq!(judge(&filter(41352), endpoints(41352), None), Some(true));
    assert_eq!(judge(&filter(80), endpoints(41352), None), Some(false));
}

#[test]
fn a_port_that_is_not_chosen_yet_leaves_it_open() {
    let filter = Filter { port: vec![41352], ..Filter::default() };
    assert_eq!(judge(&filter, endpoints(0), None), None);
    assert_eq!(judge(&Filter { port: vec![8080], ..filter }, endpoints(0), None), Some(true));
}

#[test]
fn a_port_can_be_asked_for_at_one_end() {
    let local = |port| Filter { local_port: vec![port], ..Filter::default() };
    let peer = |port| Filter { peer_port: vec![port], ..Filter::default() };
    for (filter, local_port, expected) in [
        (local(41352), 41352, Some(true)),
        (local(8080), 41352, Some(false)),
        (local(41352), 0, None),
        (peer(8080), 41352, Some(true)),
        (peer(8080), 0, Some(true)),
        (peer(41352), 41352, Some(false)),
        (peer(41352), 0, Some(false)),
        (Filter { port: vec![41352], ..peer(8080) }, 41352, Some(true)),
        (Filter { port: vec![41352], ..peer(8080) }, 0, None),
        (Filter { port: vec![41352], ..local(1) }, 41352, Some(false)),
    ] {
        assert_eq!(judge(&filter, endpoints(local_port), None), expected, "{filter:?}");
    }
}

#[test]
fn an_address_matches_a_network_of_either_end() {
    let filter = |net: &str| Filter { addr: vec![net.parse().unwrap()], ..Filter::default() };
    assert_eq!(judge(&filter("10.0.0.0/8"), endpoints(1), None), Some(true));
    assert_eq!(judge(&filter("10.0.0.2"), endpoints(1), None), Some(true));
    assert_eq!(judge(&filter("192.0.2.0/24"), endpoints(1), None), Some(false));
    assert_eq!(judge(&filter("::1"), endpoints(1), None), Some(false));
}

#[test]
fn each_kind_matches_the_sockets_own_addresses_or_the_translated_ones() {
    // REDIRECT of 10.0.0.2:8080 to 127.0.0.1:15001.
    let translated = Endpoints {
        local: SocketAddr::from(([10, 0, 0, 1], 41352)),
        peer: SocketAddr::from(([127, 0, 0, 1], 15_001)),
    };
    let addr = |net: &str| vec![net.parse().unwrap()];
    for (filter, without, with) in [
        (Filter { port: vec![8080], ..Filter::default() }, true, true),
        (Filter { port: vec![15_001], ..Filter::default() }, false, true),
        (Filter { peer_port: vec![15_001], ..Filter::default() }, false, true),
        (Filter { local_port: vec![15_001], ..Filter::default() }, false, false),
        (Filter { addr: addr("10.0.0.2"), ..Filter::default() }, true, true),
        (Filter { addr: addr("127.0.0.0/8"), ..Filter::default() }, false, true),
        (Filter { addr: addr("127.0.0.1"), port: vec![8080], ..Filter::default() }, false, true),
        (Filter { addr: addr("192.0.2.1"), port: vec![8080], ..Filter::default() }, false, false),
    ] {
        let judge =
            |translated| filter.judge(Facts { endpoints: endpoints(41352), translated, ..Facts::default() });
        assert_eq!(judge(Translated::No), Some(without), "{filter:?}");
        assert_eq!(judge(Translated::To(translated)), Some(with), "{filter:?}");
        assert_eq!(judge(Translated::Unknown), without.then_some(true), "{filter:?}: it may become known");
    }
}

#[test]
fn the_process_is_waited_for() {
    let filter = Filter { comm: vec!["curl".to_owned()], ..Filter::default() };
    assert_eq!(judge(&filter, endpoints(1), None), None);
    assert_eq!(judge(&filter, endpoints(1), Some(&owner(false))), Some(true));
    let other = Filter { comm: vec!["cur".to_owned()], ..Filter::default() };
    assert_eq!(judge(&other, endpoints(1), Some(&owner(false))), Some(false), "whole names only");
}

#[test]
fn a_network_namespace_is_asked_for_by_its_inode_number() {
    let filter = Filter { netns: vec![7, 4_026_531_840], ..Filter::default() };
    let judge = |netns| filter.judge(Facts { netns, ..Facts::default() });
    assert_eq!(judge(Some(4_026_531_840)), Some(true));
    assert_eq!(judge(Some(8)), Some(false));
    assert_eq!(judge(None), None, "it may become known");
}

#[test]
fn a_cgroup_is_asked_for_with_all_below_it() {
    for (asked, path, expected) in [
        ("/system.slice", Some("/system.slice"), Some(true)),
        ("/system.slice", Some("/system.slice/nginx.service"), Some(true)),
        ("/system.slice", Some("/system.slice2"), Some(false)),
        ("/system.slice/nginx.service", Some("/system.slice"), Some(false)),
        ("/", Some("/"), Some(true)),
        ("/", Some("/a/b"), Some(true)),
        ("/a", Some("/"), Some(false)),
        ("/a", None, None),
    ] {
        let filter = Filter { cgroup: vec!["/other".to_owned(), asked.to_owned()], ..Filter::default() };
        let info = ProcessInfo { cgroup: path.map(Arc::from), ..ProcessInfo::default() };
        let owner = Owner { info, ..owner(false) };
        assert_eq!(judge(&filter, None, Some(&owner)), expected, "{asked} {path:?}");
        let filter = Filter { pid: vec![8], ..filter };
        assert_eq!(judge(&filter, None, Some(&owner)), Some(false), "the process already says no");
    }
    let filter = Filter { cgroup: vec!["/a".to_owned()], ..Filter::default() };
    assert_eq!(judge(&filter, None, None), None);
}

#[test]
fn kinds_restrict_each_other_and_one_no_is_enough() {
    let filter = Filter { port: vec![80], pid: vec![7], ..Filter::default() };
    assert_eq!(judge(&filter, endpoints(1), None), Some(false), "the port already says no");
    let filter = Filter { port: vec![8080], pid: vec![7], ..Filter::default() };
    assert_eq!(judge(&filter, endpoints(1), Some(&owner(false))), Some(true));
    let filter = Filter { followed: true, ..filter };
    assert_eq!(judge(&filter, endpoints(1), Some(&owner(false))), Some(false));
    assert_eq!(judge(&filter, endpoints(1), Some(&owner(true))), Some(true));
}

#[test]
fn what_is_excluded_does_not_pass() {
    let not = |not: Filter| Filter { not: vec![not], ..Filter::default() };
    let curl = owner(false);
    for (filter, owner, expected) in [
        (not(Filter { port: vec![8080], ..Filter::default() }), None, Some(false)),
        (not(Filter { port: vec![22], ..Filter::default() }), None, Some(true)),
        (not(Filter { comm: vec!["curl".to_owned()], ..Filter::default() }), Some(&curl), Some(false)),
        (not(Filter { comm: vec!["wget".to_owned()], ..Filter::default() }), Some(&curl), Some(true)),
        (not(Filter { comm: vec!["wget".to_owned()], ..Filter::default() }), None, None),
    ] {
        assert_eq!(judge(&filter, endpoints(1), owner), expected, "{filter:?}");
    }
    let unknown = not(Filter { comm: vec!["wget".to_owned()], ..Filter::default() });
    assert!(unknown.judge_finally(Facts::default()), "nothing shows that it is excluded");
    let only = Filter { comm: vec!["curl".to_owned()], ..unknown };
    assert!(!only.judge_finally(Facts::default()), "nothing shows that it is selected");
}

#[test]
fn exchanges_are_excluded_one_by_one() {
    let exchanges = ExchangeFilter { path: vec!["/health".parse().unwrap()], ..ExchangeFilter::default() };
    let filter = Filter { not: vec![Filter { exchanges, ..Filter::default() }], ..Filter::default() };
    assert_eq!(judge(&filter, endpoints(1), None), Some(true), "the connection may have others");
    assert!(filter.selects_exchanges() && !filter.of_connections().selects_exchanges());
    assert!(filter.selects(&Exchange::default()));
}

#[test]
fn containers_and_units_are_parts_of_the_path_of_a_cgroup() {
    const ID: &str = "6b2ad5e1f70c4a95d0f1e2d3c4b5a69788796a5b4c3d2e1f0f1e2d3c4b5a6978";
    let docker = format!("/system.slice/docker-{ID}.scope");
    let of_container = |start: &str| Filter { container: vec![start.to_owned()], ..Filter::default() };
    let of_unit = |unit: &str| Filter { unit: vec![unit.to_owned()], ..Filter::default() };
    for (filter, path, expected) in [
        (of_container("6b2ad5e1f70c"), Some(&*docker), Some(true)),
        (of_container("0123"), Some(&*docker), Some(false)),
        (of_container("6b2a"), Some("/system.slice/nginx.service"), Some(false)),
        (of_container("6b2a"), None, None),
        (of_unit("nginx.service"), Some("/system.slice/nginx.service"), Some(true)),
        (of_unit("nginx.service"), Some("/system.slice/ssh.service"), Some(false)),
    ] {
        let info = ProcessInfo { cgroup: path.map(Arc::from), ..ProcessInfo::default() };
        let owner = Owner { info, ..owner(false) };
        assert!(filter.asks_for_processes());
        assert_eq!(judge(&filter, None, Some(&owner)), expected, "{filter:?} {path:?}");
    }
}

#[test]
fn a_connection_is_selected_by_its_name() {
    let filter = Filter { connection: vec!["c4101.1".parse().unwrap()], ..Filter::default() };
    let judge =
        |name: &str| filter.judge(Facts { connection: Some(name.parse().unwrap()), ..Facts::default() });
    assert_eq!((judge("c4101.1"), judge("c4101")), (Some(true), Some(false)));
}
