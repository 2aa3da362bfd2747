//! Would the next boot give the processor a newer microcode than it runs?
//!
//! Only a *yes* is ever told apart: a file that came since this boot holds a revision for this very
//! processor that is newer than the running one. What is missing, packed or not understood is a no.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    adapters::{clock, kernel, packages::Layout},
    core::health::Evidence,
};

/// What microcode is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Processor {
    maker: Maker,
    family: u32,
    model: u32,
    stepping: u32,
    /// Intel's platform, one bit; elsewhere 0.
    platform: u32,
    /// The running revision.
    revision: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Intel,
    Amd,
}

/// Compares the installed microcode with the running one. `Yes` or `No`.
#[must_use]
pub fn evidence(layout: &Layout) -> Evidence {
    if kernel::is_container(layout) {
        return Evidence::No;
    }
    let found = processor(layout).and_then(|processor| newer(layout, processor));
    found.map_or(Evidence::No, |reason| Evidence::Yes { reasons: vec![reason] })
}

fn newer(layout: &Layout, processor: Processor) -> Option<String> {
    let path = layout.at("lib/firmware").join(processor.file());
    let up = i64::try_from(clock::since_boot().as_secs()).ok()?;
    if fs::metadata(&path).ok()?.ctime() < clock::wall().as_second() - up {
        // This boot could have loaded it, and has not: the next one would not either.
        return None;
    }
    let installed = processor.newest(&fs::read(&path).ok()?)?;
    let running = processor.revision;
    (installed > running)
        .then(|| format!("microcode {installed:#x} is installed, {running:#x} runs"))
}

/// The first processor, if its microcode is this system's to load: a guest's is its host's.
fn processor(layout: &Layout) -> Option<Processor> {
    let folder = layout.at("sys/devices/system/cpu/cpu0/microcode");
    let number = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    let about = fs::read_to_string(layout.at("proc/cpuinfo")).ok()?;
    parse(&about, number("version")?, number("processor_flags").unwrap_or(0))
}

fn parse(cpuinfo: &str, revision: u32, platform: u32) -> Option<Processor> {
    let first = cpuinfo.split("\n\n").next()?;
    let field = |name: &str| {
        let pairs = first.lines().filter_map(|line| line.split_once(':'));
        pairs.into_iter().find(|(known, _)| known.trim() == name).map(|(_, value)| value.trim())
    };
    if field("flags")?.split(' ').any(|flag| flag == "hypervisor") {
        return None;
    }
    let number = |name: &str| field(name)?.parse().ok();
    let maker = match field("vendor_id")? {
        "GenuineIntel" => Maker::Intel,
        "AuthenticAMD" => Maker::Amd,
        _ => return None,
    };
    Some(Processor {
        maker,
        family: number("cpu family")?,
        model: number("model")?,
        stepping: number("stepping")?,
        platform,
        revision,
    })
}

impl Processor {
    /// Below `/lib/firmware`, as the kernel names it.
    fn file(self) -> String {
        let Self { maker, family, model, stepping, .. } = self;
        match maker {
            Maker::Intel => format!("intel-ucode/{family:02x}-{model:02x}-{stepping:02x}"),
            Maker::Amd if family < 0x15 => "amd-ucode/microcode_amd.bin".to_owned(),
            Maker::Amd => format!("amd-ucode/microcode_amd_fam{family:02x}h.bin"),
        }
    }

    /// What CPUID leaf 1 calls it.
    fn signature(self) -> u32 {
        let base = self.family.min(0xf);
        let extended = self.family - base;
        let (low, high) = (self.model & 0xf, self.model >> 4);
        extended << 20 | high << 16 | base << 8 | low << 4 | self.stepping
    }

    /// The newest revision for it in a file.
    fn newest(self, file: &[u8]) -> Option<u32> {
        match self.maker {
            Maker::Intel => self.newest_of_intel(file),
            Maker::Amd => self.newest_of_amd(file),
        }
    }

    /// One update after the other, each with a header of 48 bytes (Intel SDM, volume 3, "Microcode
    /// Update"). Further processors it is for are in a table behind it.
    fn newest_of_intel(self, mut file: &[u8]) -> Option<u32> {
        let mut newest = None;
        while !file.is_empty() {
            let (data, total) = match (word(file, 28)?, word(file, 32)?) {
                (0, _) => (2000, 2048),
                (data, total) => (data as usize, total as usize),
            };
            let update = file.get(..total).filter(|update| update.len() >= 48)?;
            let fits = |at: usize, flags: usize| {
                let platforms = word(update, flags)?;
                let ours = platforms & self.platform != 0 || platforms == self.platform;
                Some(word(update, at)? == self.signature() && ours)
            };
            let table = 48 + data;
            let more = if total > table { word(update, table)? as usize } else { 0 };
            let places = (0..more).map(|n| table + 20 + 12 * n).map(|at| (at, at + 4));
            if [(12, 24)].into_iter().chain(places).any(|(at, flags)| fits(at, flags) == Some(true))
            {
                newest = newest.max(Some(word(update, 4)?));
            }
            file = &file[total..];
        }
        newest
    }

