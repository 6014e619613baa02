//! Processes that connections share: most of the connections of a host are a few processes'.

use std::{collections::HashSet, sync::Arc};

use tcp_trace_model::event::Owner;

/// Processes that are remembered; when there are more, they are collected anew.
const OWNERS_MAX: usize = 4096;

/// Processes, each once.
#[derive(Debug, Default)]
pub(super) struct Owners(HashSet<Arc<Owner>>);

impl Owners {
    /// The one that is equal to `owner`.
    pub(super) fn shared(&mut self, owner: &Owner) -> Arc<Owner> {
        if let Some(known) = self.0.get(owner) {
            return known.clone();
        }
        if self.0.len() >= OWNERS_MAX {
            self.0.clear();
        }
        let new = Arc::new(owner.clone());
        self.0.insert(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_processes_are_one() {
        let mut owners = Owners::default();
        let first = owners.shared(&Owner::new(7, "curl"));
        assert!(Arc::ptr_eq(&first, &owners.shared(&Owner::new(7, "curl"))));
        assert_eq!(*owners.shared(&Owner::new(7, "wget")), Owner::new(7, "wget"));
        assert_eq!(*owners.shared(&Owner::new(8, "curl")), Owner::new(8, "curl"));
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
