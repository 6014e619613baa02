//! What people see: the demonstration, the table, and JSON Lines on standard output.

use std::process::Command;

use tcp_trace_tests::{Nginx, Recording, free_port, output, stay_on_one_cpu, tcp_trace};

fn printed(command: &mut Command) -> String {
    String::from_utf8(output(command).stdout).expect("it prints text")
}

/// The lines that contain all of `words`, in this order.
fn lines_with<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    let contains = |line: &&str| {
        words.iter().try_fold(*line, |rest, word| rest.split_once(word).map(|(_, behind)| behind)).is_some()
    };
    text.lines().filter(contains).collect()
}

#[test]
fn the_demonstration_shows_one_request_from_syn_to_time_wait() {
    stay_on_one_cpu();
    let text = printed(tcp_trace().arg("demo"));
    let steps: [(&str, &[&str]); 12] = [
        ("demo-client[", &["├─ SYN x=", "▶"]),
        ("demo-server[", &["SYN_RECV"]),
        ("demo-server[", &["◀", "SYN+ACK y=", "ack=x+1"]),
        ("demo-client[", &["├─ ACK seq=x+1 ack=y+1", "▶"]),
        ("demo-client[", &["├─ GET /hello", "▶"]),
        ("demo-server[", &["◀", "200 OK, 12 B"]),
        ("demo-client[", &["wait ", "receive "]),
        ("demo-client[", &["├─ FIN+ACK seq=x+", "ack=y+", "▶"]),
        ("demo-server[", &["CLOSE_WAIT"]),
        ("demo-server[", &["◀", "FIN+ACK seq=y+"]),
        ("demo-client[", &["├─ ACK seq=x+", "▶"]),
        ("demo-client[", &["TIME_WAIT"]),
    ];
    let mut rest = text.as_str();
    for (process, words) in steps {
        let all = [&[process][..], words].concat();
        let lines = lines_with(rest, &all);
        let [line] = lines.as_slice() else {
            // A later step may look the same; the first is this one.
            assert!(!lines.is_empty(), "no {all:?} in:\n{text}");
            rest = rest.split_once(lines[0]).expect("it is there").1;
            continue;
        };
        rest = rest.split_once(*line).expect("it is there").1;
    }
    let ladder = text.lines().filter(|line| line.contains('│'));
    assert!(
        ladder.clone().all(|line| line.contains("demo-client[") || line.contains("demo-server[")),
        "{text}"
    );
    assert!(ladder.count() >= 18, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains(" 0 lost"), "{text}");
}

#[test]
fn the_table_has_a_line_per_transition_and_exchange() {
    stay_on_one_cpu();
    let nginx = Nginx::start(free_port());
    let url = nginx.url("127.0.0.1", "/echo/table?x=1");
    let text = printed(tcp_trace().args(["live", "--", "curl", "--silent", "--output", "/dev/null", &url]));
    let address = format!("→ 127.0.0.1:{}", nginx.port());
    for words in [
        &["curl[", "127.0.0.1:", address.as_str(), "CLOSE → SYN_SENT"][..],
        &["curl[", "127.0.0.1:", &address, "SYN_SENT → ESTABLISHED  after ", "s"],
        &["curl[", "127.0.0.1:", &address, "GET /echo/table?x=1 → 200 OK  ", " B in "],
        &["curl[", "127.0.0.1:", &address, "ESTABLISHED → FIN_WAIT1  after "],
        &["curl[", "127.0.0.1:", &address, "FIN_WAIT2 → TIME_WAIT  after "],
    ] {
        assert_eq!(lines_with(&text, words).len(), 1, "{words:?} in:\n{text}");
    }
    assert_eq!(lines_with(&text, &["1 socket, 1 HTTP exchange, ", " 0 lost"]).len(), 1, "{text}");
    assert_eq!(text.lines().count(), 8, "a heading, five transitions, one exchange, the totals:\n{text}");
}

#[test]
fn json_lines_on_standard_output_are_a_recording() {
    let nginx = Nginx::start(free_port());
    let url = nginx.url("127.0.0.1", "/echo/x");
    let curl = ["--", "curl", "--silent", "--output", "/dev/null", url.as_str()];
    for verb in [&["live", "--format", "jsonl"][..], &["record", "-o", "-"]] {
        let recording = Recording::parse(&printed(tcp_trace().args(verb).args(curl)));
        assert_eq!(recording.http().count(), 1, "{verb:?}");
        assert!(recording.session.filter.followed, "{verb:?}");
    }
}

#[test]
fn check_says_what_can_be_attached() {
    let text = printed(tcp_trace().arg("check"));
    for words in
        [&["kernel  "][..], &["CAP_BPF", "ok"], &["inet_sock_set_state", "ok"], &["segment_ingress", "ok"]]
    {
        assert_eq!(lines_with(&text, words).len(), 1, "{words:?} in:\n{text}");
    }
}

#[test]
fn twice_verbose_shows_what_the_ebpf_programs_say() {
    let said = |verbose: &[&str]| {
        let output = output(tcp_trace().arg("live").args(verbose).args(["--", "true"]));
        String::from_utf8(output.stderr).expect("it says text")
    };
    assert!(said(&["-vv"]).contains("following process "));
    assert_eq!(said(&[]), "");
}

#[test]
fn explain_answers_in_either_language_and_refuses_what_it_does_not_know() {
    let english = printed(tcp_trace().args(["explain", "time-wait", "--lang", "en"]));
    assert!(english.starts_with("TIME_WAIT\n") && english.contains("tcp_tw_reuse"), "{english}");
    let chinese = printed(tcp_trace().env("LC_ALL", "zh_CN.UTF-8").args(["explain", "time", "wait"]));
    assert!(chinese.starts_with("TIME_WAIT\n") && chinese.contains("又名："), "{chinese}");
    let unknown = tcp_trace().args(["explain", "TIMEWIAT"]).output().expect("it runs");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("TIME_WAIT"), "{unknown:?}");
}
