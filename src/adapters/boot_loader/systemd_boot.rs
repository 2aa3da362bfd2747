//! systemd-boot's menu: entries of the Boot Loader Specification, `loader.conf(5)`, and the variables
//! of the firmware (Boot Loader Interface).

use std::cmp::{Ordering, Reverse};

use crate::{adapters::apt::version, core::record::any_matches};

/// What is not in the entries.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// `loader.conf`.
    pub config: String,
    /// `LoaderEntryOneShot`, for the next boot.
    pub once: Option<String>,
    /// `LoaderEntryDefault`.
    pub default: Option<String>,
    /// `LoaderEntryLastBooted`.
    pub last: Option<String>,
}

/// What an entry starts. Paths are those of its own file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The kernel.
    pub kernel: String,
    /// Its initrd.
    pub initrd: String,
    /// Its command line.
    pub options: String,
}

/// Fields of an entry that people or the menu's order make use of.
const ASIDE: [&str; 5] = ["title", "version", "machine-id", "sort-key", "architecture"];

/// The release of the kernel that is started when nobody is at the menu. `files`: the entries'
/// names and texts.
pub(super) fn kernel(files: &[(String, String)], said: &Said) -> Option<String> {
    let chosen = chosen(files, said)?;
    let release = chosen.field("version");
    // What calls itself so is that kernel only if it lies where kernel-install has put it.
    let place = chosen.field("linux").split('/').any(|part| part == release);
    (place && !release.is_empty()).then(|| release.to_owned())
}

/// All that is started when nobody is at the menu, if each field of its entry is understood.
pub(super) fn start(files: &[(String, String)], said: &Said) -> Result<Start, String> {
    if said.once.is_some() {
        return Err("systemd-boot has a choice for one boot, which only it uses up".to_owned());
    }
    let chosen = chosen(files, said);
    let chosen = chosen.ok_or("what systemd-boot starts next is not understood")?;
    let (mut kernels, mut initrds, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for line in chosen.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(char::is_whitespace).map(|(name, value)| (name, value.trim())) {
            Some(("linux", value)) => kernels.push(value),
            Some(("initrd", value)) => initrds.push(value),
            Some(("options", value)) => options.push(value),
            Some((name, _)) if ASIDE.contains(&name) || name.starts_with('#') => {}
            _ => {
                return Err(format!(
                    "systemd-boot's entry has a line that is not understood: {line}"
                ));
            }
        }
    }
    match (&kernels[..], &initrds[..]) {
        ([kernel], [initrd]) => Ok(Start {
            kernel: (*kernel).to_owned(),
            initrd: (*initrd).to_owned(),
            options: options.join(" "),
        }),
        _ => Err("systemd-boot's entry is not of one kernel and one initrd".to_owned()),
    }
}

fn chosen<'a>(files: &'a [(String, String)], said: &Said) -> Option<Entry<'a>> {
    // A count of tries in a name changes the order, and with it from boot to boot.
    if files.iter().any(|(name, _)| name.contains('+')) {
        return None;
    }
    let mut entries: Vec<Entry<'_>> =
        files.iter().map(|(name, text)| Entry { name, text }).collect();
    entries.sort_by(Entry::order);
    let pattern = match said.once.as_deref().or(said.default.as_deref()) {
        Some(chosen) => Some(chosen),
        None => field(&said.config, "default"),
    };
    let mut entries = entries.into_iter();
    match pattern {
        None => entries.next(),
        Some("@saved") => {
            let last = said.last.as_deref()?;
            entries.find(|entry| entry.name == last)
        }
        Some(pattern) if pattern.contains(['?', '[', '@']) => None,
        Some(pattern) => {
            let globs = [pattern.to_lowercase()];
            entries.find(|entry| any_matches(&globs, &entry.name.to_lowercase()))
        }
    }
}

struct Entry<'a> {
    name: &'a str,
    text: &'a str,
}

impl Entry<'_> {
    fn field(&self, name: &str) -> &str {
        field(self.text, name).unwrap_or_default()
    }

    /// As the specification orders a menu: those with a key first, by key and machine; then the
    /// newest first.
    fn order(&self, other: &Self) -> Ordering {
        let keys = |entry: &Self| {
            let key = entry.field("sort-key").to_owned();
            (key.is_empty(), key, entry.field("machine-id").to_owned())
        };
        let newest = |a: &str, b: &str| version::compare(b, a);
        let version = || match (self.field("sort-key"), other.field("sort-key")) {
            ("", _) | (_, "") => Ordering::Equal,
            _ => newest(self.field("version"), other.field("version")),
        };
        keys(self)
            .cmp(&keys(other))
            .then_with(version)
            .then_with(|| newest(self.name, other.name))
            .then_with(|| Reverse(self.name).cmp(&Reverse(other.name)))
    }
}

