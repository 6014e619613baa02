//! Pages where the Referer does not settle it: what is inferred says so.

use super::*;

#[test]
fn a_referer_that_is_cut_down_to_the_origin_means_its_latest_page() {
    assert_eq!(
        grouped(&[
            get(0, "http://shop/").document(),
            get(20, "http://cdn/a.js").referer("http://shop/"),
            get(40, "http://shop/cart").document(),
            get(60, "http://cdn/b.js").referer("http://shop/"),
            get(70, "http://cdn/c.js").referer("http://elsewhere/"),
        ]),
        [
            "page http://shop/",
            "  / Document",
            "  /a.js",
            "page http://shop/cart",
            "  /cart Document",
            "  /b.js RefererOrigin",
            "unseen http://elsewhere/",
            "  /c.js",
        ]
    );
}

#[test]
fn without_a_referer_the_origin_and_the_kind_of_fetch_tell() {
    let fetch =
        |exchange: Exchange, site| exchange.with("Sec-Fetch-Dest", "empty").with("Sec-Fetch-Site", site);
    assert_eq!(
        grouped(&[
            get(0, "http://shop/cart").document(),
            get(5, "http://news/today").document(),
            get(20, "http://shop/socket").with("Origin", "http://shop"),
            fetch(get(21, "http://shop/api"), "same-origin"),
            fetch(get(22, "http://cdn/x"), "cross-site"),
            fetch(get(23, "http://other/x"), "same-origin"),
            fetch(get(24, "http://shop/x"), "none"),
            get(25, "http://shop/null").with("Origin", "null"),
        ]),
        [
            "page http://shop/cart",
            "  /cart Document",
            "  /socket Origin",
            "  /api FetchSite",
            "  /null Time",
            "page http://news/today",
            "  /today Document",
            "  /x FetchSite",
            "others",
            "  /x None",
            "  /x None",
        ]
    );
}

#[test]
fn without_any_field_only_a_loading_page_of_a_browser_counts() {
    let page = || get(0, "http://shop/").navigation();
    for (exchange, expected) in [
        (get(500, "http://shop/a.js"), "  /a.js Time"),
        (get(500, "http://cdn/a.js"), "  /a.js Time"),
        (get(1_011, "http://shop/a.js"), "  /a.js None"),
        (get(500, "http://shop/a.js").by(101, "firefox"), "  /a.js None"),
    ] {
        assert_eq!(grouped(&[page(), exchange]).last().unwrap(), expected);
    }
    // What it got is HTML, but nothing says that it is a browser.
    let script = [get(0, "http://shop/").is("text/html"), get(20, "http://shop/api")];
    assert_eq!(grouped(&script), ["page http://shop/", "  / Document", "others", "  /api None"]);
}

#[test]
fn a_document_in_a_loading_page_may_be_a_frame() {
    let linked = |ms| get(ms, "http://shop/b").navigation().referer("http://shop/a");
    let page = || get(0, "http://shop/a").navigation();
    assert_eq!(grouped(&[page(), linked(20)]), ["page http://shop/a", "  /a Document", "  /b Frame"]);
    assert_eq!(
        grouped(&[page(), linked(5_000)]),
        ["page http://shop/a", "  /a Document", "page http://shop/b", "  /b Document"]
    );
    // At hosts that the browser trusts it says which.
    let frame = linked(20).with("Sec-Fetch-Dest", "iframe");
    assert_eq!(grouped(&[page(), frame]), ["page http://shop/a", "  /a Document", "  /b"]);
    let tab = linked(20).with("Sec-Fetch-Dest", "document");
    assert_eq!(grouped(&[page(), tab])[2], "page http://shop/b");
}

#[test]
fn a_referer_of_two_pages_is_inferred_to_be_the_latest() {
    let page = |ms| get(ms, "http://shop/a").document();
    let part = |ms| get(ms, "http://shop/x.png").referer("http://shop/a");
    // Loaded in two tabs at once.
    assert_eq!(
        grouped(&[page(0), page(5), part(20)]),
        [
            "page http://shop/a",
            "  /a Document",
            "page http://shop/a",
            "  /a Document",
            "  /x.png SharedReferer"
        ]
    );
    // Loaded again later.
    assert_eq!(grouped(&[page(0), page(5_000), part(5_020)]).last().unwrap(), "  /x.png");
    // A style sheet that a later page may have from the cache.
    assert_eq!(
        grouped(&[
            page(0),
            get(20, "http://shop/a.css").referer("http://shop/a"),
            get(5_000, "http://shop/b").document(),
            get(5_020, "http://shop/font").referer("http://shop/a.css"),
        ])[3],
        "  /font SharedReferer"
    );
}
