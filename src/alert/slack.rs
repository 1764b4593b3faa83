//! A message as Slack shows it: blocks, with a text for notifications and for programs that show none.
use serde_json::{Value, json};

use super::{Message, Status};

/// Slack's limit for one text in a block is 3000 characters; what we send is shorter.
const OUTPUT_CHARS_MAX: usize = 1500;

impl Message {
    /// The JSON of an incoming webhook, and most of that of chat.postMessage.
    pub fn slack(&self) -> Value {
        let mut blocks =
            vec![section(&format!("{} *{}*  {}", self.sign(), mrkdwn(&self.state()), mrkdwn(&self.message)))];
        if !self.last_output.is_empty() {
            let output = self.last_output.join("\n");
            let skipped = output.chars().count().saturating_sub(OUTPUT_CHARS_MAX);
            let output: String = output.chars().skip(skipped).collect();
            // A run of backticks would end the block.
            blocks.push(section(&format!("```{}```", mrkdwn(&output).replace("```", "`\u{200b}``"))));
        }
        let mut facts = vec![format!("node {}", self.node)];
        facts.extend(self.unit.as_ref().map(|unit| format!("unit {unit}")));
        facts.extend((self.restarts > 0).then(|| format!("{} restarts", self.restarts)));
        facts.extend(self.action.clone());
        facts.extend(self.since.as_ref().map(|since| format!("since {since}")));
        facts.extend(self.possible_duplicate.then(|| "this may be a duplicate".to_owned()));
        let mut facts = mrkdwn(&facts.join(" · "));
        if let Some(link) = self.runbook.as_ref().filter(|link| !link.contains(['<', '>', '|', ' '])) {
            facts = format!("{facts} · <{link}|runbook>");
        }
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": facts }] }));
        json!({ "text": self.slack_text(), "blocks": blocks })
    }

    fn sign(&self) -> &'static str {
        match (self.status, self.severity.as_str()) {
            (Status::Resolved, _) => ":white_check_mark:",
            (Status::Firing, "critical") => ":red_circle:",
            (Status::Firing, "warning") => ":large_yellow_circle:",
            (Status::Firing, _) => ":large_blue_circle:",
        }
    }

    /// One line, for notifications.
    fn slack_text(&self) -> String {
        let duplicate = if self.possible_duplicate { " (this may be a duplicate)" } else { "" };
        mrkdwn(&format!("[{}] {}: {}{duplicate}", self.state(), self.node, self.message))
    }
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

/// Slack's mrkdwn: & < > are escaped, so no link, mention or `<!channel>` can be made, and nobody is pinged.
fn mrkdwn(text: &str) -> String {
    let mut escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for ping in ["channel", "here", "everyone"] {
        escaped = escaped.replace(&format!("@{ping}"), &format!("@\u{200b}{ping}"));
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::RouteName, base::Now};

    fn message(text: &str) -> Message {
        let base = Message::test("vm1", &RouteName::new("ops").unwrap(), Now::default());
        Message { message: text.to_owned(), severity: "critical".to_owned(), ..base }
    }

    #[test]
    fn no_text_of_a_service_can_make_a_mention_a_link_or_end_its_block() {
        let hostile = "<!channel> <@U1> <https://evil|x> @here & ``` </x>";
        let slack = Message { last_output: vec![hostile.to_owned()], ..message(hostile) }.slack();
        let all = slack.to_string();
        for bad in ["<!", "<@", "<https", "@here"] {
            assert!(!all.contains(bad), "{bad}: {all}");
        }
        let block = slack["blocks"][1]["text"]["text"].as_str().unwrap();
        assert_eq!(block.matches("```").count(), 2, "{block}");
    }

    #[test]
    fn the_end_of_long_output_is_shown_and_a_runbook_is_a_link() {
        let output = vec!["a".repeat(5000), "the last words".to_owned()];
        let runbook = Some("https://wiki/unit_failed".to_owned());
        let slack = Message { last_output: output, runbook, restarts: 3, ..message("web is failed") }.slack();
        let block = slack["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(block.ends_with("the last words```") && block.len() < 3000);
        let context = slack["blocks"][2]["elements"][0]["text"].as_str().unwrap();
        assert!(context.contains("3 restarts") && context.contains("<https://wiki/unit_failed|runbook>"), "{context}");
    }
}
