//! Time and allocations of the pure core, per piece of work: `cargo bench --package tcp-trace-bench`.

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use tcp_trace_bench::works;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Pieces that one iteration does; what it sets up before is spread over so many.
const COUNT: u64 = 10_000;

fn main() {
    divan::main();
}

#[divan::bench(args = works().iter().map(|work| work.name))]
fn core(bencher: Bencher<'_, '_>, name: &str) {
    let Some(work) = works().iter().find(|work| work.name == name) else { return };
    bencher.counter(ItemsCount::new(COUNT)).bench(|| (work.run)(COUNT));
}
