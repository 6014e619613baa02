//! `check`: what this kernel and these privileges allow, line by line.

use std::process::ExitCode;

use tcp_trace_model::{event::State, record::Filter};

use super::{CliError, check_tls};
use crate::kernel::{
    Capability, Options, Probe, RING_BYTES_MIN, Tracer, effective_capabilities,
    sock_diag::{SockDiag, States},
};

pub(super) fn run() -> ExitCode {
    line("kernel", &rustix::system::uname().release().to_string_lossy());
    let effective = effective_capabilities().unwrap_or_default();
    let needed = Capability::NEEDED.map(|capability| (capability, "MISSING", "needed"));
    let useful = Capability::USEFUL.map(|capability| (capability, "missing", "optional,"));
    for (capability, missing, need) in needed.into_iter().chain(useful) {
        let held = if capability.is_in(effective) { "ok" } else { missing };
        line(capability.name, &format!("{held}: {need} to {}", capability.purpose));
    }
    let options =
        Options { ring_bytes: RING_BYTES_MIN, follow_children: true, log: false, stacks: true, tls: true };
    match Tracer::attach(&options, &Filter::default()) {
        Ok(mut tracer) => {
            for probe in Probe::ALL {
                let missing = tracer.missing().iter().find(|missing| missing.feature.ends_with(probe.name));
                let state =
                    missing.map_or("ok".to_owned(), |missing| format!("missing, so {}", missing.reason));
                line(probe.name, &state);
            }
            line("sock_diag", &lists_sockets());
            check_tls::report(&mut tracer);
            line("result", "all required probes can be attached");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = CliError::from(error);
            line("result", &error.to_string());
            error.exit_code()
        }
    }
}

/// Whether the kernel lists its sockets.
fn lists_sockets() -> String {
    let listeners = States::from_iter([State::Listen]);
    let listed = SockDiag::open()
        .map_err(anyhow::Error::from)
        .and_then(|mut diag| Ok(diag.dump(listeners, false, &mut |_| {})?));
    match listed {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!(
            "missing, so the end of TIME_WAIT is inferred and existing sockets appear only when they are used: \
             {error:#}"
        ),
    }
}

pub(super) fn line(what: &str, state: &str) {
    println!("{what:<22} {state}");
}
