use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Memory that a pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A regular expression that lines of output are searched for, in time linear to their length.
#[derive(Clone)]
pub struct LinePattern(Regex);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("cannot read this pattern")]
pub struct LinePatternError(#[source] regex::Error);

impl LinePattern {
    /// Reads a regular expression.
    pub fn new(text: &str) -> Result<Self, LinePatternError> {
        RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map(Self).map_err(LinePatternError)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it stands in the line.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.0.is_match(line)
    }
}

impl PartialEq for LinePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for LinePattern {}

impl fmt::Debug for LinePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LinePattern").field(&self.as_str()).finish()
    }
}
