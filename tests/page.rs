//! The waterfalls of `show --group page` are the pages that real clients loaded, in the order and with the times of the
//! recording, as a user without privileges sees them.

use std::{
    collections::HashMap,
    fs,
    process::{Command, Stdio},
    sync::Arc,
};

use tcp_trace_model::{
    event::{Role, State},
    record::{Connection, Dns, Http, Process, Record},
};
use tcp_trace_tests::{
    DnsServer, Folder, Namespace, Nginx, PAGE_PARTS, Recording, Running, Tracer, curl, free_port, load,
    output, put_page, unprivileged, wait_for,
};

/// A recording that everybody can read.
struct Shown {
    folder: Folder,
    recording: Recording,
}

impl Shown {
    fn new(tracer: Tracer) -> Self {
        let (recording, text) = tracer.stop_with_text();
        let folder = Folder::new();
        let path = folder.file("recording.jsonl");
        fs::write(&path, text).expect("the folder is ours");
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, readable).expect("the folder is ours");
        Self { folder, recording }
    }

    fn show(&self, arguments: &[&str]) -> Command {
        let mut show = unprivileged(&self.folder);
        show.current_dir(self.folder.path()).env("COLUMNS", "160").env("TZ", "UTC").stdin(Stdio::null());
        show.args(["show", "recording.jsonl", "--group", "page"]).args(arguments);
        show
    }

    /// The pages that are printed with these further arguments.
    fn pages(&self, arguments: &[&str]) -> Vec<Page> {
        let printed = output(&mut self.show(arguments));
        assert_eq!(String::from_utf8_lossy(&printed.stderr), "", "{arguments:?}");
        let text = String::from_utf8(printed.stdout).expect("it prints text");
        // Between empty lines, behind the legend and before the totals.
        let parts: Vec<_> = text.trim_end().split("\n\n").collect();
        parts[1..parts.len() - 1].iter().map(|part| Page::parse(part)).collect()
    }

    /// The exchange of a row as an end recorded it.
    fn exchange(&self, role: Role, row: &Row) -> &Http {
        let exchanges = self.recording.http_of(role);
        let is_it =
            |http: &&&Http| format!("{} #{}", http.connection.id, http.exchange.index) == row.connection;
        exchanges.iter().find(is_it).unwrap_or_else(|| panic!("not recorded: {row:?}"))
    }

    /// Asserts that rows are the recording's exchanges, in its order and with its times.
    fn assert_recorded(&self, role: Role, page: &Page) {
        let first = self.exchange(role, &page.rows[0]);
        let mut before = first.exchange.timing.started;
        for row in &page.rows {
            let http = self.exchange(role, row);
            let timing = &http.exchange.timing;
            assert!(timing.started >= before, "{row:?} in {page:#?}");
            before = timing.started;
            let target =
                http.exchange.request.as_ref().expect("requests are seen").target.printable().to_string();
            let status = http.exchange.response.as_ref().map(|response| response.status_code);
            assert_eq!((&row.target, Some(row.status)), (&target, status), "{row:?}");
            assert_eq!(row.is_new, http.exchange.index == 0, "{row:?}");
            // What is printed is rounded, each to a tenth of a millisecond at least.
            let ms = |us: u64| us as f64 / 1000.0;
            let start = ms(timing.started.micros_since(first.exchange.timing.started));
            assert!((row.start - page.rows[0].start - start).abs() < 0.11, "{start} {row:?}");
            assert!((row.took - ms(timing.total_us)).abs() < 0.06, "{timing:?} {row:?}");
        }
    }
}

/// What is printed of a page.
#[derive(Debug)]
struct Page {
    address: String,
    totals: String,
    rows: Vec<Row>,
    text: String,
}

/// What is printed of a request.
#[derive(Debug)]
struct Row {
    start: f64,
    target: String,
    status: u16,
    connection: String,
    is_new: bool,
    took: f64,
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let title = lines.next().expect("a title");
        let address = title.splitn(4, ' ').nth(3).expect("date, time, zone and an address");
        let totals = lines.next().expect("totals").to_owned();
        let rows = lines.skip(1).map_while(Row::parse).collect();
        Self { address: address.to_owned(), totals, rows, text: text.to_owned() }
    }
}

