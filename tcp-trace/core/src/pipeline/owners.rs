//! Processes that connections share: most of the connections of a host are a few processes'.

use std::{collections::HashMap, sync::Arc};

use tcp_trace_model::{event::Owner, record::Process};

use crate::conn::SharedOwner;

/// Processes that are remembered; when there are more, they are collected anew.
const OWNERS_MAX: usize = 4096;

/// Processes, each once, with their recorded form.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Arc<Owner>, Arc<Process>>);

impl Owners {
    /// The one that is equal to `owner`.
    pub(super) fn shared(&mut self, owner: &Owner) -> SharedOwner {
        if let Some((owner, process)) = self.0.get_key_value(owner) {
            return SharedOwner { owner: owner.clone(), process: process.clone() };
        }
        if self.0.len() >= OWNERS_MAX {
            self.0.clear();
        }
        let shared = SharedOwner { owner: Arc::new(owner.clone()), process: Arc::new(owner.into()) };
        self.0.insert(shared.owner.clone(), shared.process.clone());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_processes_are_one() {
        let mut owners = Owners::default();
        let first = owners.shared(&Owner::new(7, "curl"));
        let again = owners.shared(&Owner::new(7, "curl"));
        assert!(Arc::ptr_eq(&first.owner, &again.owner) && Arc::ptr_eq(&first.process, &again.process));
        assert_eq!(*owners.shared(&Owner::new(7, "wget")).owner, Owner::new(7, "wget"));
        assert_eq!(*owners.shared(&Owner::new(8, "curl")).owner, Owner::new(8, "curl"));
    }

    #[test]
    fn they_are_bounded() {
        let mut owners = Owners::default();
        for pid in 0..3 * OWNERS_MAX as u32 {
            owners.shared(&Owner::new(pid, "curl"));
        }
        assert!(owners.0.len() <= OWNERS_MAX);
    }
}
