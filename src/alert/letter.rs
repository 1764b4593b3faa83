use std::fmt::Write as _;

use super::Message;

/// Most characters of a subject; longer ones are cut by those who show them.
const SUBJECT_CHARS_MAX: usize = 200;

/// A message as mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// `Message-ID`, the same for each try (RFC 5322, 3.6.4).
    pub id: String,
    /// What the incident's letters are gathered under: its first one's id, in `References`.
    pub thread: String,
    /// One line.
    pub subject: String,
    /// For programs that show text.
    pub text: String,
    /// The same for those that show HTML.
    pub html: String,
}

impl Message {
    /// As mail.
    pub fn letter(&self) -> Letter {
        let subject: String =
            format!("[{}] {}: {}", self.state(), self.node, self.message).chars().take(SUBJECT_CHARS_MAX).collect();
        let (mut text, mut html) = (format!("{}\n\n", self.message), String::new());
        // A string takes all.
        let _written = write!(html, "<p><b>{}</b></p>\n<table>\n", escaped(&self.message));
        for (name, value) in self.facts() {
            let _written = writeln!(text, "{:<10} {value}", format!("{name}:"));
            let _written = writeln!(html, "<tr><td>{name}</td><td>{}</td></tr>", escaped(&value));
        }
        html.push_str("</table>\n");
        if !self.last_output.is_empty() {
            let output = self.last_output.join("\n");
            let _written = write!(text, "\nits last output:\n{output}\n");
            let _written = writeln!(html, "<pre>{}</pre>", escaped(&output));
        }
        Letter {
            id: format!("<{}@{}>", atom(&self.id), atom(&self.node)),
            thread: format!("<{}@{}>", atom(&self.incident), atom(&self.node)),
            subject,
            text,
            html,
        }
    }

    /// What is known, by name, for people.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let known = [
            ("state", Some(self.state())),
            ("event", Some(self.event.clone())),
            ("node", Some(self.node.clone())),
            ("unit", self.unit.clone()),
            ("result", self.result.clone()),
            ("probe", self.probe.clone()),
            ("done", self.action.clone()),
            ("restarts", (self.restarts > 0).then(|| self.restarts.to_string())),
            ("since", self.since.clone()),
            ("at", Some(self.at.clone())),
        ];
        let runbooks = self.runbook.iter().flat_map(|all| all.lines()).map(|one| ("runbook", Some(one.to_owned())));
        let last = [
            ("incident", Some(self.incident.clone())),
            ("note", self.possible_duplicate.then(|| "this may be a duplicate".to_owned())),
        ];
        let all = known.into_iter().chain(runbooks).chain(last);
        all.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// `text` as a dot-atom (RFC 5322, 3.2.3); whatever may not stand there is written in hex.
fn atom(text: &str) -> String {
    let mut atom = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_/+".contains(&byte) {
            atom.push(char::from(byte));
        } else {
            // A string takes all.
            let _written = write!(atom, "={byte:02x}");
        }
    }
    atom
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::RouteName, base::Now};

    fn message() -> Message {
        let name = RouteName::new("ops").unwrap();
        let test = Message::test("vm1", &name, Now::default());
        Message {
            id: "vm1/web@1/2/0/unit_failed/ops".to_owned(),
            incident: "web@1/2/0".to_owned(),
            message: "web@1 is failed: <exit> \"1\"".to_owned(),
            unit: Some("web@1".to_owned()),
            ..test
        }
    }

    #[test]
    fn a_letter_bears_the_same_id_at_each_try_and_names_its_incident() {
        let first = message().letter();
        let again = Message { possible_duplicate: true, ..message() }.letter();
        assert_eq!(first.id, "<vm1/web=401/2/0/unit_failed/ops@vm1>");
        assert_eq!((&first.id, &first.thread), (&again.id, &again.thread));
        assert!(again.text.contains("this may be a duplicate") && !first.text.contains("duplicate"));
    }

    #[test]
    fn what_services_say_is_text_and_no_markup() {
        let letter = message().letter();
        assert!(
            letter.html.contains("&lt;exit&gt; &quot;1&quot;") && !letter.html.contains("<exit>"),
            "{}",
            letter.html
        );
        assert_eq!(letter.subject, "[INFO] vm1: web@1 is failed: <exit> \"1\"");
        assert!(letter.text.contains("unit:      web@1\n"), "{}", letter.text);
    }
}
