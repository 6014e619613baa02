//! Stacks of programs in several languages, and the line of each that is to blame.

use super::*;

/// `function @ module @ file:line`; what is not known is empty.
fn frame(text: &str) -> Frame {
    let mut parts = text.split(" @ ").map(|part| Some(part).filter(|part| !part.is_empty()));
    let mut next = || parts.next().flatten();
    let (function, module, place) = (next(), next(), next());
    let (file, line) = place.and_then(|place| place.rsplit_once(':')).unzip();
    Frame {
        function: function.map(str::to_owned),
        module: module.map(Text::from),
        offset: module.map(|_| 0x1234),
        file: file.map(Text::from),
        line: line.map(|line| line.parse().unwrap()),
        ..Frame::default()
    }
}

fn blamed(frames: &[&str]) -> String {
    let stack = Stack { frames: frames.iter().map(|text| frame(text)).collect(), ..Stack::default() };
    Blame::of(&stack).to_string()
}

#[test]
fn c_and_cpp_behind_the_c_library() {
    const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    let connect = format!("__libc_connect @ {LIBC} @ ./socket/../sysdeps/unix/sysv/linux/connect.c:26");
    let start = format!("__libc_start_main_impl @ {LIBC}");
    let main = "main @ /srv/api @ /build/main.c:34";
    for (frames, expected) in [
        (
            &[connect.as_str(), "open_pool @ /srv/api @ /build/pool.c:12", main, &start][..],
            "pool.c:12 (open_pool)",
        ),
        (&[&connect, "open_pool @ /srv/api", "main @ /srv/api"], "open_pool in api"),
        (&[&connect, " @ /srv/api", " @ /srv/api"], "api+0x1234"),
        (&["connect @ /srv/api", "Pool::open() @ /srv/api @ pool.cc:7"], "pool.cc:7 (Pool::open())"),
        (&["connect @ /srv/api @ /build/net.c:3", main], "net.c:3 (connect)"),
        (
            &[
                "std::function<void ()>::operator()() const @ /srv/api @ /usr/include/c++/12/bits/std_function.h:591",
                main,
            ],
            "main.c:34 (main)",
        ),
        (&[&connect, "Curl_conn_connect @ /usr/lib/libcurl.so.4", main, &start], "main.c:34 (main)"),
        (&[&connect, "Curl_conn_connect @ /usr/lib/libcurl.so.4"], "Curl_conn_connect in libcurl.so.4"),
        (&[&connect, "net.part.0 @ /srv/api"], "net.part.0 in api"),
        (&[&connect, &start], "unknown code"),
        (&[], "unknown code"),
    ] {
        assert_eq!(blamed(frames), expected, "{frames:?}");
    }
}

#[test]
fn rust_behind_its_libraries() {
    let std = "std::net::tcp::TcpStream::connect @ /srv/api @ /rustc/5980761/library/std/src/net/tcp.rs:170";
    let tokio = "tokio::net::tcp::stream::TcpStream::connect::{closure} @ /srv/api @ \
                 /home/a/.cargo/registry/src/index.crates.io-1/tokio-1.54.1/src/net/tcp/stream.rs:1";
    let hyper = "hyper::client::connect @ /srv/api @ \
                 /home/a/.cargo/registry/src/index.crates.io-1/hyper-1.0.0/src/client.rs:5";
    let own = "api::pool::open_pool @ /srv/api @ src/pool.rs:88";
    for (frames, expected) in [
        (&["connect @ /usr/lib/libc.so.6", std, own][..], "pool.rs:88 (api::pool::open_pool)"),
        (
            &[tokio, hyper, "<core::pin::Pin<P> as Future>::poll @ /srv/api", own],
            "pool.rs:88 (api::pool::open_pool)",
        ),
        (&[tokio, hyper], "client.rs:5 (hyper::client::connect)"),
        (&[std], "unknown code"),
    ] {
        assert_eq!(blamed(frames), expected, "{frames:?}");
    }
}

#[test]
fn go_behind_its_packages() {
    for (frames, expected) in [
        (
            &[
                "internal/runtime/syscall.Syscall6 @ /srv/api",
                "syscall.connect @ /srv/api @ /usr/local/go/src/syscall/zsyscall_linux_amd64.go:1402",
                "net.(*netFD).connect @ /srv/api @ net/fd_unix.go:58",
                "net/http.(*Transport).dial @ /srv/api @ net/http/transport.go:1269",
                "main.(*Pool).open @ /srv/api @ /src/pool.go:31",
            ][..],
            "pool.go:31 (main.(*Pool).open)",
        ),
        (
            &[
                "internal/poll.ignoringEINTRIO @ /srv/api",
                "github.com/lib/pq.(*conn).recv @ /srv/api @ /root/go/pkg/mod/github.com/lib/pq@v1.10.9/conn.go:1",
                "main.query @ /srv/api @ /src/main.go:9",
            ],
            "main.go:9 (main.query)",
        ),
    ] {
        assert_eq!(blamed(frames), expected, "{frames:?}");
    }
}

#[test]
fn an_interpreter_has_no_line() {
    let python = "_PyEval_EvalFrameDefault @ /usr/bin/python3.11";
    for (frames, expected) in [
        (
            &["__libc_connect @ /lib/libc.so.6", " @ /usr/bin/python3.11", python][..],
            "python3.11 (interpreter; no line)",
        ),
        (
            &[
                "internal_connect @ /usr/lib/python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so @ socketmodule.c:9",
                "main @ /srv/embeds-python @ /build/main.c:1",
            ],
            "_socket.cpython-311-x86_64-linux-gnu.so (interpreter; no line)",
        ),
        (
            &[
                "internal_connect @ /usr/lib/python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so",
                python,
            ],
            "python3.11 (interpreter; no line)",
        ),
        (&["uv__tcp_connect @ /usr/bin/node", "main @ /usr/bin/node"], "node (interpreter; no line)"),
        (
            &["Java_sun_nio_ch_Net_connect0 @ /usr/lib/jvm/java-17/lib/libnio.so"],
            "libnio.so (interpreter; no line)",
        ),
        // Named by the program, as `python -X perf` does.
        (&[python, "py::open_pool @  @ /srv/app.py:5", python], "app.py:5 (py::open_pool)"),
        (&["run @ /srv/pythonista @ run.c:3"], "run.c:3 (run)"),
        (&["connect @ /lib/libc.so.6", ""], "code in no file"),
    ] {
        assert_eq!(blamed(frames), expected, "{frames:?}");
    }
}

#[test]
fn names_cannot_steer_the_terminal() {
    assert_eq!(blamed(&["a\u{1b}[2J @ /srv/a\nb"]), "a\\u{1b}[2J in a\\u{a}b");
}
