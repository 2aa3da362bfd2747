//! One entry of GRUB's menu, read so that nothing in it is passed over: every command is one of those
//! that `grub-mkconfig` writes, and every word is plain.

/// What an entry starts, in GRUB's own words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The path of the kernel in its file system.
    pub kernel: String,
    /// The path of the initrd there.
    pub initrd: String,
    /// The kernel's command line, as GRUB hands it over.
    pub options: String,
    /// The id of the file system.
    pub file_system: String,
}

/// Commands that change nothing of what is started.
const ASIDE: [&str; 7] =
    ["echo", "export", "gfxmode", "insmod", "load_video", "recordfail", "savedefault"];
/// Letters that GRUB's language gives a meaning.
const SPECIAL: &str = "\\'\"$;&|<>{}()#*?[]~";

/// `commands`: the lines of the entry.
pub(super) fn start(commands: &[String]) -> Result<Start, String> {
    let mut read = Reading::default();
    for line in commands {
        read.command(line.trim())?;
    }
    let missing = |what: &str| format!("GRUB's entry does not say {what}");
    Ok(Start {
        kernel: read.kernel.ok_or_else(|| missing("which kernel"))?,
        initrd: read.initrd.ok_or_else(|| missing("which initrd"))?,
        options: read.options,
        file_system: read.file_system.ok_or_else(|| missing("on which file system, by its id"))?,
    })
}

#[derive(Default)]
struct Reading {
    kernel: Option<String>,
    initrd: Option<String>,
    options: String,
    file_system: Option<String>,
    /// How many conditions are open.
    conditions: u32,
}

impl Reading {
    fn command(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some((command, rest)) = words.split_first() else { return Ok(()) };
        let sure = self.conditions == 0;
        match *command {
            "if" if line.ends_with(" fi") => aside(line),
            "if" => {
                self.conditions += 1;
                Ok(())
            }
            "else" => Ok(()),
            "fi" => {
                self.conditions = self.conditions.saturating_sub(1);
                Ok(())
            }
            "search" => self.search(rest),
            "linux" | "linuxefi" if sure && self.kernel.is_none() => self.linux(rest),
            "initrd" | "initrdefi" if sure && self.initrd.is_none() => self.initrd(rest),
            // A search follows, and has the last word.
            "set" if is_one_of(rest, &["root=", "gfxpayload="]) => Ok(()),
            word if word.starts_with('#') || ASIDE.contains(&word) => Ok(()),
            _ => Err(not_understood(line)),
        }
    }

    /// Whichever branch GRUB takes, it is to find the same one; before it loads anything.
    fn search(&mut self, words: &[&str]) -> Result<(), String> {
        let wanted = words.contains(&"--fs-uuid") && words.contains(&"--set=root");
        let id = words.last().filter(|id| wanted && is_plain(id) && !id.starts_with('-'));
        let same = |id: &&str| self.file_system.as_deref().is_none_or(|known| known == *id);
        match id.copied().filter(|id| same(id) && self.kernel.is_none()) {
            Some(id) => {
                self.file_system = Some(id.to_owned());
                Ok(())
            }
            None => Err(not_understood(&format!("search {}", words.join(" ")))),
        }
    }

    fn linux(&mut self, words: &[&str]) -> Result<(), String> {
        let plain = words.iter().all(|word| is_plain(word));
        let Some((path, options)) = words.split_first().filter(|_| plain) else {
            return Err(not_understood(&format!("linux {}", words.join(" "))));
        };
        let first = format!("BOOT_IMAGE={path}");
        self.options = [&[&*first], options].concat().join(" ");
        self.kernel = Some((*path).to_owned());
        Ok(())
    }

    fn initrd(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [path] if is_plain(path) => {
                self.initrd = Some((*path).to_owned());
                Ok(())
            }
            _ => Err(not_understood(&format!("initrd {}", words.join(" ")))),
        }
    }
}

