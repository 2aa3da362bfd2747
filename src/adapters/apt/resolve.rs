//! What should this node install? The answer of apt, as an exact set with digests.

use super::{
    AptError, Layout, apt_get,
    simulation::{self, Install},
    sources,
    uris::{self, Uri},
};
use crate::core::plan::{PackageChange, Plan};

/// The plan the private lists give now; `None` when there is nothing to install. Holds and pins of
/// the system are respected; nothing is ever removed.
pub async fn resolve(layout: &Layout) -> Result<Option<Plan>, AptError> {
    let installs = simulate(layout).await?;
    if installs.is_empty() {
        return Ok(None);
    }
    let exact = installs.iter().map(|p| format!("{}:{}={}", p.name, p.arch, p.to));
    let files = uris::look_up(layout, exact).await?;
    let packages = installs.iter().map(|install| change(install, &files));
    Ok(Plan::new(packages.collect::<Result<_, _>>()?))
}

async fn simulate(layout: &Layout) -> Result<Vec<Install>, AptError> {
    let doing = "resolving the upgrade";
    let simulate = apt_get::with_our_lists(layout, "apt-get");
    let done = simulate.args(["-s", "upgrade", "--with-new-pkgs"]).finish().await?;
    if !done.status.success() {
        return Err(AptError::Said { doing, said: sources::complaint(done.said()) });
    }
    let found = simulation::parse(&done.stdout)?;
    if found.removes.is_empty() {
        return Ok(found.installs);
    }
    let said = format!("apt would remove {}", found.removes.join(", "));
    Err(AptError::Said { doing, said })
}

/// `name:arch=version`, which apt takes for one package and no other.
#[must_use]
pub fn exact_name(package: &PackageChange) -> String {
    format!("{}:{}={}", package.name, package.arch, package.to)
}

fn change(install: &Install, files: &[Uri]) -> Result<PackageChange, AptError> {
    let same = |file: &&Uri| {
        (&file.name, &file.arch, &file.version) == (&install.name, &install.arch, &install.to)
    };
    let file = files.iter().find(same);
    let (Some(size), Some(sha256)) = (file.map(|f| f.size), file.and_then(|f| f.sha256.clone()))
    else {
        return Err(AptError::NoDigest { package: format!("{} {}", install.name, install.to) });
    };
    Ok(PackageChange {
        name: install.name.clone(),
        arch: install.arch.clone(),
        from: install.from.clone(),
        to: install.to.clone(),
        sha256,
        size,
        origin: install.origin.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_sha256_makes_no_plan() {
        let install =
            simulation::parse("Inst a [1] (2 Lab:stable [all])").unwrap().installs.remove(0);
        for lines in ["", "'x' a_2_all.deb 5 MD5Sum:0", "'x' a_2_amd64.deb 5 SHA256:0"] {
            let files = uris::parse(lines).unwrap();
            assert!(matches!(change(&install, &files), Err(AptError::NoDigest { .. })), "{lines}");
        }
    }
}
