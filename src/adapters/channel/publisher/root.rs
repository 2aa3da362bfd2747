//! A channel's root: which keys sign what, and how that is changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tough::schema::{KeyHolder, RoleType, Root, Signed};

use super::{PublishError, Publisher, Result, SPEC, metadata, role, sign, stamp, write};
use crate::{adapters::channel::keys::KeyFile, core::plan::hex, observe::logging::chain};

/// Whose keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The root's own.
    Root,
    /// The one that signs releases and listings.
    Release,
    /// The one that signs what is the newest.
    Online,
}

impl Whose {
    /// The roles that these keys sign for.
    fn roles(self) -> &'static [RoleType] {
        match self {
            Self::Root => &[RoleType::Root],
            Self::Release => &[RoleType::Targets],
            Self::Online => &[RoleType::Snapshot, RoleType::Timestamp],
        }
    }
}

/// Where the keys of a folder are.
pub(super) struct Keys(PathBuf);

/// What a key's file is called before the root that names it is written.
const NEW: &str = "new";

impl Keys {
    pub fn of(folder: &Path) -> Self {
        Self(folder.join("keys"))
    }

    pub fn root(&self, number: usize) -> PathBuf {
        self.0.join(format!("root-{number}.pem"))
    }

    pub fn release(&self) -> PathBuf {
        self.0.join("release.pem")
    }

    pub fn online(&self) -> PathBuf {
        self.0.join("online.pem")
    }

    /// The files of some keys; of the root's, those that are here.
    fn files(&self, whose: Whose, roots: usize) -> Vec<PathBuf> {
        match whose {
            Whose::Root => (1..=roots).map(|number| self.root(number)).collect(),
            Whose::Release => vec![self.release()],
            Whose::Online => vec![self.online()],
        }
    }

    /// Makes new keys, beside those that sign by now.
    fn renew(&self, whose: Whose, roots: usize) -> Result<Vec<KeyFile>> {
        let made = |path: PathBuf| {
            let path = path.with_extension(NEW);
            // Left by somebody who was interrupted: nobody knows it yet.
            if path.exists() {
                fs::remove_file(&path)
                    .map_err(|source| PublishError::File { path: path.clone(), source })?;
            }
            Ok(KeyFile::create(&path)?)
        };
        self.files(whose, roots).into_iter().map(made).collect()
    }

    /// Puts new keys into the place of the old ones, once a root names them.
    pub fn adopt(&self, root: &Root) -> Result<()> {
        for whose in [Whose::Root, Whose::Release, Whose::Online] {
            for path in self.files(whose, count(root, RoleType::Root)) {
                let new = path.with_extension(NEW);
                if new.exists() && is_named(root, whose, &KeyFile::at(&new))? {
                    fs::rename(&new, &path)
                        .map_err(|source| PublishError::File { path: new, source })?;
                }
            }
        }
        Ok(())
    }
}

/// How many keys a role has.
fn count(root: &Root, role: RoleType) -> usize {
    root.roles.get(&role).map_or(0, |keys| keys.keyids.len())
}

fn is_named(root: &Root, whose: Whose, file: &KeyFile) -> Result<bool> {
    let (id, _) = public(file)?;
    let names = |role: &RoleType| {
        root.roles.get(role).is_some_and(|keys| keys.keyids.iter().any(|known| hex(known) == id))
    };
    Ok(whose.roles().iter().all(names))
}

/// A key's id and what stands in a root.
fn public(file: &KeyFile) -> Result<(String, Value)> {
    let wrong = |said: String| PublishError::Sign { what: "root", said };
    let public = file.public()?;
    let id = public.key_id().map_err(|error| wrong(chain(&error)))?;
    let value = serde_json::to_value(public).map_err(|error| wrong(chain(&error)))?;
    Ok((hex(&id), value))
}