/// `if [ … ]; then insmod x; insmod y; fi`
fn aside(line: &str) -> Result<(), String> {
    let parts = line.split(';').skip(1).map(str::trim);
    let parts = parts.map(|part| part.strip_prefix("then ").unwrap_or(part));
    let mut commands = parts.map(|part| part.split(' ').next().unwrap_or_default());
    let fine = commands.all(|word| word == "fi" || ASIDE.contains(&word));
    if fine { Ok(()) } else { Err(not_understood(line)) }
}

fn not_understood(line: &str) -> String {
    format!("GRUB's entry has a line that is not understood: {line}")
}

fn is_one_of(words: &[&str], starts: &[&str]) -> bool {
    words.first().is_some_and(|word| starts.iter().any(|start| word.starts_with(start)))
}

fn is_plain(word: &str) -> bool {
    !word.contains(|letter: char| SPECIAL.contains(letter) || letter.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "\
\tload_video
\tgfxmode $linux_gfx_mode
\tinsmod gzio
\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
\tinsmod part_gpt
\tset root='hd0,gpt2'
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 --hint='hd0,gpt2'  ab-cd
\telse
\t  search --no-floppy --fs-uuid --set=root ab-cd
\tfi
\techo\t'Loading Linux 6.1.0-56-amd64 ...'
\tlinux\t/vmlinuz-6.1.0-56-amd64 root=UUID=ef-01 ro  console=ttyS0,115200
\techo\t'Loading initial ramdisk ...'
\tinitrd\t/initrd.img-6.1.0-56-amd64
";

    fn read(entry: &str) -> Result<Start, String> {
        start(&entry.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn an_entry_of_grub_mkconfig_is_read_whole() {
        let expected = Start {
            kernel: "/vmlinuz-6.1.0-56-amd64".into(),
            initrd: "/initrd.img-6.1.0-56-amd64".into(),
            options: "BOOT_IMAGE=/vmlinuz-6.1.0-56-amd64 root=UUID=ef-01 ro console=ttyS0,115200"
                .into(),
            file_system: "ab-cd".into(),
        };
        assert_eq!(read(ENTRY), Ok(expected));
    }

    #[test]
    fn what_may_start_something_else_is_refused() {
        for (what, by) in [
            ("ro  console", "ro $vt_handoff console"),
            ("ro  console", "ro 'a b' console"),
            ("ro  console", "ro a\\ b console"),
            ("/vmlinuz", "(hd1)/vmlinuz"),
            ("\tinitrd\t/", "\tinitrd\t/intel-ucode.img /"),
            ("\tinitrd\t/", "\tinitrd\t/first.img\n\tinitrd\t/"),
            ("\tlinux\t", "\tdevicetree /dtb\n\tlinux\t"),
            ("\tlinux\t", "\tmultiboot2 /xen.gz\n\tlinux\t"),
            ("\tlinux\t", "\tif [ x = y ]; then\n\tlinux /other\n\tfi\n\tlinux\t"),
            ("\tlinux\t", "\tif [ x = y ]; then linux /other; fi\n\tlinux\t"),
            ("\tlinux\t", "\tset kernel=x\n\tlinux\t"),
            ("--set=root ab-cd", "--set=root ef-01"),
            ("--fs-uuid --set=root ab-cd", "--label --set=root ab-cd"),
            ("\tinitrd\t", "\tsearch --fs-uuid --set=root ab-cd\n\tinitrd\t"),
        ] {
            let entry = ENTRY.replacen(what, by, 1);
            assert_ne!(entry, ENTRY, "{what}");
            let said = read(&entry).unwrap_err();
            assert!(said.starts_with("GRUB's entry has a line"), "{entry}: {said}");
        }
        for missing in ["\tlinux\t", "\tinitrd\t", "search"] {
            let kept = ENTRY.lines().filter(|line| !line.contains(missing)).collect::<Vec<_>>();
            let said = read(&kept.join("\n")).unwrap_err();
            assert!(said.starts_with("GRUB's entry does not say"), "{missing}: {said}");
        }
    }
}
