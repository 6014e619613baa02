//! Processes that connections share: most of the connections of a host are a few processes'.

use std::{collections::HashMap, sync::Arc};

use tcp_trace_model::{container, event::Owner, record::Container};

use crate::conn::SharedOwner;

/// Processes that are remembered; when there are more, they are collected anew.
const OWNERS_MAX: usize = 4096;

/// Processes, each once, with their recorded form.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Arc<Owner>, SharedOwner>);

impl Owners {
    /// The one that is equal to `owner`.
    pub(super) fn shared(&mut self, owner: &Owner) -> SharedOwner {
        if let Some(known) = self.0.get(owner) {
            return known.clone();
        }
        if self.0.len() >= OWNERS_MAX {
            self.0.clear();
        }
        let (owner, process) = (Arc::new(owner.clone()), Arc::new(owner.into()));
        let container = owner.info.cgroup.as_deref().and_then(container_of).map(Arc::new);
        let shared = SharedOwner { owner, process, container };
        self.0.insert(shared.owner.clone(), shared.clone());
        shared
    }
}

/// What records say of the container that a cgroup belongs to.
fn container_of(cgroup: &str) -> Option<Container> {
    let container = container::identify(cgroup).container?;
    Some(Container { id: container.id, runtime: container.runtime.map(str::to_owned) })
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