/// The first root of a folder whose keys are made.
pub(super) fn first(
    roots: &[KeyFile],
    threshold: u64,
    keys: &Keys,
    expires: Timestamp,
) -> Result<Root> {
    let mut root = json!({
        "_type": "root", "spec_version": SPEC, "version": 1, "expires": stamp(expires),
        "consistent_snapshot": true, "keys": Map::new(), "roles": Map::new(),
    });
    name(&mut root, Whose::Root, roots, threshold)?;
    name(&mut root, Whose::Release, &[KeyFile::at(&keys.release())], 1)?;
    name(&mut root, Whose::Online, &[KeyFile::at(&keys.online())], 1)?;
    role(root)
}

/// Has these keys sign for those roles, and no others.
fn name(root: &mut Value, whose: Whose, files: &[KeyFile], threshold: u64) -> Result<()> {
    let mut ids = Vec::new();
    for file in files {
        let (id, key) = public(file)?;
        root["keys"][&id] = key;
        ids.push(id);
    }
    for role in whose.roles() {
        root["roles"][role.to_string()] = json!({ "keyids": ids, "threshold": threshold });
    }
    Ok(())
}

impl Publisher {
    /// Signs another root, good for as long as the first one was; with new keys for `replace`. `more`:
    /// files with root keys that are not in the folder. What was signed by a key that is replaced is
    /// signed anew.
    ///
    /// # Errors
    /// When there are fewer root keys than must sign, or something cannot be written.
    pub async fn renew_root(
        &mut self,
        replace: &[Whose],
        more: &[PathBuf],
        now: Timestamp,
    ) -> Result<u64> {
        let keys = Keys::of(&self.folder);
        let old = self.root.signed.clone();
        let roots = count(&old, RoleType::Root);
        let here = keys.files(Whose::Root, roots).into_iter().filter(|path| path.exists());
        let signers: Vec<KeyFile> =
            here.chain(more.iter().cloned()).map(|path| KeyFile::at(&path)).collect();
        let version = old.version.get() + 1;
        let mut next = serde_json::to_value(&old).unwrap_or_default();
        next["_type"] = json!("root");
        next["version"] = json!(version);
        next["expires"] = json!(stamp(now + self.lifetimes.root));
        let mut new_signers = signers.clone();
        for whose in replace {
            let made = keys.renew(*whose, roots)?;
            let threshold = match whose {
                Whose::Root => threshold(&old),
                Whose::Release | Whose::Online => 1,
            };
            name(&mut next, *whose, &made, threshold)?;
            if *whose == Whose::Root {
                new_signers = made;
            }
        }
        forget_unused(&mut next);
        let next: Root = role(next)?;
        let by_old = sign("root", next.clone(), &KeyHolder::Root(old.clone()), &signers).await?;
        let by_new =
            sign("root", next.clone(), &KeyHolder::Root(next.clone()), &new_signers).await?;
        enough(&old, by_old.signed())?;
        enough(&next, by_new.signed())?;
        let old_signatures = by_old.signed().signatures.clone();
        let both = by_new
            .add_old_signatures(old_signatures)
            .map_err(|error| PublishError::Sign { what: "root", said: chain(&error) })?;
        write(&metadata(&self.folder, &format!("{version}.root.json")), both.buffer())?;
        self.root = both.signed().clone();
        keys.adopt(&self.root.signed)?;
        if replace.contains(&Whose::Release) {
            self.commit(now).await?;
        } else {
            self.refresh(now).await?;
        }
        Ok(version)
    }
}

fn threshold(root: &Root) -> u64 {
    root.roles.get(&RoleType::Root).map_or(1, |keys| keys.threshold.get())
}

/// Whether as many of a root's own keys have signed as must.
fn enough(root: &Root, signed: &Signed<Root>) -> Result<()> {
    let (have, need) = (signed.signatures.len(), threshold(root));
    if have as u64 >= need {
        return Ok(());
    }
    let said = format!("{have} root keys are here, {need} must sign: name the others' files");
    Err(PublishError::Refused(said))
}

/// Keys that sign for nothing are not carried on.
fn forget_unused(root: &mut Value) {
    let mut used = Vec::new();
    for role in root["roles"].as_object().into_iter().flatten() {
        used.extend(role.1["keyids"].as_array().into_iter().flatten().cloned());
    }
    if let Some(keys) = root["keys"].as_object_mut() {
        keys.retain(|id, _| used.iter().any(|used| used == id));
    }
}