/// `name   value`, one a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: &str = "6.1.0-56-cloud-amd64";
    const EARLIER: &str = "6.1.0-54-cloud-amd64";
    const OLDEST: &str = "6.1.0-9-cloud-amd64";

    fn entries() -> Vec<(String, String)> {
        macro_rules! entry {
            ($release:literal) => {{
                const NAME: &str = concat!("0123456789abcdef0123456789abcdef-", $release, ".conf");
                let text = include_str!(concat!(
                    "../../../tests/fixtures/kernel/debian-12/entries/0123456789abcdef0123456789abcdef-",
                    $release,
                    ".conf"
                ));
                (NAME.to_owned(), text.to_owned())
            }};
        }
        vec![
            entry!("6.1.0-9-cloud-amd64"),
            entry!("6.1.0-56-cloud-amd64"),
            entry!("6.1.0-54-cloud-amd64"),
        ]
    }

    fn configured(config: &str) -> Said {
        Said { config: config.to_owned(), ..Said::default() }
    }

    #[test]
    fn the_newest_is_started_where_nothing_else_is_said() {
        assert_eq!(kernel(&entries(), &Said::default()).as_deref(), Some(NEWEST));
        assert_eq!(
            kernel(&entries(), &configured("#default x\ntimeout 3\n")).as_deref(),
            Some(NEWEST)
        );
        assert_eq!(kernel(&[], &Said::default()), None);
    }

    #[test]
    fn a_default_is_a_pattern_of_names_and_the_firmware_has_the_last_word() {
        for (config, expected) in [
            ("default *-6.1.0-54-*", Some(EARLIER)),
            ("timeout 3\ndefault 0123456789ABCDEF*", Some(NEWEST)),
            ("default gone.conf", None),
            ("default @saved", None),
            ("default 012345678[89]*", None),
        ] {
            assert_eq!(kernel(&entries(), &configured(config)).as_deref(), expected, "{config}");
        }
        let name = |release: &str| Some(format!("0123456789abcdef0123456789abcdef-{release}.conf"));
        let said = Said { last: name(OLDEST), ..configured("default @saved") };
        assert_eq!(kernel(&entries(), &said).as_deref(), Some(OLDEST));
        let said = Said { default: name(EARLIER), ..said };
        assert_eq!(kernel(&entries(), &said).as_deref(), Some(EARLIER));
        let said = Said { once: name(OLDEST), ..said };
        assert_eq!(kernel(&entries(), &said).as_deref(), Some(OLDEST));
    }

    #[test]
    fn all_of_the_chosen_entry_is_read_unless_the_choice_is_for_one_boot() {
        let folder = format!("/boot/efi/0123456789abcdef0123456789abcdef/{NEWEST}");
        let read = start(&entries(), &Said::default()).unwrap();
        assert_eq!(read.kernel, format!("{folder}/linux"));
        assert_eq!(read.initrd, format!("{folder}/initrd.img-{NEWEST}"));
        let id = "systemd.machine_id=0123456789abcdef0123456789abcdef";
        assert_eq!(read.options, format!("root=/dev/sda1 ro quiet {id}"));
        let once = Said { once: Some("x.conf".to_owned()), ..Said::default() };
        assert!(start(&entries(), &once).unwrap_err().contains("for one boot"));
        for more in ["devicetree /x.dtb", "uki /x.efi", "initrd /ucode.img", "linux /x", "profile"]
        {
            let with = |(name, text): (String, String)| (name, format!("{text}\n{more}\n"));
            let files: Vec<(String, String)> = entries().into_iter().map(with).collect();
            let said = start(&files, &Said::default()).unwrap_err();
            assert!(said.starts_with("systemd-boot's entry"), "{more}: {said}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        let mut counted = entries();
        counted[0].0 = "x+3.conf".to_owned();
        assert_eq!(kernel(&counted, &Said::default()), None);
        let mut moved = entries();
        moved[1].1 = moved[1].1.replace("cloud-amd64/linux", "other/linux");
        assert_eq!(kernel(&moved, &Said::default()), None);
        let mut first = entries();
        first[2].1 = first[2].1.replace("sort-key   debian", "sort-key   arch");
        assert_eq!(kernel(&first, &Said::default()).as_deref(), Some(EARLIER), "by its key");
    }
}
