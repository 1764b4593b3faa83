//! The body of a webhook as its receiver wants it: text with `{{ field }}` in it.
use std::fmt;

use super::Message;

/// Names of what can be filled in.
const FIELDS: [&str; 19] = [
    "id",
    "event",
    "severity",
    "status",
    "state",
    "unit",
    "node",
    "generation",
    "restarts",
    "result",
    "message",
    "action",
    "at",
    "since",
    "incident",
    "runbook",
    "dedup_key",
    "last_output",
    "possible_duplicate",
];

/// Those of them that JSON has without quotes: numbers, and what is true or false.
const BARE: [&str; 3] = ["generation", "restarts", "possible_duplicate"];

/// A text with places to be filled in. Where the whole is JSON, values are escaped as parts of its strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(&'static str),
}

/// Why a text is no template: where, what, and what may be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When a place does not end or names no field, or what begins as JSON is none.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let at = |offset: usize, said: String| {
            let before = &text[..offset];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            TemplateError { line, column, text: said }
        };
        let mut pieces = Vec::new();
        let mut offset = 0;
        while let Some(begin) = text[offset..].find("{{").map(|found| offset + found) {
            let inner = begin + 2;
            let Some(end) = text[inner..].find("}}").map(|found| inner + found) else {
                return Err(at(begin, "\"{{\" has no \"}}\"".to_owned()));
            };
            let name = text[inner..end].trim();
            // The "}}" of another one.
            if name.contains("{{") {
                return Err(at(begin, "\"{{\" has no \"}}\" before the next \"{{\"".to_owned()));
            }
            let Some(field) = FIELDS.into_iter().find(|field| *field == name) else {
                return Err(at(begin, format!("there is no field {name:?} (fields: {})", FIELDS.join(", "))));
            };
            pieces.extend([Piece::Text(text[offset..begin].to_owned()), Piece::Field(field)]);
            offset = end + 2;
        }
        pieces.push(Piece::Text(text[offset..].to_owned()));
        let json = text.trim_start().starts_with(['{', '[']) && !text.trim_start().starts_with("{{");
        let template = Self { pieces, json };
        if json {
            // Some may stand for themselves, everything else within a string: one try speaks for all.
            let tried = template.filled(|field| if BARE.contains(&field) { "1" } else { "text" }.to_owned());
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&tried) {
                let unquoted = template.unquoted().map(|field| format!("; put quotes around {{{{ {field} }}}}"));
                return Err(TemplateError {
                    line: error.line(),
                    column: error.column(),
                    text: format!("this is no JSON: {error}{}", unquoted.unwrap_or_default()),
                });
            }
        }
        Ok(template)
    }

    /// Whether the whole is JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// The body for a message.
    pub fn render(&self, message: &Message) -> String {
        self.filled(|field| {
            let value = message.field(field);
            if self.json { escaped(&value) } else { value }
        })
    }

    /// The first text that is not within a string of JSON.
    fn unquoted(&self) -> Option<&'static str> {
        let (mut is_within, mut is_escaped) = (false, false);
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Text(text) => {
                for c in text.chars() {
                    is_within ^= c == '"' && !is_escaped;
                    is_escaped = c == '\\' && is_within && !is_escaped;
                }
                None
            }
            Piece::Field(field) => (!is_within && !BARE.contains(field)).then_some(*field),
        })
    }

    fn filled(&self, value: impl Fn(&str) -> String) -> String {
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(field) => value(field),
        });
        texts.collect()
    }
}

/// As part of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::RouteName, base::Now};

    fn message() -> Message {
        let message = "web is failed: \"exit\"\n\\ 1".to_owned();
        Message {
            message,
            unit: Some("web".to_owned()),
            ..Message::test("vm1", &RouteName::new("ops").unwrap(), Now::default())
        }
    }

    #[test]
    fn values_stay_within_the_strings_of_json() {
        let template = Template::new(r#"{"summary": "{{node}}: {{ message }}", "of": ["{{unit}}", 3]}"#).unwrap();
        let body: serde_json::Value = serde_json::from_str(&template.render(&message())).unwrap();
        assert_eq!(body["summary"], "vm1: web is failed: \"exit\"\n\\ 1");
        assert_eq!(body["of"][0], "web");
    }

    #[test]
    fn other_text_is_filled_in_as_it_is() {
        let template = Template::new("{{ event }} on {{node}} {not a place}").unwrap();
        assert!(!template.is_json());
        assert_eq!(template.render(&message()), "test on vm1 {not a place}");
    }

    #[test]
    fn every_field_has_a_value_and_a_fault_has_a_place() {
        for field in FIELDS {
            Template::new(&format!("{{{{{field}}}}}")).unwrap().render(&message());
        }
        let place = |text: &str| {
            let error = Template::new(text).unwrap_err();
            (error.line, error.column, error.to_string())
        };
        assert_eq!(place("a\n  {{ nodes }}").0, 2);
        assert_eq!(place("a\n  {{ nodes }}").1, 3);
        assert!(place("é {{ node").2.starts_with("1:3: "), "{}", place("é {{ node").2);
        let unclosed = place("x {{ node: {{ unit }}").2;
        assert!(unclosed.starts_with("1:3: ") && unclosed.contains("has no \"}}\" before"), "{unclosed}");
        assert!(Template::new("{\"a\": {{restarts}}}").is_ok());
        let (line, _, said) = place("{\n\"a\": {{node}}\n}");
        assert!(line >= 2 && said.contains("no JSON"), "{said}");
        let said = place("{\"a\": \"{{ unit }} \\\" {{ node }}\", \"b\": {{ message }}}").2;
        assert!(said.ends_with("; put quotes around {{ message }}"), "{said}");
        assert!(!place("{\"a\": \"{{ unit }}\",}").2.contains("quotes"));
        assert!(Template::new("{\"a\": {{ possible_duplicate }}}").is_ok());
    }
}
