//! A message as Slack shows it: blocks, with a text for notifications and for programs that show none.
use std::path::Path;

use serde_json::{Value, json};

use super::{Message, Status};
use crate::base::counted;

/// Slack's limit for one text in a block is 3000 characters; what we send is shorter.
const OUTPUT_CHARS_MAX: usize = 1500;
/// The same for links.
const RUNBOOKS_CHARS_MAX: usize = 2000;

impl Message {
    /// The JSON of an incoming webhook, and most of that of chat.postMessage.
    pub fn slack(&self) -> Value {
        let mut blocks =
            vec![section(&format!("{} *{}*  {}", self.sign(), mrkdwn(&self.state()), mrkdwn(&self.message)))];
        if !self.last_output.is_empty() {
            let text = if self.is_digest() { beginning(&self.last_output) } else { end(&self.last_output.join("\n")) };
            // A run of backticks would end the block.
            blocks.push(section(&format!("```{}```", text.replace("```", "`\u{200b}``"))));
        }
        let mut facts = vec![format!("node {}", self.node)];
        facts.extend(self.unit.as_ref().map(|unit| format!("unit {unit}")));
        facts.extend((self.restarts > 0).then(|| counted(self.restarts, "restart")));
        facts.extend(self.action.clone());
        facts.extend(self.since.as_ref().map(|since| format!("since {since}")));
        facts.extend(self.possible_duplicate.then(|| "this may be a duplicate".to_owned()));
        let facts =
            [mrkdwn(&facts.join(" · "))].into_iter().chain(self.slack_runbooks()).collect::<Vec<_>>().join(" · ");
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": facts }] }));
        json!({ "text": self.slack_text(), "blocks": blocks })
    }

    /// Links, as many as fit, and how many did not. Of several each is called by its page.
    fn slack_runbooks(&self) -> Vec<String> {
        let all: Vec<&str> = self.runbook.iter().flat_map(|all| all.lines()).collect();
        let is_alone = all.len() == 1;
        let name = |link: &str| Path::new(link).file_stem().map(|name| mrkdwn(&format!(" {}", name.to_string_lossy())));
        let links = all.into_iter().filter(|link| !link.contains(['<', '>', '|', ' ']));
        let mut links: Vec<String> = links
            .map(|link| format!("<{link}|runbook{}>", name(link).filter(|_| !is_alone).unwrap_or_default()))
            .collect();
        let mut chars = 0;
        let fit = links.iter().take_while(|link| {
            chars += link.chars().count() + 3;
            chars <= RUNBOOKS_CHARS_MAX
        });
        let (fit, count) = (fit.count(), links.len());
        links.truncate(fit);
        if fit < count {
            links.push(format!("and {}", counted(count - fit, "more runbook")));
        }
        links
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

/// What fits of lines whose first is the one that matters most, and how many did not.
fn beginning(lines: &[String]) -> String {
    let (mut text, mut chars, mut shown) = (String::new(), 0, 0);
    for line in lines {
        let line = mrkdwn(line);
        chars += line.chars().count() + 1;
        // The first is never left out for its length, which is bounded.
        if chars > OUTPUT_CHARS_MAX && shown > 0 {
            break;
        }
        text.push_str(&line);
        text.push('\n');
        shown += 1;
    }
    match lines.len() - shown {
        0 => drop(text.pop()),
        more => text.extend(["… and ", &more.to_string(), " more"]),
    }
    text
}

/// What fits of output, whose last lines matter most; a mark says that it does not begin there.
fn end(output: &str) -> String {
    let skipped = output.chars().count().saturating_sub(OUTPUT_CHARS_MAX);
    let mark = if skipped > 0 { "… " } else { "" };
    let kept: String = output.chars().skip(skipped).collect();
    format!("{mark}{}", mrkdwn(&kept))
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
        assert!(block.starts_with("```… a") && block.ends_with("the last words```") && block.len() < 3000);
        let context = slack["blocks"][2]["elements"][0]["text"].as_str().unwrap();
        assert!(context.contains("3 restarts") && context.contains("<https://wiki/unit_failed|runbook>"), "{context}");
    }

    #[test]
    fn of_a_crowd_each_runbook_is_a_link_with_the_name_of_its_page_as_many_as_slack_takes() {
        let of = |link: String| Message { runbook: Some(link), ..message("x") };
        let context = |crowd: &[Message]| {
            let slack = Message::digest(&crowd[0], crowd).slack();
            slack["blocks"][2]["elements"][0]["text"].as_str().unwrap().to_owned()
        };
        let two = ["disk_low", "unit_failed"].map(|page| of(format!("https://wiki/{page}.md")));
        let links = "<https://wiki/disk_low.md|runbook disk_low> · <https://wiki/unit_failed.md|runbook unit_failed>";
        assert!(context(&two).ends_with(links), "{}", context(&two));
        let many: Vec<Message> = (0..64).map(|nth| of(format!("https://wiki/{}/{nth}", "x".repeat(100)))).collect();
        let shown = context(&many);
        assert!(shown.chars().count() < 3000 && shown.ends_with(" more runbooks"), "{shown}");
    }

    #[test]
    fn of_a_crowd_the_worst_is_shown_and_the_number_of_those_that_are_not() {
        let crowd: Vec<Message> = (0..25)
            .map(|nth| Message {
                severity: "warning".to_owned(),
                ..message(&format!("unit-{nth:02} ended (killed by SIGKILL), it is restarted & well"))
            })
            .chain([message("payment-database ended (killed by SIGKILL), it is not restarted")])
            .collect();
        let slack = Message::digest(&crowd[0], &crowd).slack();
        let block = slack["blocks"][1]["text"]["text"].as_str().unwrap();
        let lines: Vec<&str> = block.trim_matches('`').lines().collect();
        assert!(lines[0].starts_with("[CRITICAL] payment-database ended"), "{block}");
        let shown = lines.len() - 1;
        assert!(shown > 10 && shown < 26 && block.chars().count() < 1600, "{block}");
        assert_eq!(lines[shown], format!("… and {} more", 26 - shown));
        let few = Message::digest(&crowd[0], &crowd[..3]).slack();
        assert!(!few.to_string().contains(" more"), "{few}");
    }
}
