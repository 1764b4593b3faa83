use std::{error::Error, fmt};

/// Shows an error and all its causes on one line, joined by ": ", but for causes that the error before them has told.
///
/// The one who gives up on an error prints it, once, through this.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !tells(&told, &text) {
                write!(f, ": {text}")?;
                told = text;
            }
            next = cause.source();
        }
        Ok(())
    }
}

/// Whether these words stand in what was told, whole.
fn tells(told: &str, words: &str) -> bool {
    let is_inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let stands_whole = |at: usize| {
        let (before, rest) = told.split_at(at);
        !is_inside(before.chars().next_back())
            && !is_inside(rest.get(words.len()..).and_then(|rest| rest.chars().next()))
    };
    words.is_empty() || told.match_indices(words).any(|(at, _)| stands_whole(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Step(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn what_an_error_says_of_its_cause_is_said_once() {
        let chain = |texts: &[&'static str]| {
            let error = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Step(text, cause)))).unwrap();
            Chain(&*error).to_string()
        };
        assert_eq!(chain(&["cannot read x", "no such file"]), "cannot read x: no such file");
        assert_eq!(chain(&["later (451): greylisted", "greylisted"]), "later (451): greylisted");
        assert_eq!(chain(&["a: b: c", "b: c", "c", "d"]), "a: b: c: d");
        assert_eq!(chain(&["a (b) failed", "b", "", "d"]), "a (b) failed: d");
    }
}
