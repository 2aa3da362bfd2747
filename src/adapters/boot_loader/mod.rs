//! Which kernel the boot loader will start next, read from its own files. Nothing of it is run, and
//! what is not understood is not guessed.

use std::fs;

use crate::adapters::apt::Layout;

mod grub;

/// The release of the kernel that the next boot will start, where that can be told: GRUB with the
/// menu that `grub-mkconfig` writes.
#[must_use]
pub fn next_kernel(layout: &Layout) -> Option<String> {
    let read = |path: &str| fs::read_to_string(layout.at(path));
    // Where there are entries of the Boot Loader Specification, another loader may be in use.
    if ["boot/loader", "boot/efi/loader", "efi/loader"].iter().any(|p| layout.at(p).exists()) {
        return None;
    }
    let menu = read("boot/grub/grub.cfg").ok()?;
    // There need not be one.
    let variables = read("boot/grub/grubenv").unwrap_or_default();
    let path = grub::kernel(&menu, &variables)?;
    path.rsplit('/').next()?.strip_prefix("vmlinuz-").map(str::to_owned)
}
