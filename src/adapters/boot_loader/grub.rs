//! GRUB's menu, as `grub-mkconfig` writes it (GRUB manual, "Simple configuration handling"), and the
//! variables it keeps from boot to boot (`grub-editenv`).

use super::grub_entry;

/// The path of the kernel that is started when nobody is at the menu.
pub(super) fn kernel(menu: &str, variables: &str) -> Option<String> {
    Menu::parse(menu)?.chosen(&Variables(variables))?.kernel.clone()
}

/// All that is started when nobody is at the menu, if each word of its entry is understood.
pub(super) fn start(menu: &str, variables: &str) -> Result<grub_entry::Start, String> {
    let variables = Variables(variables);
    if !variables.get("next_entry").is_empty() {
        return Err("GRUB has a choice for one boot, which only GRUB uses up".to_owned());
    }
    let unknown = || "what GRUB starts next is not understood".to_owned();
    let menu = Menu::parse(menu).ok_or_else(unknown)?;
    grub_entry::start(&menu.chosen(&variables).ok_or_else(unknown)?.commands)
}

/// By its number, its id, or its title.
fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    if let Ok(number) = name.parse::<usize>() {
        // Whether an earlier one is there at all is decided by GRUB.
        let sure = entries.iter().take(number + 1).all(|entry| !entry.conditional);
        return entries.get(number).filter(|_| sure);
    }
    entries.iter().find(|entry| entry.id == name || entry.title == name)
}

/// `name=value`, a line each.
struct Variables<'a>(&'a str);

impl Variables<'_> {
    fn get(&self, name: &str) -> &str {
        let pairs = self.0.lines().filter_map(|line| line.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// An entry of a menu, or a menu in it.
#[derive(Debug, Default)]
struct Entry {
    title: String,
    id: String,
    kernel: Option<String>,
    /// All that GRUB does for it, a line each.
    commands: Vec<String>,
    entries: Vec<Entry>,
    /// It is there on some machines only.
    conditional: bool,
}

#[derive(Debug, Default)]
struct Menu {
    entries: Vec<Entry>,
    /// What `default` is set to.
    default: Option<String>,
    /// `next_entry` counts for one boot.
    once: bool,
}

/// What an open brace belongs to.
enum Block {
    Entry(Entry),
    Other,
}

impl Menu {
    /// `None` for a menu that somebody has written otherwise.
    fn parse(text: &str) -> Option<Self> {
        let mut menu = Self::default();
        let mut open: Vec<Block> = Vec::new();
        let mut conditions = 0_u32;
        for line in text.lines().map(str::trim) {
            let word = line.split_ascii_whitespace().next().unwrap_or_default();
            if let (Some(Block::Entry(entry)), false) = (open.last_mut(), word == "}") {
                entry.commands.push(line.to_owned());
            }
            match word {
                "menuentry" | "submenu" if line.ends_with('{') => {
                    let conditional = conditions > 0;
                    open.push(Block::Entry(Entry { conditional, ..entry(line)? }));
                }
                _ if line.ends_with('{') => open.push(Block::Other),
                "}" => match open.pop()? {
                    Block::Other => {}
                    Block::Entry(entry) => match open.last_mut() {
                        Some(Block::Entry(menu)) => menu.entries.push(entry),
                        Some(Block::Other) => return None,
                        None => menu.entries.push(entry),
                    },
                },
                "if" if line.ends_with(" fi") => {}
                "if" => conditions += 1,
                "fi" => conditions = conditions.checked_sub(1)?,
                "linux" | "linuxefi" => {
                    let path = line.split_ascii_whitespace().nth(1)?;
                    if let Some(Block::Entry(entry)) = open.last_mut() {
                        entry.kernel = Some(path.to_owned());
                    }
                }
                "set" => menu.set(line)?,
                _ => {}
            }
        }
        (open.is_empty() && conditions == 0).then_some(menu)
    }

    fn set(&mut self, line: &str) -> Option<()> {
        match line.strip_prefix("set default=").map(|value| value.trim_matches('"')) {
            None => {}
            Some("${next_entry}") => self.once = true,
            // Set twice: which one counts depends on the machine.
            Some(_) if self.default.is_some() => return None,
            Some(value) => self.default = Some(value.to_owned()),
        }
        Some(())
    }

    /// The entry that is started.
    fn chosen(&self, variables: &Variables<'_>) -> Option<&Entry> {
        let mut entries = &self.entries;
        let mut parts = self.choice(variables)?.split('>').peekable();
        while let Some(part) = parts.next() {
            let entry = find(entries, part)?;
            if parts.peek().is_none() {
                return Some(entry).filter(|entry| entry.entries.is_empty());
            }
            entries = &entry.entries;
        }
        None
    }

    /// What is started, as `part>part`.
    fn choice<'a>(&'a self, variables: &'a Variables<'_>) -> Option<&'a str> {
        // An old name, for one boot as well.
        if !variables.get("prev_saved_entry").is_empty() {
            return None;
        }
        let once = variables.get("next_entry");
        if !once.is_empty() {
            return self.once.then_some(once);
        }
        let choice = match self.default.as_deref()? {
            "${saved_entry}" => variables.get("saved_entry"),
            value => value,
        };
        match choice {
            "" => Some("0"),
            value if value.contains('$') => None,
            value => Some(value),
        }
    }
}

