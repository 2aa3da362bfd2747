//! What a system has installed, to the byte, as its archives know it.

use std::path::Path;

use super::{AptError, control, installed};
use crate::{
    adapters::{command::Command, packages::Layout},
    core::channel::release::Package,
};

/// So many packages are asked for at once: an argument list has a limit.
const AT_ONCE: usize = 500;

/// The installed packages that the system's own lists know, and the names of those they do not know
/// (or know as different files of one version): nobody else could install those.
pub async fn installed_set() -> Result<(Vec<Package>, Vec<String>), AptError> {
    // Only dpkg's record is read.
    let layout = Layout::system(Path::new("/nonexistent"));
    let installed: Vec<(String, String)> =
        installed::versions(&layout).await?.into_iter().collect();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for some in installed.chunks(AT_ONCE) {
        let exact = some.iter().map(|(package, version)| format!("{package}={version}"));
        let show = Command::new("apt-cache").args(["-q", "show"]).args(exact);
        let shown = show.finish().await?.stdout;
        for (package, version) in some {
            match found(package, version, &shown) {
                Some(package) => known.push(package),
                None => unknown.push(format!("{package} {version}")),
            }
        }
    }
    Ok((known, unknown))
}

fn found(package: &str, version: &str, shown: &str) -> Option<Package> {
    let (name, arch) = package.split_once(':')?;
    let stanza = control::archived((name, arch, version), shown)?;
    Some(Package {
        name: name.to_owned(),
        arch: arch.to_owned(),
        version: version.to_owned(),
        sha256: control::field(stanza, "SHA256")?.to_ascii_lowercase(),
        size: control::field(stanza, "Size")?.parse().ok()?,
        file: None,
    })
}
