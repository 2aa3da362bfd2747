//! Is there room for a plan, on each file system it touches?

use std::{fs, path::Path};

use super::{AptError, Layout, apt_get, control, installed, simulation};
use crate::{
    adapters::packages::file_system::{self, Lack, Need, mount_point},
    core::plan::{PackageChange, Plan},
};

/// What a plan adds to the system when it is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Growth {
    /// Growth of all packages that grow.
    sum: u64,
    /// The largest new version: dpkg unpacks it beside the old one.
    largest: u64,
    /// All new versions.
    whole: u64,
}

/// Refuses a plan that would run a file system full: archives to download (into `state`), growth of
/// the system, kernels in /boot; each with a tenth to spare. `earlier`: bytes that the way back takes.
pub async fn check(layout: &Layout, plan: &Plan, earlier: u64) -> Result<(), AptError> {
    let shown = shown(layout, plan).await?;
    let growth = growth(plan, &shown, &installed::query(layout).await?);
    let archives = plan.download_bytes().saturating_add(earlier);
    let mut needs = vec![
        Need::new(layout.plans(), archives),
        Need::new(layout.at("usr"), growth.sum + growth.largest),
    ];
    let kernels = new_kernels(layout, plan);
    if kernels > 0 {
        needs.push(Need::new(layout.at("boot"), kernels));
    }
    afford(layout, needs).await
}

/// Refuses a plan that there is no room for beside all that it replaces: a snapshot keeps that.
pub async fn check_beside(layout: &Layout, plan: &Plan) -> Result<(), AptError> {
    let shown = shown(layout, plan).await?;
    let growth = growth(plan, &shown, &installed::query(layout).await?);
    let bytes = growth.whole.saturating_add(new_kernels(layout, plan));
    afford(layout, vec![Need::new(layout.at("usr"), bytes)]).await
}

/// What a plan's kernels take in /boot, about, with what is made for them there.
fn new_kernels(layout: &Layout, plan: &Plan) -> u64 {
    let kernels = plan.packages.iter().filter(|p| is_kernel(&p.name)).count() as u64;
    kernels.saturating_mul(2 * kernel_bytes(layout))
}

async fn afford(layout: &Layout, needs: Vec<Need>) -> Result<(), AptError> {
    let Some(Lack { mount, need, free }) = file_system::lack(needs)? else { return Ok(()) };
    let old_kernels = old_kernels(layout, &mount).await;
    Err(AptError::Space { mount, need, free, old_kernels })
}

/// The kernels that apt would remove as no longer needed, if they lie on that file system: never the
/// running one, nor the one before.
async fn old_kernels(layout: &Layout, mount: &Path) -> Vec<String> {
    if mount_point(&layout.at("boot")) != mount {
        return Vec::new();
    }
    let ask = apt_get::with_our_lists(layout, "apt-get").args(["-s", "autoremove"]).finish().await;
    // A hint for people: where apt does not give it, the refusal stands without.
    let found = ask.ok().and_then(|done| simulation::parse(&done.stdout).ok()).unwrap_or_default();
    found.removes.into_iter().filter(|name| is_kernel(name)).collect()
}

/// The plan's packages as the lists describe them.
async fn shown(layout: &Layout, plan: &Plan) -> Result<String, AptError> {
    let exact = plan.packages.iter().map(super::resolve::exact_name);
    let show = apt_get::with_our_lists(layout, "apt-cache").args(["-q", "show"]).args(exact);
    let done = show.finish().await?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = super::sources::complaint(done.said());
    Err(AptError::Said { doing: "looking up the plan's packages", said })
}

fn growth(plan: &Plan, shown: &str, installed: &[installed::Installed]) -> Growth {
    let new_bytes = |wanted: &PackageChange| {
        let expected = (wanted.name.as_str(), wanted.arch.as_str(), wanted.to.as_str());
        control::stanzas(shown)
            .find(|stanza| control::identity(stanza) == Some(expected))
            .map_or(0, control::installed_bytes)
    };
    plan.packages.iter().fold(Growth::default(), |growth, wanted| {
        let new = new_bytes(wanted);
        let old = installed::find(installed, wanted).map_or(0, |have| have.bytes);
        Growth {
            sum: growth.sum.saturating_add(new.saturating_sub(old)),
            largest: growth.largest.max(new),
            whole: growth.whole.saturating_add(new),
        }
    })
}

/// A package that carries a kernel (not a meta package that only names one).
pub(super) fn is_kernel(name: &str) -> bool {
    let rest = name.strip_prefix("linux-image-");
    let rest = rest.map(|rest| rest.strip_prefix("unsigned-").unwrap_or(rest));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Size of the largest kernel with its initial RAM disk that /boot has.
fn kernel_bytes(layout: &Layout) -> u64 {
    let largest = |prefix: &str| {
        let entries = fs::read_dir(layout.at("boot")).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .filter_map(|entry| entry.metadata().ok().map(|meta| meta.len()))
            .max()
            .unwrap_or(0)
    };
    largest("vmlinuz-") + largest("initrd.img-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, to: &str) -> PackageChange {
        PackageChange {
            name: name.into(),
            arch: "all".into(),
            from: None,
            to: to.into(),
            sha256: "0".repeat(64),
            size: 1,
            origin: String::new(),
        }
    }

    #[test]
    fn a_shrinking_package_does_not_make_room_and_the_largest_counts_twice() {
        let plan = Plan::new(vec![change("a", "2"), change("b", "2"), change("c", "1")]).unwrap();
        let shown = "Package: a\nArchitecture: all\nVersion: 2\nInstalled-Size: 30\n\n\
                     Package: b\nArchitecture: all\nVersion: 2\nInstalled-Size: 1\n\n\
                     Package: c\nArchitecture: all\nVersion: 1\nInstalled-Size: 5\n";
        let have = "a\tall\t1\tinstalled\tok\t10\nb\tall\t1\tinstalled\tok\t100\n";
        let have = installed::parse(have).unwrap();
        let found = growth(&plan, shown, &have);
        assert_eq!(found, Growth { sum: 25 * 1024, largest: 30 * 1024, whole: 36 * 1024 });
    }

    #[test]
    fn only_packages_with_a_kernel_in_them_need_boot() {
        for (name, expected) in [
            ("linux-image-6.1.0-56-amd64", true),
            ("linux-image-unsigned-6.8.0-51-generic", true),
            ("linux-image-amd64", false),
            ("linux-image-generic", false),
            ("linux-base", false),
        ] {
            assert_eq!(is_kernel(name), expected, "{name}");
        }
    }
}