/// `menuentry 'TITLE' --class … $menuentry_id_option 'ID' {`
fn entry(line: &str) -> Option<Entry> {
    let (_, rest) = line.split_once('\'')?;
    let (title, rest) = rest.split_once('\'')?;
    let mut id = "";
    for option in ["$menuentry_id_option '", "--id '"] {
        if let Some((_, after)) = rest.split_once(option) {
            (id, _) = after.split_once('\'')?;
        }
    }
    Some(Entry { title: title.to_owned(), id: id.to_owned(), ..Entry::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MENU: &str = include_str!("../../../tests/fixtures/kernel/debian-12/grub.cfg");
    const ONCE: &str = include_str!("../../../tests/fixtures/kernel/debian-12/grubenv");
    const NEWEST: &str = "/boot/vmlinuz-6.1.0-56-cloud-amd64";
    const EARLIER: &str = "/boot/vmlinuz-6.1.0-54-cloud-amd64";
    const OLDEST: &str = "/boot/vmlinuz-6.1.0-9-cloud-amd64";

    fn saved() -> String {
        MENU.replace("set default=\"0\"", "set default=\"${saved_entry}\"")
    }

    #[test]
    fn the_first_entry_is_started_where_nothing_else_is_said() {
        assert_eq!(kernel(MENU, "").as_deref(), Some(NEWEST));
        assert_eq!(kernel(&saved(), "").as_deref(), Some(NEWEST));
    }

    #[test]
    fn entries_are_chosen_by_number_title_or_id() {
        let title = "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux \
                     6.1.0-54-cloud-amd64";
        let id = "gnulinux-advanced-/dev/sda1>gnulinux-6.1.0-54-cloud-amd64-advanced-/dev/sda1";
        for (choice, expected) in [
            ("0", Some(NEWEST)),
            ("1>0", Some(NEWEST)),
            ("1>2", Some(EARLIER)),
            (title, Some(EARLIER)),
            (id, Some(EARLIER)),
            ("1>4", Some(OLDEST)),
            ("1", None),
            ("9", None),
            ("gone", None),
            ("0>1", None),
        ] {
            let menu = MENU.replace("set default=\"0\"", &format!("set default=\"{choice}\""));
            assert_eq!(kernel(&menu, "").as_deref(), expected, "{choice}");
            let variables = format!("# GRUB Environment Block\nsaved_entry={choice}\n####");
            assert_eq!(kernel(&saved(), &variables).as_deref(), expected, "{choice}");
        }
    }

    #[test]
    fn a_choice_for_one_boot_comes_first() {
        assert!(ONCE.contains("\nsaved_entry=1>2\n"), "{ONCE}");
        assert_eq!(kernel(MENU, ONCE).as_deref(), Some(OLDEST));
        assert_eq!(kernel(&saved(), "prev_saved_entry=1>2\n"), None);
    }

    #[test]
    fn all_of_the_chosen_entry_is_read_unless_the_choice_is_for_one_boot() {
        let search = "insmod gzio\n\tsearch --no-floppy --fs-uuid --set=root 0123-abcd";
        let menu = saved().replace("insmod gzio", search);
        let start = start(&menu, "saved_entry=1>2\n").unwrap();
        assert_eq!(start.kernel, EARLIER);
        assert_eq!(start.initrd, EARLIER.replace("vmlinuz", "initrd.img"));
        assert_eq!(start.options, format!("BOOT_IMAGE={EARLIER} root=/dev/sda1 ro quiet"));
        assert_eq!(start.file_system, "0123-abcd");
        let said = |menu: &str, variables: &str| super::start(menu, variables).unwrap_err();
        assert!(said(&menu, ONCE).starts_with("GRUB has a choice for one boot"));
        assert!(said(&menu, "saved_entry=9").ends_with("not understood"));
        assert!(said(MENU, "").contains("file system"), "none is named");
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        let twice = format!("{MENU}\nset default=\"1>2\"\n");
        let sometimes = format!("if [ x = y ] ; then\nmenuentry 'other' {{\n}}\nfi\n{MENU}");
        let variable = MENU.replace("set default=\"0\"", "set default=\"$other\"");
        let cut = MENU.rsplit_once('}').unwrap().0;
        for menu in [&twice, &sometimes, &variable, cut, "", "menuentry x {\n}\n"] {
            assert_eq!(kernel(menu, ""), None, "{menu}");
        }
    }
}
