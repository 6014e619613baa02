//! A real browser, headless Chromium: its exchanges are what the server logged and what the browser's own timing
//! tells.

use std::collections::BTreeMap;

use serde::Deserialize;
use tcp_trace_model::{event::Role, record::Outcome};
use tcp_trace_tests::{Nginx, PAGE_PARTS, Script, Tracer, assert_logged, free_port, load, put_page};

/// What the browser reports about a part of a page (`PerformanceResourceTiming`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    name: String,
    encoded_body_size: u64,
    response_status: u16,
}

const PAGE_END: &str = "<script>
onload = () => {
    const parts = performance.getEntriesByType('resource');
    const told = parts.map(({name, encodedBodySize, responseStatus}) => ({name, encodedBodySize, responseStatus}));
    document.getElementById('told').textContent = JSON.stringify(told);
};
</script><pre id=told></pre></body></html>";

#[test]
fn a_page_of_twenty_parts_is_recorded() {
    let nginx = Nginx::start(free_port());
    put_page(&nginx, PAGE_END);
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let document = load(&nginx.url("127.0.0.1", "/page.html"));
    // The browser may ask for an icon too: whatever is logged when it has ended is what there is.
    let log = nginx.access_log(1 + PAGE_PARTS);
    tracer.wait_for_lines("http", 2 * log.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_logged(&recording, &log, "nginx");
    let (_, told) = document.split_once("<pre id=\"told\">").expect("the page has it");
    let told = told.split_once("</pre>").expect("it ends").0;
    let told: Vec<Resource> = serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let recorded: BTreeMap<_, _> = recording
        .http_of(Role::Client)
        .into_iter()
        .map(|http| {
            let target = &http.exchange.request.as_ref().expect("requests are seen").target;
            let response = http.exchange.response.as_ref().expect("it was answered");
            (target.printable().to_string(), (response.status_code, response.body.size))
        })
        .collect();
    assert_eq!(told.len(), PAGE_PARTS, "{told:?}");
    for part in told {
        let target = part.name.strip_prefix(&nginx.url("127.0.0.1", "")).expect("it is of this server");
        let (status, size) = recorded[target];
        assert_eq!(status, part.response_status, "{part:?}");
        assert!(status == 404 || size == part.encoded_body_size, "{size} B: {part:?}");
    }
}

#[test]
fn a_websocket_of_a_page_is_one_exchange_that_is_upgraded() {
    let node = Script::start("node", "server.js");
    let tracer = Tracer::start(&["--port", &node.port().to_string()]);
    // Its picture comes when the server has answered a message on the WebSocket, and the page is loaded with it.
    load(&node.url("/page"));
    let log = node.access_log(3);
    tracer.wait_for_lines("http", 2 * log.len());
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let exchanges = recording.http_of(role);
        assert_eq!(exchanges.len(), log.len(), "{role:?}: {exchanges:#?}");
        for line in &log {
            let is_it = |uri: &str| uri == line.uri;
            let of = exchanges.iter().find(|http| {
                let target = &http.exchange.request.as_ref().expect("requests are seen").target;
                is_it(&target.printable().to_string())
            });
            let http = of.unwrap_or_else(|| panic!("{role:?}: not recorded: {line:?}"));
            let response = http.exchange.response.as_ref().expect("it was answered");
            assert_eq!(response.status_code, line.status, "{http:?}");
            assert_eq!(response.body.size, line.body_bytes_sent, "{http:?}");
            let expected = if line.status == 101 { Outcome::Upgraded } else { Outcome::Ok };
            assert_eq!(http.exchange.outcome, expected, "{http:?}");
        }
    }
}
