//! Does what is installed wait for a reboot? By what `dnf needs-restarting -r` asks: was anything
//! installed since this boot that every process is made of?

use super::installed::{self, Installed};
use crate::{
    adapters::{clock, kernel, packages::Layout},
    core::{health::Evidence, plan},
    observe::logging::chain,
};

/// The packages that were installed since this boot and are in use until the next. In a container
/// kernels and microcode are its host's.
pub async fn evidence(layout: &Layout) -> Evidence {
    let up = i64::try_from(clock::since_boot().as_secs()).unwrap_or(i64::MAX);
    let booted = clock::wall().as_second().saturating_sub(up);
    match installed::query(layout).await {
        Ok(have) => judge(&have, booted, kernel::is_container(layout)),
        Err(error) => {
            Evidence::Unknown { why: format!("cannot list the packages: {}", chain(&error)) }
        }
    }
}

fn judge(have: &[Installed], booted: i64, container: bool) -> Evidence {
    let waits = |have: &&Installed| {
        let counts = plan::in_use_until_reboot(&have.name)
            && !(container && plan::is_of_the_machine(&have.name));
        counts && have.since >= booted
    };
    let reasons: Vec<String> = have
        .iter()
        .filter(waits)
        .map(|have| format!("{} {} was installed since this boot", have.name, have.evr))
        .collect();
    if reasons.is_empty() { Evidence::No } else { Evidence::Yes { reasons } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_use_until_a_reboot_counts_and_only_if_it_came_since_this_boot() {
        let text = "glibc\tx86_64\t2.39-1\t1\t100\nkernel-core\tx86_64\t6.9-1\t1\t200\n\
                    web\tnoarch\t1-1\t1\t200\nkernel-core\tx86_64\t6.8-1\t1\t50\n";
        let have = installed::parse(text).unwrap();
        let reasons = |booted, container| match judge(&have, booted, container) {
            Evidence::Yes { reasons } => reasons.join("; "),
            other => format!("{other:?}"),
        };
        assert_eq!(
            reasons(100, false),
            "glibc 2.39-1 was installed since this boot; \
             kernel-core 6.9-1 was installed since this boot"
        );
        assert_eq!(reasons(100, true), "glibc 2.39-1 was installed since this boot");
        assert_eq!(reasons(201, false), "No");
    }
}
