//! What the kernel says of a socket that is open at the end of a session.

use serde::{Deserialize, Serialize};

use super::{is_false, is_zero};
use crate::socket::{Socket, TcpInfo, Timer};

/// What the kernel said of a socket that was open at the end of the session (sock_diag(7)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KernelSocket {
    /// Bytes that the application had not read; a FIN that it had not read counts 1. Of a listener, the connections
    /// that wait to be accepted.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub receive_queue: u32,
    /// Bytes that the peer had not acknowledged; a FIN counts 1. Of a listener, how many connections may wait.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub send_queue: u32,
    /// Whether no process had it open: it was not accepted yet, or it was closed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_file: bool,
    /// Ids of the processes that had it open beside `process`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_open_in: Vec<u32>,
    /// What kept the process from running, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_state: Option<ProcessState>,
    /// How many files the process had open, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// How many it might have (RLIMIT_NOFILE, the soft limit), when known and limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files_limit: Option<u64>,
    /// The timer that ran, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// How often it had fired without success.
    #[serde(default, skip_serializing_if = "is_zero::<u8>")]
    pub timer_retransmits: u8,
    /// Milliseconds until it would fire.
    #[serde(default, skip_serializing_if = "is_zero::<u32>")]
    pub timer_expires_ms: u32,
    /// `sk_shutdown`: bit 0 the peer's FIN came (or reading was shut down), bit 1 writing was shut down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<u8>,
    /// What `TCP_INFO` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_info: Option<TcpInfo>,
}

/// What keeps a process from running (proc(5), `stat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// `T`: stopped by a signal (SIGSTOP, SIGTSTP), until SIGCONT.
    Stopped,
    /// `t`: stopped by a debugger.
    Traced,
    /// `D`: waits for a device or the kernel, and no signal reaches it.
    Uninterruptible,
    /// `Z`: ended, and its parent has not waited for it.
    Zombie,
}

impl ProcessState {
    /// The state with this letter in `/proc/PID/stat`, if a process does not run in it.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'T' => Self::Stopped,
            b't' => Self::Traced,
            b'D' => Self::Uninterruptible,
            b'Z' | b'X' => Self::Zombie,
            _ => return None,
        })
    }
}

impl KernelSocket {
    /// Of a socket as the kernel lists it.
    pub fn of(socket: &Socket) -> Self {
        Self {
            receive_queue: socket.rqueue,
            send_queue: socket.wqueue,
            no_file: socket.inode == 0,
            also_open_in: Vec::new(),
            process_state: None,
            open_files: None,
            open_files_limit: None,
            timer: Some(socket.timer).filter(|timer| *timer != Timer::None),
            timer_retransmits: socket.retransmits,
            timer_expires_ms: socket.expires_ms,
            shutdown: socket.shutdown,
            tcp_info: socket.info,
        }
    }
}
