//! `${name}` in a text: what is filled in when the text is used. `$${` stands for `${` itself.

/// The name of 32 random hex digits, others each time that a probe asks.
pub const RANDOM: &str = "random";

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'t> {
    /// As it stands.
    Text(&'t str),
    /// The value of this name.
    Value(&'t str),
}

/// Why a text cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// No `}` follows.
    #[error("\"${{\" is not closed")]
    Open,
    /// Not letters, digits and `_`.
    #[error("${{{0}}} is no name of a value: letters, digits and _ are")]
    Name(String),
}

/// The pieces of a text, in order.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, PlaceholderError> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = after;
            continue;
        }
        let (name, behind) = after.split_once('}').ok_or(PlaceholderError::Open)?;
        if !is_name(name) {
            return Err(PlaceholderError::Name(name.to_owned()));
        }
        pieces.extend([Piece::Text(before), Piece::Value(name)]);
        rest = behind;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Whether it can be the name of a value.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::{Piece::*, *};

    fn joined(text: &str) -> String {
        pieces(text).unwrap().into_iter().map(|(Text(text) | Value(text))| text).collect()
    }

    #[test]
    fn a_text_is_taken_apart_at_its_names() {
        assert_eq!(pieces("/a/${id}/b${x_1}").unwrap(), [Text("/a/"), Value("id"), Text("/b"), Value("x_1"), Text("")]);
        assert_eq!(pieces("").unwrap(), [Text("")]);
        assert_eq!(pieces("$5 {a} }").unwrap(), [Text("$5 {a} }")]);
    }

    #[test]
    fn two_dollars_stand_for_one() {
        assert_eq!(joined("a$${id}$"), "a${id}$");
        assert_eq!(joined("$$${id}"), "$${id}");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(pieces("${id"), Err(PlaceholderError::Open));
        assert_eq!(pieces("${a b}"), Err(PlaceholderError::Name("a b".to_owned())));
        assert_eq!(pieces("${}"), Err(PlaceholderError::Name(String::new())));
    }
}
