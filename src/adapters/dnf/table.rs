//! The table in which dnf shows what it would do.

use crate::adapters::packages::PackageError;

/// One row of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Package, without architecture.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Epoch (unless it is 0), version and release.
    pub evr: String,
    /// `name.arch` of the packages it would take the place of.
    pub replaces: Vec<String>,
}

/// What dnf would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What comes beside what is there: new packages, and kernels.
    pub installs: Vec<Row>,
    /// What takes the place of an older version.
    pub upgrades: Vec<Row>,
    /// What takes the place of a newer version.
    pub downgrades: Vec<Row>,
    /// What goes.
    pub removes: Vec<Row>,
    /// What cannot be had because of something else.
    pub skips: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Installs,
    Upgrades,
    Downgrades,
    Removes,
    Skips,
}

impl Section {
    fn named(title: &str) -> Option<Self> {
        Some(match title {
            "Installing" | "Installing dependencies" | "Installing weak dependencies" => {
                Self::Installs
            }
            "Upgrading" => Self::Upgrades,
            "Downgrading" => Self::Downgrades,
            "Removing" | "Removing dependent packages" | "Removing unused dependencies" => {
                Self::Removes
            }
            _ if title.starts_with("Skipping packages with ") => Self::Skips,
            _ => return None,
        })
    }
}

impl Table {
    fn of(&mut self, section: Section) -> &mut Vec<Row> {
        match section {
            Section::Installs => &mut self.installs,
            Section::Upgrades => &mut self.upgrades,
            Section::Downgrades => &mut self.downgrades,
            Section::Removes => &mut self.removes,
            Section::Skips => &mut self.skips,
        }
    }

    /// What would be there afterwards and is not now.
    pub fn comes(&self) -> impl Iterator<Item = &Row> {
        self.installs.iter().chain(&self.upgrades).chain(&self.downgrades)
    }
}

/// Reads dnf's output; one without a table is an empty one.
///
/// # Errors
/// A section or a line that is not known.
pub fn parse(output: &str) -> Result<Table, PackageError> {
    let mut table = Table::default();
    let mut section = None;
    // After the second ruler; before it are words and the columns' names.
    let mut body = output.lines().skip_while(|line| !is_ruler(line)).skip(1);
    body.by_ref().find(|line| is_ruler(line));
    for line in body.take_while(|line| *line != "Transaction Summary") {
        if line.is_empty() || (section == Some(Section::Skips) && line.starts_with("(add '")) {
            continue;
        }
        let unknown = || PackageError::Output { program: "dnf", line: line.to_owned() };
        if !line.starts_with(' ') {
            let title = line.split_once(':').map_or(line, |(title, _)| title);
            section = Some(Section::named(title).ok_or_else(unknown)?);
            continue;
        }
        let rows = table.of(section.ok_or_else(unknown)?);
        let mut words = line.split_whitespace();
        if let Some(replaced) = line.strip_prefix("     replacing  ") {
            let package = replaced.split_whitespace().next().ok_or_else(unknown)?;
            rows.last_mut().ok_or_else(unknown)?.replaces.push(package.to_owned());
        } else if line.starts_with("  ") {
            // The rest of a row that was too wide: only its size may be there.
            rows.last().ok_or_else(unknown)?;
        } else {
            let mut next = || words.next().map(str::to_owned).ok_or_else(unknown);
            let (name, arch, evr) = (next()?, next()?, next()?);
            if !(is_word(&name) && is_word(&arch) && is_word(&evr)) {
                return Err(unknown());
            }
            rows.push(Row { name, arch, evr, replaces: Vec::new() });
        }
    }
    Ok(table)
}

/// What is passed on to other programs, and names a file: nothing that an option, a pattern or a path
/// begins with, or is made of.
fn is_word(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+~^:-".contains(c))
}

fn is_ruler(line: &str) -> bool {
    line.len() > 20 && line.bytes().all(|byte| byte == b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &str = include_str!("../../../tests/fixtures/dnf/debian-12/upgrade.txt");

    fn names(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| format!("{}-{}.{}", row.name, row.evr, row.arch)).collect()
    }

    #[test]
    fn every_section_is_told_apart_and_too_wide_a_row_is_one() {
        let table = parse(UPGRADE).unwrap();
        assert_eq!(
            names(&table.installs),
            ["kernel-4-1.noarch", "new-2-1.noarch", "newdep-1-1.noarch"]
        );
        assert_eq!(table.installs[1].replaces, ["old.noarch"]);
        assert_eq!(names(&table.upgrades)[1..], ["alpha-2-1.noarch", "gamma-2-1.noarch"]);
        assert_eq!(table.upgrades[0].evr, "3:2.2.2.20261127git0123456789abcdef-1");
        assert_eq!(names(&table.removes), ["kernel-1-1.noarch"]);
        assert_eq!(names(&table.skips), ["brk-2-1.noarch"]);
        assert!(table.downgrades.is_empty());
    }

    #[test]
    fn nothing_to_do_is_an_empty_table_and_an_unknown_section_an_error() {
        let nothing = "Dependencies resolved.\nNothing to do.\nComplete!\n";
        assert_eq!(parse(nothing).unwrap(), Table::default());
        let module = UPGRADE.replace("Upgrading:", "Switching module streams:");
        assert!(matches!(parse(&module), Err(PackageError::Output { .. })));
        for evil in ["-alph", "../al", "alph*"] {
            let evil = UPGRADE.replace(" alpha ", &format!(" {evil} "));
            assert!(matches!(parse(&evil), Err(PackageError::Output { .. })), "{evil}");
        }
        let cut = UPGRADE.replace(" alpha   ", " alpha\n        ");
        assert!(matches!(parse(&cut), Err(PackageError::Output { .. })), "{cut}");
    }
}
