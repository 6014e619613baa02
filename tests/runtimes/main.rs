//! Connections that programs in common languages leak, and idle ones of their HTTP pools: from a snapshot, from a trace and from a
//! recording the same is found, and no pool is a leak.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use tcp_trace_tests::{
    Diagnosing, Diagnosis, Folder, Namespace, Running, Tracer, free_port, output, tcp_trace, wait_for,
};

/// A program, what runs it, its arguments behind the port, and how many connections of its pool stay when the server has closed them.
/// Some runtimes watch their idle connections and close them then.
type Program = (&'static str, &'static [&'static str], &'static str, &'static str, u64);

/// Debian's packages of Python's modules are for Debian's interpreter.
const PYTHON: &[&str] = &["/usr/bin/python3"];

const PROGRAMS: [Program; 8] = [
    // It is built first.
    ("Go", &[], "client.go", "", 0),
    ("requests", &["python3"], "client.py", "requests", 2),
    ("httpx", PYTHON, "client.py", "httpx", 2),
    ("aiohttp", PYTHON, "client.py", "aiohttp", 0),
    ("node", &["node"], "client.js", "", 0),
    ("PHP", &["php"], "client.php", "", 2),
    ("Ruby", &["ruby"], "client.rb", "", 2),
    ("Java", &["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1"], "Client.java", "", 1),
];

/// How long a connection has been in CLOSE_WAIT when it is reported.
const ARGUMENTS: [&str; 2] = ["--min-age", "1s"];

/// A server that closes behind each answer for `/end`, and keeps the connections for `/pool` until it is told.
struct Server {
    port: u16,
    kept: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    /// In the network namespace of this thread. It goes with the process.
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("the port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let kept = Arc::<Mutex<Vec<_>>>::default();
        let all = kept.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, kept) = (connection.expect("a client comes"), all.clone());
                thread::spawn(move || answer(connection, &kept));
            }
        });
        Self { port, kept }
    }

    fn close_pools(&self) {
        self.kept.lock().expect("no thread panics with it").clear();
    }
}

/// A client that ends is none that asks.
fn answer(mut connection: TcpStream, kept: &Mutex<Vec<TcpStream>>) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 4096];
        let length = connection.read(&mut bytes).ok().filter(|length| *length > 0)?;
        request.extend_from_slice(&bytes[..length]);
    }
    // Java closes after 5 s what the server does not say it keeps for longer.
    let answer = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\nContent-Length: 3\r\n\r\nok\n";
    connection.write_all(answer).ok()?;
    if request.starts_with(b"GET /pool ") {
        kept.lock().expect("no thread panics with it").push(connection);
    }
    Some(())
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("runtimes").join(name)
}

/// Starts a program, which waits until its stdin ends, and gives the file that it prints to.
fn start(program: &Program, namespace: &Namespace, folder: &Folder, port: u16) -> (Running, PathBuf) {
    let (name, interpreter, file, library, _) = *program;
    let built = folder.file("client").display().to_string();
    let mut words: Vec<_> = interpreter.iter().map(|word| (*word).to_owned()).collect();
    if words.is_empty() {
        let mut build = Command::new("go");
        build.args(["build", "-o", &built]).arg(source(file)).env("GOCACHE", folder.file("cache"));
        output(build.env("GO111MODULE", "off").env("CGO_ENABLED", "0"));
        words.push(built);
    } else {
        words.push(source(file).display().to_string());
    }
    let mut command = namespace.command(&words[0]);
    let printed = folder.file(name);
    command.args(&words[1..]).arg(port.to_string()).args([library].iter().filter(|word| !word.is_empty()));
    command.stdin(Stdio::piped()).stdout(File::create(&printed).expect("the folder is ours"));
    (Running::start(&mut command), printed)
}

/// How many connections in CLOSE_WAIT of each process have each cause.
type Found = BTreeMap<(u32, Option<String>), u64>;

fn found(diagnosis: &Diagnosis) -> Found {
    let of = diagnosis.findings.iter().filter(|finding| finding.code == "close_wait").map(|finding| {
        let pid = finding.process.as_ref().map(|process| process.pid).unwrap_or_default();
        let connections = finding.connections.len() as u64 + finding.connections_omitted;
        ((pid, finding.cause.clone()), connections)
    });
    of.collect()
}

#[test]
fn leaks_and_idle_pools_are_told_apart_three_ways() {
    let (namespace, folder) = (Namespace::new(), Folder::new());
    let server = namespace.run(Server::start);
    let filter = ["--netns", &namespace.inode().to_string()];
    let arguments = [&filter[..], &ARGUMENTS].concat();
    let (tracer, tracing) = (Tracer::start(&filter), Diagnosing::of_host(&arguments));
    let programs = PROGRAMS.map(|program| (program, start(&program, &namespace, &folder, server.port)));
    for ((name, ..), (_, printed)) in &programs {
        wait_for(&format!("{name} to be ready"), || {
            fs::read_to_string(printed).ok()?.starts_with("ready").then_some(())
        });
    }
    server.close_pools();
    let mut expected = Found::new();
    for ((.., pool), (running, _)) in &programs {
        let mut expect = |cause: &str, connections| {
            let key = (running.pid(), Some(cause.to_owned()));
            expected.extend((connections > 0).then_some((key, connections)));
        };
        expect("not_closed", 2);
        expect("end_not_read", *pool);
    }
    let snapshot = || Diagnosis::with(tcp_trace(), &arguments);
    let mut now = snapshot();
    wait_for("all of them to be old enough", || {
        let is_all = found(&now) == expected;
        if !is_all {
            now = snapshot();
        }
        is_all.then_some(())
    });
    let traced = tracing.end();
    let file = folder.file("recording.jsonl");
    fs::write(&file, tracer.stop_for_text()).expect("the folder is ours");
    let from = ["--from", file.to_str().expect("it is UTF-8")];
    let recorded = Diagnosis::with(tcp_trace(), &[&from[..], &ARGUMENTS].concat());
    let names: Vec<_> = programs.iter().map(|((name, ..), (running, _))| (name, running.pid())).collect();
    for (way, diagnosis) in [("a snapshot", &now), ("--for", &traced), ("--from", &recorded)] {
        assert_eq!(found(diagnosis), expected, "{way}: {names:?} {diagnosis:#?}");
        // Nothing else is called a leak: not a pool, and not a slow start of eight programs.
        for finding in diagnosis.findings.iter().filter(|it| it.cause.as_deref() != Some("not_closed")) {
            let text = [&finding.summary, &finding.why, &finding.advice].map(String::as_str).concat();
            assert!(!text.contains("leak"), "{way}: {finding:#?}");
        }
    }
}
