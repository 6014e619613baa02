//! What OpenSSL encrypts and decrypts, read from its calls: each exchange is compared with the server's log, and the libraries of the
//! traced processes with their files.

use std::{fs, os::unix::fs::FileExt as _, path::Path, process::Command};

use rustix::process::Signal;
use tcp_trace_model::{
    event::{Role, TlsLibrary},
    record::{Http, TlsLink},
};
use tcp_trace_tests::{Nginx, Recording, Tracer, assert_logged, curl, free_port, output, wait_for};

use crate::openssl::Certificate;

struct Server {
    nginx: Nginx,
    port: u16,
    _certificate: Certificate,
}

impl Server {
    fn start() -> Self {
        let certificate = Certificate::valid_for(30);
        let port = free_port();
        let nginx = Nginx::start_with_tls(free_port(), port, &certificate.file(), &certificate.key());
        Self { nginx, port, _certificate: certificate }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn trace(&self, arguments: &[&str]) -> Tracer {
        Tracer::start(&[&["--port", &self.port.to_string()], arguments].concat())
    }
}

/// Requests on one connection. The harness's curl throws the first body away, and this one the others.
fn on_one_connection(arguments: &[&str], urls: &[&str]) -> usize {
    let rest = urls.iter().skip(1).flat_map(|_| ["--output", "/dev/null"]);
    let options = ["--insecure", "--http1.1"].into_iter().chain(rest).chain(arguments.iter().copied());
    curl(&options.chain(urls.iter().copied()).collect::<Vec<_>>()).len()
}

fn stop(tracer: Tracer, exchanges: usize) -> Recording {
    tracer.wait_for_lines("http", 2 * exchanges);
    tracer.wait_for_closed();
    tracer.stop()
}

/// What shows that an exchange was on its connection.
fn link(http: &Http) -> Option<TlsLink> {
    http.exchange.tls.as_ref().map(|tls| tls.link)
}

#[test]
fn curl_and_nginx_have_the_exchanges_that_nginx_logs() {
    let server = Server::start();
    server.nginx.put("small", "hello");
    server.nginx.put("large", &"0123456789abcdef".repeat(60_000));
    let tracer = server.trace(&[]);
    let [small, large, none] = ["/small", "/large", "/none"].map(|path| server.url(path));
    assert_eq!(on_one_connection(&[], &[&small, &large, &none, &small]), 4);
    for url in [&large, &small, &none] {
        curl(&["--insecure", "--http1.1", url]);
    }
    let recording = stop(tracer, 7);
    assert_logged(&recording, &server.nginx.access_log(7), "nginx");
    for http in recording.http() {
        assert_eq!(link(http), Some(TlsLink::NestedSyscall), "{http:?}");
    }
}

#[test]
fn a_client_with_gnutls_that_sends_at_once_what_it_kept_has_each_request_once() {
    let server = Server::start();
    server.nginx.put("hello", "hello");
    let tracer = server.trace(&[]);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/gnutls_cork.py");
    output(Command::new("python3").arg(program).args([&server.port.to_string(), "/hello"]));
    let recording = stop(tracer, 2);
    assert_logged(&recording, &server.nginx.access_log(2), "nginx");
    for http in recording.http() {
        assert_eq!(link(http), Some(TlsLink::NestedSyscall), "{http:?}");
    }
    let libraries = recording.connections_of(Role::Client);
    let libraries: Vec<_> =
        libraries.iter().map(|connection| connection.decrypted.as_ref().map(|tls| tls.library)).collect();
    assert_eq!(libraries, [Some(TlsLibrary::GnuTls)]);
}

#[test]
fn connections_that_were_there_are_followed_from_their_next_request() {
    let server = Server::start();
    server.nginx.put("slow", &"0123456789abcdef".repeat(200_000));
    server.nginx.put("next", "hello");
    // The second request follows on the same connection, after some seconds.
    let (slow, next) = (server.url("/slow"), server.url("/next"));
    let client = std::thread::spawn(move || on_one_connection(&["--limit-rate", "800K"], &[&slow, &next]));
    wait_for("the connection", || {
        let text = fs::read_to_string("/proc/net/tcp").ok()?;
        text.contains(&format!(":{:04X} 01 ", server.port)).then_some(())
    });
    let tracer = server.trace(&[]);
    assert_eq!(client.join().expect("it ends"), 2);
    wait_for("the request at both ends", || {
        (tracer.text().matches(r#""target":"/next""#).count() >= 2).then_some(())
    });
    let recording = tracer.stop();
    assert_eq!(recording.end.lost, 0);
    for role in [Role::Client, Role::Server] {
        let is_next = |http: &&&Http| {
            http.exchange.request.as_ref().is_some_and(|request| request.target == "/next".into())
        };
        let exchanges = recording.http_of(role);
        let next = exchanges.iter().find(is_next).unwrap_or_else(|| panic!("{role:?}: {exchanges:#?}"));
        let status = next.exchange.response.as_ref().map(|response| response.status_code);
        assert_eq!((status, link(next)), (Some(200), Some(TlsLink::NestedSyscall)), "{role:?}");
    }
}

#[test]
fn with_no_tls_nothing_is_attached_and_the_wire_is_read_as_before() {
    let server = Server::start();
    server.nginx.put("small", "hello");
    let before = patched(&server);
    let tracer = server.trace(&["--no-tls"]);
    assert!(tracer.programs().keys().all(|name| !name.starts_with("tls_")), "{:?}", tracer.programs());
    assert_eq!(patched(&server), before);
    curl(&["--insecure", &server.url("/small")]);
    tracer.wait_for_lines("tls", 2);
    tracer.wait_for_closed();
    let recording = tracer.stop();
    assert_eq!((recording.http().count(), recording.end.lost), (0, 0));
}

#[test]
fn libraries_are_as_they_were_after_the_end_and_after_kill() {
    let server = Server::start();
    server.nginx.put("small", "hello");
    let before = patched(&server);
    for signal in [Signal::INT, Signal::KILL] {
        let tracer = server.trace(&[]);
        assert!(patched(&server) > before, "it is traced");
        curl(&["--insecure", &server.url("/small")]);
        if signal == Signal::KILL {
            tracer.kill();
        } else {
            tracer.stop();
        }
        // After a kill, the kernel detaches them; what it cannot remove at once it removes when it is next executed.
        wait_for("the library as it was", || {
            curl(&["--insecure", &server.url("/small")]);
            (patched(&server) == before).then_some(())
        });
    }
}

/// How many bytes of the library that nginx executes are not those of its file: another tracer may have hooks of its own.
fn patched(server: &Server) -> usize {
    let pid = server.nginx.workers()[0];
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("nginx runs");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("tests run as root");
    let line = maps.lines().find(|line| line.contains("libssl.so") && line.contains(" r-xp "));
    let fields: Vec<_> = line.expect("Debian's nginx has OpenSSL").split_whitespace().collect();
    let number = |digits| u64::from_str_radix(digits, 16).expect("proc_pid_maps(5)");
    let (start, end) = fields[0].split_once('-').expect("proc_pid_maps(5)");
    let (start, length, offset) = (number(start), number(end) - number(start), number(fields[2]));
    let mut executed = vec![0; length as usize];
    memory.read_exact_at(&mut executed, start).expect("it is mapped");
    let file = fs::read(fields[5]).expect("it is in the host's own file system");
    let file = &file[offset as usize..];
    executed.iter().zip(file).filter(|(one, other)| one != other).count()
}