    /// A table of processors, and patches for each kind in it: `arch/x86/kernel/cpu/microcode/amd.c`
    /// of the kernel reads it so.
    fn newest_of_amd(self, file: &[u8]) -> Option<u32> {
        const MAGIC: u32 = 0x0041_4d44;
        if word(file, 0)? != MAGIC || word(file, 4)? != 0 {
            return None;
        }
        let length = word(file, 8)? as usize;
        let table = file.get(12..12 + length)?;
        let row = table.chunks_exact(16).find(|row| word(row, 0) == Some(self.signature()))?;
        let kind = half(row, 12)?;
        let mut rest = &file[12 + length..];
        let mut newest = None;
        // Another table may follow, for other processors.
        while word(rest, 0) == Some(1) {
            let patch = rest.get(8..8 + word(rest, 4)? as usize)?;
            if half(patch, 24)? == kind {
                newest = newest.max(Some(word(patch, 4)?));
            }
            rest = &rest[8 + patch.len()..];
        }
        newest
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n\
        model name\t: Intel(R) Xeon(R)\nstepping\t: 4\nmicrocode\t: 0x2006e05\nflags\t\t: fpu vme sse2\n\n\
        processor\t: 1\n";
    const INTEL: Processor = Processor {
        maker: Maker::Intel,
        family: 6,
        model: 85,
        stepping: 4,
        platform: 0x80,
        revision: 0x0200_6e05,
    };
    const AMD: Processor = Processor {
        maker: Maker::Amd,
        family: 0x19,
        model: 0x11,
        stepping: 1,
        platform: 0,
        revision: 0x0a10_1148,
    };

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// An update of four words of data, and a table of further signatures.
    fn intel(revision: u32, signature: u32, flags: u32, more: &[(u32, u32)]) -> Vec<u8> {
        let table = if more.is_empty() { 0 } else { 20 + 12 * u32::try_from(more.len()).unwrap() };
        let mut words =
            vec![1, revision, 0, signature, 0, 1, flags, 16, 48 + 16 + table, 0, 0, 0, 7, 7, 7, 7];
        if !more.is_empty() {
            words.extend([u32::try_from(more.len()).unwrap(), 0, 0, 0, 0]);
            words.extend(more.iter().flat_map(|(signature, flags)| [*signature, *flags, 0]));
        }
        bytes(&words)
    }

    fn amd(signature: u32, kind: u32, patches: &[(u32, u32)]) -> Vec<u8> {
        let table = [0x0aa0_0f02, 0, 0, 0x00ff, signature, 0, 0, kind, 0, 0, 0, 0];
        let mut words = vec![0x0041_4d44, 0, 48];
        words.extend(table);
        for (revision, kind) in patches {
            words.extend([1, 32, 0, *revision, 0, 0, 0, 0, *kind, 0]);
        }
        bytes(&words)
    }

    #[test]
    fn the_processor_is_told_by_its_first_core_and_a_guest_has_none() {
        assert_eq!(parse(CPUINFO, 0x0200_6e05, 0x80), Some(INTEL));
        assert_eq!(INTEL.file(), "intel-ucode/06-55-04");
        assert_eq!(INTEL.signature(), 0x0005_0654);
        assert_eq!(AMD.file(), "amd-ucode/microcode_amd_fam19h.bin");
        assert_eq!(AMD.signature(), 0x00a1_0f11);
        let guest = CPUINFO.replace("sse2", "sse2 hypervisor");
        assert_eq!(parse(&guest, 1, 1), None);
        assert_eq!(parse("", 1, 1), None);
        assert_eq!(parse(&CPUINFO.replace("GenuineIntel", "Other"), 1, 1), None);
    }

    #[test]
    fn the_newest_of_intels_updates_for_this_platform_counts() {
        let ours = INTEL.signature();
        let file = [
            intel(5, ours, 0x80, &[]),
            intel(9, ours, 0x01, &[]),
            intel(7, 0x0005_0653, 0x80, &[(0x0005_0657, 0xff), (ours, 0x81)]),
            intel(8, 0x0005_0653, 0x80, &[]),
        ]
        .concat();
        assert_eq!(INTEL.newest(&file), Some(7));
        assert_eq!(INTEL.newest(&intel(8, 0x0005_0653, 0x80, &[])), None);
        assert_eq!(INTEL.newest(&file[..100]), None);
        assert_eq!(INTEL.newest(&[0; 64]), None);
    }

    #[test]
    fn the_newest_of_amds_patches_for_this_kind_counts() {
        let file = amd(AMD.signature(), 0xa111, &[(3, 0xa111), (9, 0xa112), (5, 0xa111)]);
        assert_eq!(AMD.newest(&file), Some(5));
        assert_eq!(AMD.newest(&amd(0x00a1_0f12, 0xa112, &[(9, 0xa112)])), None);
        assert_eq!(AMD.newest(&file[..70]), None);
        assert_eq!(AMD.newest(&[0; 64]), None);
    }

    #[test]
    fn only_a_newer_revision_that_came_since_this_boot_is_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::rooted(dir.path(), dir.path(), &dir.path().join("apt.conf"));
        let write = |path: &str, content: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        assert_eq!(evidence(&layout), Evidence::No);
        write("proc/cpuinfo", CPUINFO.as_bytes());
        write("sys/devices/system/cpu/cpu0/microcode/version", b"0x2006e05\n");
        write("sys/devices/system/cpu/cpu0/microcode/processor_flags", b"0x80\n");
        assert_eq!(evidence(&layout), Evidence::No);
        write("lib/firmware/intel-ucode/06-55-04", &intel(0x0200_6e05, 0x50654, 0x80, &[]));
        assert_eq!(evidence(&layout), Evidence::No);
        write("lib/firmware/intel-ucode/06-55-04", &intel(0x0200_7006, 0x50654, 0x80, &[]));
        let reasons = vec!["microcode 0x2007006 is installed, 0x2006e05 runs".to_owned()];
        assert_eq!(evidence(&layout), Evidence::Yes { reasons });
    }
}
