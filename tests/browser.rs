//! A real browser, headless Chromium: its exchanges are what the server logged and what the browser's own timing
//! tells.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use serde::Deserialize;
use tcp_trace::{event::Role, record::Outcome};
use tcp_trace_tests::{Folder, Nginx, Script, Tracer, assert_logged, free_port, output};

/// What the browser tells of a part of a page (`PerformanceResourceTiming`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    name: String,
    encoded_body_size: u64,
    response_status: u16,
}

/// Loads a page to its end and gives its document as the browser has it then.
fn load(url: &str) -> String {
    let folder = Folder::new();
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--no-proxy-server", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", folder.file("profile").display())).arg(url);
    command.env("HOME", folder.path()).stdin(Stdio::null());
    String::from_utf8(output(&mut command).stdout).expect("a document is text")
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
    const EACH: usize = 5;
    let nginx = Nginx::start(free_port());
    let mut page = "<html><body>".to_owned();
    for number in 0..EACH {
        let size = 1000 * (number + 1);
        nginx.put(&format!("{number}.css"), &format!("/*{}*/", "c".repeat(size)));
        nginx.put(&format!("{number}.js"), &format!("/*{}*/", "j".repeat(size)));
        nginx.put(
            &format!("{number}.svg"),
            &format!("<svg xmlns='http://www.w3.org/2000/svg'><!--{}--></svg>", "s".repeat(size)),
        );
        page += &format!("<link rel=stylesheet href={number}.css><script src={number}.js></script>");
        page += &format!("<img src={number}.svg><img src=/missing/{number}.png>");
    }
    nginx.put("page.html", &(page + PAGE_END));
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let document = load(&nginx.url("127.0.0.1", "/page.html"));
    // The browser may ask for an icon too: whatever is logged when it has ended is what there is.
    let log = nginx.access_log(1 + 4 * EACH);
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
            let target = &http.http.request.as_ref().expect("requests are seen").target;
            let response = http.http.response.as_ref().expect("it was answered");
            (target.printable().to_string(), (response.status_code, response.body.size))
        })
        .collect();
    assert_eq!(told.len(), 4 * EACH, "{told:?}");
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
                let target = &http.http.request.as_ref().expect("requests are seen").target;
                is_it(&target.printable().to_string())
            });
            let http = of.unwrap_or_else(|| panic!("{role:?}: not recorded: {line:?}"));
            let response = http.http.response.as_ref().expect("it was answered");
            assert_eq!(response.status_code, line.status, "{http:?}");
            assert_eq!(response.body.size, line.body_bytes_sent, "{http:?}");
            let expected = if line.status == 101 { Outcome::Upgraded } else { Outcome::Ok };
            assert_eq!(http.outcome, expected, "{http:?}");
        }
    }
}
