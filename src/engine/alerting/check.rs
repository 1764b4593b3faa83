//! One table of the settings under check: everything that is wrong with it is gathered.

use std::path::PathBuf;

use super::{super::settings::Fault, files::Files};
use crate::base::Secret;

#[derive(Debug)]
pub(super) struct Check<'f> {
    pub(super) files: &'f Files,
    /// Whether everything in it could be read: otherwise what it lacks may be what is broken, and that is told already.
    is_whole: bool,
    faults: Vec<Fault>,
}

impl<'f> Check<'f> {
    pub(super) const fn new(files: &'f Files, is_whole: bool) -> Self {
        Self { files, is_whole, faults: Vec::new() }
    }

    /// Something that a key says.
    pub(super) fn fault(&mut self, key: &'static str, message: impl Into<String>) {
        self.faults.push(Fault::from(message.into()).within(key));
    }

    /// Something that the host has not. What was in force is not asked for it: a program that is gone for a moment must not end
    /// the supervision of all else.
    pub(super) fn host_lacks(&mut self, fault: Fault) {
        if self.files.asks_host() {
            self.faults.push(fault);
        }
    }

    /// Something that is not there.
    pub(super) fn lacks<T>(&mut self, message: &str) -> Option<T> {
        if self.is_whole {
            self.faults.push(message.into());
        }
        None
    }

    /// Something that is not there, and that this key needs.
    pub(super) fn lacks_beside<T>(&mut self, key: &'static str, message: &str) -> Option<T> {
        if self.is_whole {
            self.fault(key, message);
        }
        None
    }

    pub(super) fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// A secret of the keys that name a file and a variable, which are never given both.
    pub(super) fn either(
        &mut self,
        keys: [&'static str; 2],
        file: Option<PathBuf>,
        variable: Option<String>,
    ) -> Option<Secret> {
        let secret = self.files.either(keys, file, variable);
        self.take(secret).flatten()
    }

    /// All that is wrong, whose it is before each.
    pub(super) fn into_faults(self, whose: &str) -> Vec<Fault> {
        self.faults.into_iter().map(|fault| fault.of(whose)).collect()
    }
}
