use std::{fmt, str::FromStr, sync::Arc};

/// A unit's name, correct once made: systemd's alphabet `[A-Za-z0-9:_.\-@\\]`, at most 255 bytes.
///
/// A service is named without its suffix: `web.service` and `web` are the same name, shown as `web`. Other kinds keep
/// theirs (`web.socket`). Cheap to clone. Source: systemd.unit(5).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName(Arc<str>);

/// Why a text is no unit name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("a unit name cannot be empty")]
    Empty,
    /// Longer than 255 bytes.
    #[error("a unit name has at most 255 bytes, this one has {0}")]
    Long(usize),
    /// A character outside the alphabet.
    #[error("a unit name cannot contain {0:?} (allowed: letters, digits, : _ . - @ \\)")]
    Character(char),
    /// A name that would be a path or hidden file.
    #[error("a unit name cannot begin with '.' or '-'")]
    Start,
}

impl UnitName {
    /// Checks `text` and drops a final `.service`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let stem = text.strip_suffix(".service").unwrap_or(text);
        if stem.is_empty() {
            return Err(NameError::Empty);
        }
        if stem.len() > 255 {
            return Err(NameError::Long(stem.len()));
        }
        if let Some(c) = stem.chars().find(|c| !c.is_ascii_alphanumeric() && !":_.-@\\".contains(*c)) {
            return Err(NameError::Character(c));
        }
        if stem.starts_with(['.', '-']) {
            return Err(NameError::Start);
        }
        Ok(Self(stem.into()))
    }

    /// The name as people see it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with its kind, as systemd writes it: `web.service`.
    pub fn full(&self) -> String {
        if self.is_target() { self.0.to_string() } else { format!("{}.service", self.0) }
    }

    /// Whether it is a target's: a unit that only groups others.
    pub fn is_target(&self) -> bool {
        self.0.ends_with(".target")
    }

    /// Whether it is a template's (`web@`), from which instances (`web@a`) are made.
    pub fn is_template(&self) -> bool {
        self.0.ends_with('@')
    }

    /// The template that an instance is made from.
    pub fn template(&self) -> Option<Self> {
        let (prefix, instance) = self.0.split_once('@')?;
        (!instance.is_empty()).then(|| Self(format!("{prefix}@").into()))
    }

    /// The name of an instance of this template; `None` where that is no name.
    pub fn with_instance(&self, instance: &str) -> Option<Self> {
        if self.is_template() && !instance.is_empty() { Self::new(&format!("{}{instance}", self.0)).ok() } else { None }
    }
}

impl FromStr for UnitName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_the_same_with_and_without_its_suffix() {
        assert_eq!(UnitName::new("web.service"), UnitName::new("web"));
        assert_eq!(UnitName::new("web.socket").map(|n| n.to_string()), Ok("web.socket".into()));
    }

    #[test]
    fn what_could_be_a_path_is_refused() {
        assert_eq!(UnitName::new("../x"), Err(NameError::Character('/')));
        assert_eq!(UnitName::new(".x"), Err(NameError::Start));
        assert_eq!(UnitName::new(".service"), Err(NameError::Empty));
        assert_eq!(UnitName::new(&"a".repeat(256)), Err(NameError::Long(256)));
    }
}
