//! Pages by what browsers and other clients say.

use std::sync::Arc;

use tcp_trace_model::record::{ConnectionId, Record};

use super::{super::Client, *};
use crate::timeline::{Keep, Pairs, Store};

const SHOP: &str = "http://shop/";

#[test]
fn parts_belong_to_the_page_that_refers_to_them() {
    let exchanges = [
        get(0, "http://shop/").document(),
        get(20, "http://shop/site.css").referer(SHOP),
        get(21, "http://cdn/lib.js?v=2").referer(SHOP),
        // The style sheet's font, and what the font's style sheet has to do with the page.
        get(50, "http://fonts/inter.woff2").referer("http://shop/site.css"),
        get(60, "http://shop/api").referer(SHOP).is("application/json"),
        get(90_000, "http://shop/poll").referer(SHOP),
    ];
    let expected = [
        "page http://shop/",
        "  / Document",
        "  /site.css",
        "  /lib.js?v=2",
        "  /inter.woff2",
        "  /api",
        "  /poll",
    ];
    assert_eq!(grouped(&exchanges), expected);
}

#[test]
fn redirects_lead_to_the_page_and_are_of_it() {
    assert_eq!(
        grouped(&[
            get(0, "http://shop/old").document().redirected("/new/"),
            get(10, "http://shop/new/").document().redirected("http://www.shop/"),
            get(20, "http://www.shop/").document(),
            get(40, "http://www.shop/logo").referer("http://www.shop/").redirected("//cdn/logo.svg"),
            get(60, "http://cdn/logo.svg").referer("http://www.shop/"),
        ]),
        [
            "page http://www.shop/",
            "  /old Document",
            "  /new/ Redirect",
            "  / Redirect",
            "  /logo",
            "  /logo.svg Redirect",
        ]
    );
    // curl says nothing of documents.
    let curl = |exchange: Exchange| exchange.by(7, "curl");
    assert_eq!(
        grouped(&[
            curl(get(0, "http://shop/old").redirected("new")),
            curl(get(10, "http://shop/new").is("application/json")),
        ]),
        ["page http://shop/new", "  /old Document", "  /new Redirect"]
    );
}

#[test]
fn a_redirect_is_followed_once_soon_and_by_the_same_client() {
    let old = || get(0, "http://shop/old").document().redirected("/new");
    let new = |ms| get(ms, "http://shop/new").document();
    assert_eq!(
        grouped(&[old(), new(10), new(30)]),
        [
            "page http://shop/new",
            "  /old Document",
            "  /new Redirect",
            "page http://shop/new",
            "  /new Document"
        ]
    );
    for other in [new(31_000), new(10).by(101, "firefox"), new(1)] {
        assert_eq!(
            grouped(&[old(), other]),
            ["page http://shop/old", "  /old Document", "page http://shop/new", "  /new Document"]
        );
    }
}

#[test]
fn a_link_that_is_followed_begins_another_page() {
    assert_eq!(
        grouped(&[
            get(0, "http://shop/").document(),
            get(20, "http://shop/a.css").referer(SHOP),
            get(40, "http://shop/cart").referer(SHOP).document(),
            get(60, "http://shop/cart.js").referer("http://shop/cart"),
            get(70, "http://shop/beacon").referer(SHOP),
        ]),
        [
            "page http://shop/",
            "  / Document",
            "  /a.css",
            "  /beacon SharedReferer",
            "page http://shop/cart",
            "  /cart Document",
            "  /cart.js",
        ]
    );
}

#[test]
fn two_tabs_of_one_browser_are_two_pages() {
    assert_eq!(
        grouped(&[
            get(0, "http://shop/").document(),
            get(5, "http://news/today").document(),
            get(20, "http://shop/a.png").referer(SHOP),
            get(21, "http://news/b.png").referer("http://news/today"),
            get(22, "http://cdn/c.png").referer(SHOP),
            get(23, "http://cdn/d.png").referer("http://news/"),
        ]),
        [
            "page http://shop/",
            "  / Document",
            "  /a.png",
            "  /c.png",
            "page http://news/today",
            "  /today Document",
            "  /b.png",
            "  /d.png RefererOrigin",
        ]
    );
}

#[test]
fn two_processes_share_no_page() {
    let other = |exchange: Exchange| exchange.by(200, "firefox");
    assert_eq!(
        grouped(&[
            get(0, "http://shop/").document(),
            other(get(1, "http://shop/").document()),
            get(20, "http://shop/a.png").referer(SHOP),
            other(get(21, "http://shop/a.png").referer(SHOP)),
            // The process id came to another program.
            get(22, "http://shop/a.png").referer(SHOP).by(100, "wget"),
        ]),
        [
            "page http://shop/",
            "  / Document",
            "  /a.png",
            "page http://shop/",
            "  / Document",
            "  /a.png",
            "unseen http://shop/",
            "  /a.png",
        ]
    );
}

#[test]
fn a_page_that_was_not_seen_is_known_by_its_referer() {
    assert_eq!(
        grouped(&[
            get(0, "http://shop/a.css").referer("https://shop/secure"),
            get(10, "http://shop/b.css").referer("https://shop/secure"),
            get(20, "http://shop/font").referer("http://shop/a.css"),
        ]),
        ["unseen https://shop/secure", "  /a.css", "  /b.css", "  /font"]
    );
}

#[test]
fn requests_of_no_page_are_listed_by_client() {
    let curl = |ms, url| get(ms, url).by(7, "curl").is("application/json");
    let mut connect = get(30, "http://shop/").by(7, "curl");
    connect.0.exchange.url = None;
    let mut unknown = get(40, "http://shop/").document();
    Arc::make_mut(&mut unknown.0.connection).role = None;
    assert_eq!(
        grouped(&[
            curl(0, "http://api/1"),
            get(10, "http://api/1").by(8, "curl").is("application/json"),
            get(15, "http://api/").by(7, "curl").is("text/html; charset=utf-8"),
            curl(20, "http://api/2"),
            connect,
            unknown,
        ]),
        [
            "others",
            "  /1 None",
            "  /2 None",
            "  / None",
            "others",
            "  /1 None",
            "page http://api/",
            "  / Document",
            "others",
            "  / None",
        ]
    );
}

#[test]
fn what_the_servers_end_saw_counts_where_the_clients_did_not() {
    let mut store = Store::new(Keep::all(1 << 20));
    let mut at_server = get(0, "http://shop/").document().on(1, 0).at_server([10, 0, 0, 1]);
    Arc::make_mut(&mut at_server.0.connection).id = ConnectionId::of_socket(9, 0);
    for http in recorded(&[
        get(0, "http://shop/").document().on(1, 0),
        at_server,
        get(5, "http://shop/").document().on(2, 0).at_server([10, 9, 9, 9]),
        get(20, "http://shop/a.png").referer(SHOP).on(2, 1).at_server([10, 9, 9, 9]),
    ]) {
        store.record(&Record::Http(http));
    }
    let groups = groups(&Pairs::new(&store).exchanges());
    let grouped: Vec<_> = groups.iter().map(|group| (group.client.clone(), group.members.len())).collect();
    let firefox = Client::Process { pid: 100, name: "firefox".into() };
    assert_eq!(grouped, [(firefox, 1), (Client::Remote([10, 9, 9, 9].into()), 2)]);
}
