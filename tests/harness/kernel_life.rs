//! The tracepoint's lines as lives: which lines are of one socket.

use tcp_trace_model::{event::Role, time::Time};

use crate::KernelLine;

/// What the kernel said of one socket.
#[derive(Clone, Debug)]
pub struct KernelLife {
    /// What it is for.
    pub role: Role,
    /// The port beside the one that is watched; 0 while it is not known.
    pub other_port: u16,
    /// Its state changes.
    pub lines: Vec<KernelLine>,
}

impl KernelLife {
    /// `OLD>NEW` of each state change.
    pub fn transitions(&self) -> Vec<String> {
        self.lines.iter().map(|line| format!("{}>{}", line.old, line.new)).collect()
    }

    /// When a transition was reported.
    pub fn time_of(&self, transition: &str) -> Option<Time> {
        self.lines
            .iter()
            .find(|line| format!("{}>{}", line.old, line.new) == transition)
            .map(|line| line.time)
    }
}

/// Sorts lines into lives, in order of birth. The tracepoint's text has no name for a socket: lines belong
/// together when their ports do and each leaves the state that the one before it entered.
pub fn kernel_lives(lines: &[KernelLine], port: u16) -> Vec<KernelLife> {
    let mut lives: Vec<KernelLife> = Vec::new();
    for line in lines {
        let (role, other_port) = role_and_port(line, port);
        let is_birth = line.old == "CLOSE" || line.new == "SYN_RECV" && line.old == "LISTEN";
        let goes_on = |life: &&mut KernelLife| {
            let ports_agree = other_port == 0 || life.other_port == 0 || life.other_port == other_port;
            let last = life.lines.last().map(|last| last.new.as_str());
            life.role == role && ports_agree && last == Some(line.old.as_str())
        };
        match lives.iter_mut().find(goes_on).filter(|_| !is_birth) {
            Some(life) => {
                life.other_port = life.other_port.max(other_port);
                life.lines.push(line.clone());
            }
            None => lives.push(KernelLife { role, other_port, lines: vec![line.clone()] }),
        }
    }
    lives
}

fn role_and_port(line: &KernelLine, port: u16) -> (Role, u16) {
    // Before Linux 6.18 a socket is born before it has the other end's port.
    let is_birth_of_server = line.old == "LISTEN" && line.new == "SYN_RECV";
    if line.peer_port == port {
        (Role::Client, line.local_port)
    } else if line.peer_port != 0 || is_birth_of_server {
        (Role::Server, line.peer_port)
    } else {
        (Role::Listener, 0)
    }
}
