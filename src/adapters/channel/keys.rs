//! Signing keys: Ed25519, in PKCS#8 PEM files as `openssl genpkey -algorithm ed25519` makes them.

use std::{
    error::Error,
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::Ed25519KeyPair;
use tough::{async_trait, key_source::KeySource, schema::key::Key, sign::Sign};

/// What a PEM file with such a key is tagged with.
const TAG: &str = "PRIVATE KEY";

/// A file with a key. It is read only when it is used.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {said}")]
pub struct KeyError {
    path: PathBuf,
    said: String,
}

impl KeyFile {
    /// The key in this file.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes a new key, which only its owner can read.
    ///
    /// # Errors
    /// When there is a file already, or it cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::at(path);
        let pair = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1());
        let pair = pair.map_err(|_| key.error("no key could be made"))?;
        let text = pem::encode(&pem::Pem::new(TAG, pair.as_ref()));
        let write = || -> io::Result<()> {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| key.error(error.to_string()))?;
        Ok(key)
    }

    /// The public part, as it stands in a root.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn public(&self) -> Result<Key, KeyError> {
        Ok(self.pair()?.tuf_key())
    }

    fn pair(&self) -> Result<Ed25519KeyPair, KeyError> {
        let about = fs::metadata(&self.0).map_err(|error| self.error(error.to_string()))?;
        let mode = about.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let said = format!("others can read it (mode {mode:04o}): chmod 600 it");
            return Err(self.error(said));
        }
        let text = fs::read(&self.0).map_err(|error| self.error(error.to_string()))?;
        let parsed = pem::parse(text).map_err(|error| self.error(error.to_string()))?;
        if parsed.tag() != TAG {
            return Err(self.error(format!("it has a {}, not a {TAG}", parsed.tag())));
        }
        Ed25519KeyPair::from_pkcs8(parsed.contents())
            .map_err(|_| self.error("it is no Ed25519 key in PKCS#8"))
    }

    fn error(&self, said: impl Into<String>) -> KeyError {
        KeyError { path: self.0.clone(), said: said.into() }
    }
}

#[async_trait]
impl KeySource for KeyFile {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, Box<dyn Error + Send + Sync>> {
        Ok(Box::new(self.pair()?))
    }

    async fn write(&self, _: &str, _: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err(Box::new(self.error("keys are not written by those who use them")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_owners_alone_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("online.pem");
        let key = KeyFile::create(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        let public = key.public().unwrap();
        let again = KeyFile::create(&path).unwrap_err().to_string();
        assert!(again.contains("File exists"), "{again}");
        assert_eq!(KeyFile::at(&path).public().unwrap(), public);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open = key.public().unwrap_err().to_string();
        assert!(open.ends_with("others can read it (mode 0644): chmod 600 it"), "{open}");
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let said = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            KeyFile::at(&path).public().unwrap_err().to_string()
        };
        assert!(said("hello").contains("key.pem: "));
        let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", b"x".to_vec()));
        assert!(said(&certificate).ends_with("it has a CERTIFICATE, not a PRIVATE KEY"));
        let other = pem::encode(&pem::Pem::new(TAG, b"x".to_vec()));
        assert!(said(&other).ends_with("it is no Ed25519 key in PKCS#8"));
    }
}
