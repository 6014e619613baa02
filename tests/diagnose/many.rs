//! Much at once: a busy server without a fault, and very many sockets.

use std::{
    fs,
    io::Read as _,
    process::Stdio,
    time::{Duration, Instant},
};

use tcp_trace_tests::{Diagnosis, Nginx, Running, Script, Wrk, free_port, tcp_trace};

/// Processes that have the sockets: each may have 20,000 files open here.
const PROCESSES: usize = 6;
/// Connections of each, of two sockets.
const CONNECTIONS: usize = 8_400;
/// Memory that judging them may take, in KiB.
const MEMORY_MAX: u64 = 200 << 10;
/// Processor time that it may take.
const TIME_MAX: Duration = Duration::from_secs(3);

/// What a run took.
struct Measured {
    output: String,
    /// Of its resident memory, in KiB.
    peak: u64,
    processor: Duration,
    time: Duration,
}

#[test]
fn a_busy_server_has_no_finding() {
    let port = free_port();
    let nginx = Nginx::start(port);
    let wrk = Wrk::start(&["-t2", "-c50", "-d12s", &nginx.url("127.0.0.1", "/text.txt")]);
    let diagnosis = Diagnosis::of_port(port, &["--for", "10s"]);
    Diagnosis::of_port(port, &[]).expect_none();
    wrk.end().expect_none(&diagnosis);
}

#[test]
fn a_hundred_thousand_sockets_are_judged_in_little_memory() {
    let start = || Script::start_with("python3", "many.py", &[&CONNECTIONS.to_string()]);
    let scripts: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let Measured { output, peak, processor, time } = measured(&["diagnose"]);
    let sockets = sockets_in(&output);
    println!("{sockets} sockets: {peak} KiB, {processor:?} of a processor within {time:?}");
    assert!(sockets >= 2 * PROCESSES * CONNECTIONS, "{output}");
    assert!(peak < MEMORY_MAX, "{peak} KiB");
    // Other tests run meanwhile: the time that passes says more of them.
    assert!(processor < TIME_MAX, "{processor:?}");
    let pid = scripts[0].pid().to_string();
    Diagnosis::with(tcp_trace(), &["--pid", &pid]).expect_none();
}

/// The number in `No findings in 100801 sockets`.
fn sockets_in(output: &str) -> usize {
    let words: Vec<&str> = output.split_whitespace().collect();
    let at = words.windows(3).position(|words| words[0] == "in" && words[2].starts_with("sockets"));
    words[at.expect("the last line says how many") + 1].parse().expect("a number")
}

/// Runs it, and measures until it has ended.
fn measured(arguments: &[&str]) -> Measured {
    let start = Instant::now();
    let mut command = tcp_trace();
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start(command);
    let (mut peak, mut processor) = (0, Duration::ZERO);
    while running.0.try_wait().expect("it can be waited for").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or_default());
        processor = processor.max(processor_time(running.pid()));
        std::thread::sleep(Duration::from_millis(1));
    }
    let (mut output, time) = (String::new(), start.elapsed());
    running.0.stdout.take().expect("it is piped").read_to_string(&mut output).expect("it is text");
    Measured { output, peak, processor, time }
}

/// Fields 14 and 15 of `/proc/PID/stat`, in hundredths of a second; nothing once it has ended.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10)
}