impl Row {
    /// `START GET TARGET KIND STATUS SIZE UNIT +ID #INDEX BAR TOOK`; the kind may be missing. `None` behind the rows.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().collect();
        let start = words.first()?.parse().ok()?;
        let at = words.iter().position(|word| word.starts_with('#'))?;
        let id = words[at - 1];
        Some(Self {
            start,
            target: words[2].to_owned(),
            status: words[at - 4].parse().expect("a status code"),
            connection: format!("{} {}", id.trim_start_matches('+'), words[at]),
            is_new: id.starts_with('+'),
            took: words.last()?.parse().expect("a time"),
        })
    }
}

/// How often each target was requested.
fn counts<'a>(targets: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    targets.for_each(|target| *counts.entry(target).or_default() += 1);
    counts
}

#[test]
fn what_a_browser_loads_for_a_page_is_one_page() {
    let nginx = Nginx::start(free_port());
    put_page(&nginx, "</body></html>");
    // What only a style sheet refers to.
    nginx.put("0.css", "@import url(/imported.css);");
    nginx.put("imported.css", "/**/");
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    load(&nginx.url("localhost", "/page.html"));
    // The browser may ask for an icon too.
    let log = nginx.access_log(2 + PAGE_PARTS);
    tracer.wait_for_lines("http", 2 * log.len());
    tracer.wait_for_closed();
    let shown = Shown::new(tracer);
    let pages = shown.pages(&["--comm", "chromium"]);
    let [page] = pages.as_slice() else { panic!("{pages:#?}") };
    assert_eq!(page.address, nginx.url("localhost", "/page.html"));
    let logged = counts(log.iter().map(|line| line.uri.as_str()));
    assert_eq!(counts(page.rows.iter().map(|row| row.target.as_str())), logged, "{page:#?}");
    assert!(page.rows.len() >= 2 + PAGE_PARTS && page.rows[0].target == "/page.html", "{page:#?}");
    shown.assert_recorded(Role::Client, page);
    assert!(!page.text.contains('~'), "the browser says all by Referer: {page:#?}");
    let exchanges = shown.recording.http_of(Role::Client);
    let pid = exchanges[0].connection.process.as_ref().expect("it is known").pid;
    let start = format!("chromium[{pid}]: {} requests on ", log.len());
    assert!(page.totals.starts_with(&start), "{page:#?}");
    // Without a filter the servers' ends are there too, and each exchange is still shown once.
    assert_eq!(shown.pages(&[]).len(), 1);
    // Where only theirs are, the client is an address.
    let pages = shown.pages(&["--comm", "nginx"]);
    let [page] = pages.as_slice() else { panic!("{pages:#?}") };
    assert_eq!(counts(page.rows.iter().map(|row| row.target.as_str())), logged, "{page:#?}");
    let client = shown.recording.http_of(Role::Server)[0].connection.ends().peer.address;
    assert!(page.totals.starts_with(&format!("{client}, as nginx[")), "{page:#?}");
    shown.assert_recorded(Role::Server, page);
}

#[test]
fn a_redirect_that_curl_follows_is_of_the_page() {
    let nginx = Nginx::start(free_port());
    nginx.put("shop/index.html", "<html></html>");
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    // nginx redirects to the folder.
    let url = nginx.url("127.0.0.1", "/shop");
    let [one] = curl(&["--location", &url]).try_into().expect("one transfer");
    let [other] = curl(&["--location", &url]).try_into().expect("one transfer");
    tracer.wait_for_lines("http", 8);
    tracer.wait_for_closed();
    let shown = Shown::new(tracer);
    let pages = shown.pages(&[]);
    assert_eq!(pages.len(), 2, "{pages:#?}");
    for (page, curl) in pages.iter().zip([one, other]) {
        assert_eq!(page.address, nginx.url("127.0.0.1", "/shop/"), "{page:#?}");
        assert!(
            page.totals.starts_with(&format!("curl[{}]: 2 requests on 1 connection, ", curl.pid)),
            "{page:#?}"
        );
        let rows: Vec<_> = page.rows.iter().map(|row| (row.target.as_str(), row.status)).collect();
        assert_eq!(rows, [("/shop", 301), ("/shop/", 200)]);
        shown.assert_recorded(Role::Client, page);
        let last = &page.rows[1];
        assert!(last.start + last.took <= curl.time_total * 1000.0, "{curl:?}: {page:#?}");
    }
}

