//! `/proc/PID/maps`: which files a process runs code from (proc(5)).

/// A file that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped<'a> {
    pub path: &'a str,
    pub major: u32,
    pub minor: u32,
    pub inode: u64,
}

/// A file that code is run from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code<'a> {
    /// The kernel says that it was deleted.
    Deleted(&'a str),
    /// It may still be there.
    There(Mapped<'a>),
}

/// The path without the mark, if the kernel has marked it as deleted.
pub(super) fn deleted(path: &str) -> Option<&str> {
    path.strip_suffix(" (deleted)")
}

/// Every executable mapping of a file that packages bring.
pub(super) fn code(text: &str) -> impl Iterator<Item = Code<'_>> {
    text.split('\n').filter_map(mapping)
}

/// `7f20-7f40 r-xp 00000000 fe:00 1234    /usr/lib/libc.so.6`
fn mapping(line: &str) -> Option<Code<'_>> {
    let (_, rest) = line.split_once(' ')?;
    if rest.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let mut words = rest.splitn(5, ' ').skip(2);
    let (device, inode, rest) = (words.next()?, words.next()?, words.next()?);
    let path = rest.trim_start_matches(' ');
    if inode == "0" || !path.starts_with('/') || is_no_package_file(path) {
        return None;
    }
    if let Some(path) = deleted(path) {
        return Some(Code::Deleted(path));
    }
    let (major, minor) = device.split_once(':')?;
    Some(Code::There(Mapped {
        path,
        major: u32::from_str_radix(major, 16).ok()?,
        minor: u32::from_str_radix(minor, 16).ok()?,
        inode: inode.parse().ok()?,
    }))
}

/// Memory that looks like a file (shared, of a device, of a just-in-time compiler), and files that
/// come and go without any package. needrestart(1) leaves out the same.
fn is_no_package_file(path: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "/memfd:",
        "/SYSV",
        "/dev/",
        "/drm",
        "/i915",
        "/[aio]",
        "/anon_hugepage",
        "/proc/",
        "/tmp/",
        "/var/tmp/",
        "/run/",
        "/var/run/",
    ];
    let path = deleted(path).unwrap_or(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    BEGINNINGS.iter().any(|beginning| path.starts_with(beginning))
        || name.starts_with("orcexec.")
        // A file that never had a name (O_TMPFILE).
        || name.strip_prefix('#').is_some_and(digits)
        // Java Native Access.
        || name.strip_prefix("jna").and_then(|n| n.strip_suffix(".tmp")).is_some_and(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
55d0c0a00000-55d0c0a02000 r--p 00000000 fe:00 261                        /usr/bin/sleep
55d0c0a02000-55d0c0a06000 r-xp 00002000 fe:00 261                        /usr/bin/sleep
7f1a00000000-7f1a00155000 r-xp 00028000 103:0a 4660                      /usr/lib/a b/libc.so.6
7f1a00200000-7f1a00255000 r-xp 00028000 fe:00 99                         /usr/lib/libz.so.1 (deleted)
7f1a00300000-7f1a00301000 rwxp 00000000 00:01 7                          /memfd:jit (deleted)
7f1a00300000-7f1a00301000 rwxp 00000000 00:01 32769                      /SYSV00000000 (deleted)
7f1a00300000-7f1a00301000 rwxs 00000000 00:06 9                          /dev/zero (deleted)
7f1a00300000-7f1a00301000 rwxp 00000000 fe:00 8                          /tmp/libx.so (deleted)
7f1a00300000-7f1a00301000 rwxp 00000000 fe:00 8                          /opt/#12345 (deleted)
7f1a00300000-7f1a00301000 rwxp 00000000 fe:00 8                          /home/me/jna123.tmp (deleted)
7f1a00300000-7f1a00301000 rwxp 00000000 00:2b 8                          /i915 (deleted)
7f1a00400000-7f1a00401000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
7ffd00100000-7ffd00102000 r-xp 00000000 00:00 0                          [vdso]
";

    #[test]
    fn only_code_of_files_that_packages_bring_counts() {
        let found: Vec<Code<'_>> = code(TEXT).collect();
        let there = |path, major, minor, inode| Code::There(Mapped { path, major, minor, inode });
        assert_eq!(
            found,
            [
                there("/usr/bin/sleep", 0xfe, 0, 261),
                there("/usr/lib/a b/libc.so.6", 0x103, 0xa, 4660),
                Code::Deleted("/usr/lib/libz.so.1"),
            ]
        );
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        for line in
            ["", "x", "a r-xp", "a r-xp 0 zz 1 /x", "a r-xp 0 f:z 1 /x", "a r-xp 0 0:0 x /x"]
        {
            assert_eq!(code(line).count(), 0, "{line}");
        }
    }
}
