//! Does one piece of work so many times, for callgrind to count: `instructions NAME COUNT`.

use std::process::ExitCode;

use tcp_trace_bench::works;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = arguments.next().and_then(|name| works().iter().find(|work| work.name == name));
    let count = arguments.next().and_then(|count| count.parse().ok());
    let (Some(work), Some(count)) = (work, count) else {
        eprintln!("usage: instructions NAME COUNT");
        return ExitCode::from(2);
    };
    (work.run)(count);
    ExitCode::SUCCESS
}
