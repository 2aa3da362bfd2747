//! dpkg's status as apt is to see it: copies with other holds than the admin's.

use std::fs;

use super::{AptError, Layout, control};

/// The status without any hold.
pub fn without_holds(layout: &Layout) -> Result<String, AptError> {
    Ok(with_want(&read(layout)?, |_| Some(("hold", "install"))))
}

/// The status with a hold on the packages (name, architecture) that `on` says.
pub fn holding(layout: &Layout, on: impl Fn(&str, &str) -> bool) -> Result<String, AptError> {
    let held = |stanza: &str| {
        let name = control::field(stanza, "Package")?;
        let arch = control::field(stanza, "Architecture")?;
        on(name, arch).then_some(("install", "hold"))
    };
    Ok(with_want(&read(layout)?, held))
}

fn read(layout: &Layout) -> Result<String, AptError> {
    let path = layout.at("var/lib/dpkg/status");
    let status = fs::read(&path).map_err(AptError::io("read", &path))?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// Each stanza with the first word of its `Status` changed, where it is as `change` expects.
fn with_want<'a>(status: &str, change: impl Fn(&str) -> Option<(&'a str, &'a str)>) -> String {
    let stanzas = status.split_inclusive("\n\n").map(|stanza| {
        let Some((from, to)) = change(stanza) else { return stanza.to_owned() };
        let lines = stanza.split_inclusive('\n').map(|line| {
            let rest = line.strip_prefix("Status: ").and_then(|rest| rest.strip_prefix(from));
            match rest.filter(|rest| rest.starts_with(' ')) {
                Some(rest) => format!("Status: {to}{rest}"),
                None => line.to_owned(),
            }
        });
        lines.collect()
    });
    stanzas.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wish_for_the_meant_package_changes() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: all\n\n\
                      Package: b\nStatus: hold ok installed\nArchitecture: amd64\n";
        let held = with_want(status, |stanza| {
            (control::field(stanza, "Package") == Some("a")).then_some(("install", "hold"))
        });
        assert_eq!(held, status.replace("install ok", "hold ok"));
        let free = with_want(status, |_| Some(("hold", "install")));
        assert_eq!(free, status.replace("hold ok", "install ok"));
    }
}
