//! The kernel's `struct ifreq`, as far as flags of an interface go.

/// `IFNAMSIZ` (`include/uapi/linux/if.h`).
const NAME_SIZE: usize = 16;

/// `struct ifreq` with `ifr_flags`; its union has the size of a `struct ifmap`.
#[repr(C)]
pub(crate) struct InterfaceRequest {
    name: [u8; NAME_SIZE],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40, "the size of struct ifreq on 64-bit Linux");

impl InterfaceRequest {
    /// A request for the interface of this name.
    pub(crate) fn new(name: &str, flags: u16) -> Self {
        assert!(name.len() < NAME_SIZE, "{name} is too long for an interface");
        let mut bytes = [0; NAME_SIZE];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Self { name: bytes, flags, rest: [0; 22] }
    }
}