#[test]
fn a_page_begins_with_the_lookup_of_its_name() {
    const PORT: u16 = 8080;
    let namespace = Namespace::new();
    let server = DnsServer::start(&namespace);
    let nginx = Nginx::start_in(&namespace, PORT);
    nginx.put("index.html", "<html></html>");
    let tracer = Tracer::start(&["--comm", "curl"]);
    let url = nginx.url("web.test.", "/index.html");
    let mut client = server.client(&namespace, "curl");
    let mut curl = Running::start(client.args(["-so", "/dev/null", &url, &url]).stdout(Stdio::null()));
    assert!(curl.0.wait().expect("it can be waited for").success());
    // Other tests run a curl too.
    let is_its =
        |process: &Option<Arc<Process>>| process.as_ref().is_some_and(|process| process.pid == curl.pid());
    wait_for("its exchanges", || {
        let records = tracer.records();
        let is_http =
            |record: &&Record| matches!(record, Record::Http(http) if is_its(&http.connection.process));
        (records.iter().filter(is_http).count() == 2).then_some(())
    });
    let shown = Shown::new(tracer);
    let pages = shown.pages(&["--pid", &curl.pid().to_string()]);
    let [page, again] = pages.as_slice() else { panic!("{pages:#?}") };
    shown.assert_recorded(Role::Client, page);
    let summary = shown
        .recording
        .connections()
        .find(|summary| is_its(&summary.connection.process))
        .expect("it connects");
    let number = summary.dns.as_ref().expect("it follows a lookup").lookup;
    let lookup = shown.recording.lookups().find(|dns| dns.lookup == number).expect("it is recorded");
    let row = &page.rows[0];
    let start = shown.exchange(Role::Client, row).exchange.timing.started.micros_since(lookup.started) as f64
        / 1000.0;
    assert!((row.start - start).abs() < 0.06, "{start} {page:#?}");
    assert_drawn(page, lookup, summary, shown.exchange(Role::Client, row));
    assert!(
        page.text.contains("\n1 lookup in ") && page.text.contains("; 1 connection opened in "),
        "{page:#?}"
    );
    // The second is on the same connection.
    assert!(!again.rows[0].is_new && !again.text.contains(['░', '▒']), "{again:#?}");
}

/// Asserts that the bar of a page's only request shows its lookup, its connect and its wait in this order. What is shorter
/// than two of the bar's columns need not be there.
fn assert_drawn(page: &Page, lookup: &Dns, summary: &Connection, http: &Http) {
    /// The bar has more, of the 160 of a line.
    const COLUMNS: u64 = 80;
    let end = http.exchange.timing.started.after_micros(http.exchange.timing.total_us);
    let total_us = end.micros_since(lookup.started);
    let connect = summary.states.iter().find(|span| span.state == State::SynSent).expect("it connects");
    let lasted = [lookup.duration_us, connect.duration_us, http.exchange.timing.wait_us];
    let bar = page.text.lines().nth(3).expect("a row");
    let mut last = None;
    for (glyph, lasted) in ['░', '▒', '─'].into_iter().zip(lasted) {
        let at = bar.find(glyph);
        let is_long = lasted.expect("it is over") * COLUMNS >= 2 * total_us;
        assert!(at.is_some() || !is_long, "{glyph} of {lasted:?} in {total_us} us: {page:#?}");
        assert!(at.is_none() || at > last, "{glyph} {page:#?}");
        last = at.or(last);
    }
}

#[test]
fn groups_have_no_format() {
    let nginx = Nginx::start(free_port());
    let tracer = Tracer::start(&["--port", &nginx.port().to_string()]);
    let shown = Shown::new(tracer);
    for format in ["table", "ladder", "jsonl"] {
        let output = shown.show(&["--format", format]).output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{said}");
        assert!(said.contains("'--group <WHAT>' cannot be used with '--format"), "{said}");
    }
    assert!(shown.pages(&[]).is_empty());
}
