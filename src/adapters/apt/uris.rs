//! What `apt-get --print-uris download` names: one file of an archive a line.

use super::{AptError, Layout, apt_get, sources};

/// One file apt would download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// Where the file is.
    pub uri: String,
    /// Package name, without architecture.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian architecture.
    pub arch: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lower-case hex, if the source has one.
    pub sha256: Option<String>,
}

/// What apt would download for these `name:arch=version`, by the private lists.
pub async fn look_up(
    layout: &Layout,
    exact: impl Iterator<Item = String>,
) -> Result<Vec<Uri>, AptError> {
    let print = apt_get::with_our_lists(layout, "apt-get")
        .args(["-qq", "-o", "Acquire::ForceHash=SHA256", "--print-uris", "download"])
        .args(exact);
    let done = print.finish().await?;
    if done.status.success() {
        return parse(&done.stdout);
    }
    Err(AptError::Said { doing: "looking up the digests", said: sources::complaint(done.said()) })
}

/// Reads the lines `'URI' NAME_VERSION_ARCH.deb SIZE HASH:…`.
pub fn parse(text: &str) -> Result<Vec<Uri>, AptError> {
    text.lines()
        .filter(|line| line.starts_with('\''))
        .map(|line| {
            uri(line).ok_or_else(|| AptError::Output { program: "apt-get", line: line.to_owned() })
        })
        .collect()
}

fn uri(line: &str) -> Option<Uri> {
    let mut words = line.rsplit(' ');
    let (hash, size, file) = (words.next()?, words.next()?, words.next()?);
    let uri = words.next()?.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let sha256 = hash.strip_prefix("SHA256:").filter(|hash| {
        hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    Some(Uri {
        uri: uri.to_owned(),
        name: name.to_owned(),
        version: unquote(version)?,
        arch: arch.to_owned(),
        size: size.parse().ok()?,
        sha256: sha256.map(str::to_owned),
    })
}

/// apt writes `:` (and `_`) in file names as `%3a` (`%5f`).
fn unquote(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        plain.push(char::from(code));
        plain.push_str(part.get(2..)?);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "ea7dc84dd405278add0c54bca1fb6926a83fac5f9ac3e8ec1f08a75bc2908d64";

    #[test]
    fn an_epoch_is_read_back_from_the_file_name() {
        let line =
            format!("'file:/r/./beta_1.1_amd64.deb' beta_1%3a1.1_amd64.deb 812 SHA256:{SHA}");
        let found = parse(&line).unwrap().remove(0);
        assert_eq!((found.name.as_str(), found.version.as_str()), ("beta", "1:1.1"));
        assert_eq!((found.arch.as_str(), found.size), ("amd64", 812));
        assert_eq!(found.uri, "file:/r/./beta_1.1_amd64.deb");
        assert_eq!(found.sha256.as_deref(), Some(SHA));
    }

    #[test]
    fn another_hash_is_no_sha256() {
        for hash in ["MD5Sum:7631bcdcfce71246e2673ed3add16247", "SHA256:short", ""] {
            let found = parse(&format!("'http://x/a.deb' a_1_all.deb 5 {hash}")).unwrap();
            assert_eq!(found[0].sha256, None, "{hash}");
        }
    }

    #[test]
    fn what_is_not_a_file_is_passed_over_and_what_cannot_be_read_is_an_error() {
        assert_eq!(parse("Reading package lists...\n").unwrap(), []);
        for line in ["'x' a_1.deb 5 h", "'x' a_1_all.deb five h", "'x' a_1%3_all.deb 5 h", "'x'"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
