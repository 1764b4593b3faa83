//! Server-sent events: bytes in, items out (HTML standard, 9.2.6).

/// Longest item; a longer one is dropped whole.
const ITEM_BYTES_MAX: usize = 1 << 20;

/// One item of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    /// What to resume after.
    pub(crate) id: Option<u64>,
    /// Its kind.
    pub(crate) event: String,
    /// Its text.
    pub(crate) data: String,
}

/// Puts items together from pieces that end anywhere.
#[derive(Debug, Default)]
pub(crate) struct Items {
    line: Vec<u8>,
    item: Item,
    too_long: bool,
}

impl Items {
    /// Reads `piece`, and gives each item that it completes to `found`.
    pub(crate) fn read(&mut self, piece: &[u8], mut found: impl FnMut(Item)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let kept = part.len().min(ITEM_BYTES_MAX - self.line.len());
            self.too_long |= kept < part.len();
            self.line.extend_from_slice(&part[..kept]);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                match String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']) {
                    "" => self.end_item(&mut found),
                    text => self.read_field(text),
                }
            }
        }
    }

    /// An item without data is none: servers send such to keep a connection alive.
    fn end_item(&mut self, found: &mut impl FnMut(Item)) {
        let mut item = std::mem::take(&mut self.item);
        let too_long = std::mem::take(&mut self.too_long);
        if item.data.pop().is_some() && !too_long {
            found(item);
        }
    }

    fn read_field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.item.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.item.event),
            "data" if self.item.data.len() + value.len() < ITEM_BYTES_MAX => {
                self.item.data.push_str(value);
                self.item.data.push('\n');
            }
            "data" => self.too_long = true,
            // Comments, and fields that we do not know.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(pieces: &[&[u8]]) -> Vec<Item> {
        let mut reader = Items::default();
        let mut all = Vec::new();
        for piece in pieces {
            reader.read(piece, |item| all.push(item));
        }
        all
    }

    #[test]
    fn items_come_out_wherever_the_pieces_end() {
        let stream =
            b": hello\n\nid: 7\r\nevent:run_ended\ndata: {\"a\":\ndata: 1}\n\nretry: 3\n\ndata: x\n\ndata: unfinished";
        let expected = vec![
            Item { id: Some(7), event: "run_ended".into(), data: "{\"a\":\n1}".into() },
            Item { id: None, event: String::new(), data: "x".into() },
        ];
        assert_eq!(items(&[stream]), expected);
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(items(&bytewise), expected);
    }

    #[test]
    fn an_item_that_is_too_long_is_dropped_and_the_next_is_read() {
        let after = b"\n\ndata: next\n\n";
        let of_length = |length: usize| [&b"data: "[..], &vec![b'x'; length - 7], after].concat();
        assert_eq!(items(&[&of_length(ITEM_BYTES_MAX)]).len(), 2);
        assert_eq!(items(&[&of_length(ITEM_BYTES_MAX + 1)]).len(), 1);
        // Each line counts two bytes: itself and its line end.
        let of_lines = |count: usize| [b"data: y\n".repeat(count), after[1..].to_vec()].concat();
        assert_eq!(items(&[&of_lines(ITEM_BYTES_MAX / 2)]).len(), 2);
        assert_eq!(items(&[&of_lines(ITEM_BYTES_MAX / 2 + 1)]).len(), 1);
    }
}
