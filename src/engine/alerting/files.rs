//! The files that settings name beside their own: secrets, templates, certificate authorities.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use super::super::settings::{Fault, at};
use crate::{base::Secret, edge::secret};

/// Text by the path of its file.
pub(crate) type Texts = BTreeMap<PathBuf, Secret>;

/// Reads files and remembers what they said, so that a manager that has to go on with settings that were in force needs none
/// of them: a file that is gone for a moment must not end the supervision of all else.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Relative paths are relative to this folder.
    base: PathBuf,
    /// What an earlier manager has read, of settings that were in force.
    were: Option<Texts>,
    read: RefCell<Texts>,
}

impl Files {
    pub(crate) fn new(base: &Path) -> Self {
        Self { base: base.to_owned(), were: None, read: RefCell::default() }
    }

    /// Those that settings name that were in force.
    pub(crate) fn of_force(base: &Path, were: Texts) -> Self {
        Self { were: Some(were), ..Self::new(base) }
    }

    /// Whether what only the host knows is looked at.
    pub(super) const fn asks_host(&self) -> bool {
        self.were.is_none()
    }

    /// What was read.
    pub(crate) fn into_texts(self) -> Texts {
        self.read.into_inner()
    }

    /// Where a file is that is named so.
    pub(crate) fn place(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// The whole of a file that anybody may read.
    pub(crate) fn text(&self, path: &Path) -> Result<String, String> {
        self.take(path, |path| {
            fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        })
    }

    /// The first line of a file that nobody but its owner, root or us, may read.
    pub(super) fn secret(&self, path: &Path) -> Result<String, String> {
        self.take(path, |path| {
            let text = String::from_utf8(secret::read(path)?).map_err(|_| format!("{} is no text", path.display()))?;
            Ok(text.lines().next().unwrap_or_default().trim().to_owned())
        })
    }

    /// A secret of the keys that name a file and a variable, which are never given both.
    pub(super) fn either(
        &self,
        [of_file, of_variable]: [&'static str; 2],
        file: Option<PathBuf>,
        variable: Option<String>,
    ) -> Result<Option<Secret>, Fault> {
        let text = match (file, variable) {
            (Some(path), None) => self.secret(&path).map_err(at(of_file))?,
            (None, Some(name)) => {
                let unset = |_| at(of_variable)(format!("the variable {name} of {of_variable} is not set"));
                env::var(&name).map_err(unset)?
            }
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(at(of_variable)(format!("give one of {of_file} and {of_variable}"))),
        };
        Ok(Some(Secret::new(text)))
    }

    fn take(&self, path: &Path, read: impl FnOnce(&Path) -> Result<String, String>) -> Result<String, String> {
        let path = self.base.join(path);
        let text = match self.were.as_ref().and_then(|were| were.get(&path)) {
            Some(text) => text.clone(),
            None => Secret::new(read(&path)?),
        };
        self.read.borrow_mut().insert(path, text.clone());
        Ok(text.expose().to_owned())
    }
}
