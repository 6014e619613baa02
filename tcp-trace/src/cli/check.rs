//! `check`: what this kernel and these privileges allow, line by line.

use std::process::ExitCode;

use super::CliError;
use crate::kernel::{Capability, Options, Probe, RING_BYTES_MIN, Tracer, effective_capabilities};

pub(super) fn run() -> ExitCode {
    line("kernel", &rustix::system::uname().release().to_string_lossy());
    let effective = effective_capabilities().unwrap_or_default();
    for capability in Capability::NEEDED {
        let held = if capability.is_in(effective) { "ok" } else { "MISSING" };
        line(capability.name, &format!("{held}: to {}", capability.purpose));
    }
    let options = Options { ring_bytes: RING_BYTES_MIN, follow_children: true, log: false };
    match Tracer::attach(&options) {
        Ok(tracer) => {
            for probe in Probe::ALL {
                let missing = tracer.missing().iter().find(|missing| missing.feature.ends_with(probe.name));
                let state =
                    missing.map_or("ok".to_owned(), |missing| format!("missing, so {}", missing.reason));
                line(probe.name, &state);
            }
            line("result", "everything that is needed can be attached");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = CliError::from(error);
            line("result", &error.to_string());
            error.exit_code()
        }
    }
}

fn line(what: &str, state: &str) {
    println!("{what:<22} {state}");
}
