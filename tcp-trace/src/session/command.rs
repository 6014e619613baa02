//! The command that a session traces.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{process::Child, time::timeout};

use super::SessionError;

/// How long a command may take to end when it is asked to.
const TERMINATION: Duration = Duration::from_secs(2);

/// A command, if there is one, and how it ended.
pub(super) struct TracedCommand {
    child: Option<Child>,
    status: Option<ExitStatus>,
}

impl TracedCommand {
    /// Starts it.
    pub(super) fn start(command: Option<Command>) -> Result<Self, SessionError> {
        let Some(command) = command else { return Ok(Self { child: None, status: None }) };
        let name = command.get_program().display().to_string();
        let child = tokio::process::Command::from(command).spawn();
        let child = child.map_err(|source| SessionError::Command { name, source })?;
        Ok(Self { child: Some(child), status: None })
    }

    /// Waits until it has ended; for ever when there is none, or none any more.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        let Some(child) = &mut self.child else { return std::future::pending().await };
        self.status = Some(child.wait().await?);
        self.child = None;
        Ok(())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.status.is_some()
    }

    /// Passes the end of the session on to it, if it is still running, and waits for a moment until it has ended.
    pub(super) async fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
        // It may have ended this moment.
        let _ = kill_process(pid, Signal::TERM);
        match timeout(TERMINATION, child.wait()).await {
            Ok(status) => self.status = status.ok(),
            Err(_) => log::warn!(
                "the command (pid {}) is still running and is no longer traced",
                pid.as_raw_nonzero()
            ),
        }
    }

    /// Its exit code, or 128 and the signal's number, as shells have it; success when there is none.
    pub(super) fn exit_code(&self) -> ExitCode {
        let Some(status) = self.status else { return ExitCode::SUCCESS };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        u8::try_from(code).unwrap_or(u8::MAX).into()
    }
}
