//! What the eBPF programs cost the verifier, on every kernel: it refuses one in which it goes through more than 1,000,000
//! instructions, and how many these are differs from kernel to kernel.

use tcp_trace_tests::Tracer;

/// Far from the limit, and soon loaded.
const INSTRUCTIONS_MAX: u64 = 250_000;

#[test]
fn loopback_verifier_is_far_from_its_limit() {
    let filters = ["--port", "1", "--pid", "1", "--comm", "init", "--cgroup", "/", "--netns", "1"];
    let counts = [&["--port", "1"][..], &[&filters[..], &["--stacks"]].concat()].map(|arguments| {
        let tracer = Tracer::start_with_tls(arguments);
        let mut counts = tracer.verified_instructions();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        println!("{arguments:?}: {counts:?}");
        tracer.stop();
        counts
    });
    let Some(most) = counts.iter().flatten().max() else {
        println!("not compared: before Linux 5.16 the kernel does not say it");
        return;
    };
    assert!(*most <= INSTRUCTIONS_MAX, "{counts:?}");
}
