use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    value::items,
    walk::{Value, Walk},
};
use crate::unit::{
    draft::Draft,
    exec_draft::InputDraft,
    exec_line,
    spec::{Input, Output, Terminal, Write},
};

/// The most that a unit can hand to standard input, in bytes: systemd's bound.
const DATA_BYTES_MAX: usize = 64 << 20;

/// As systemd reads it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a word stands for is made when it is met: constants cannot hold what is on the heap.
type Word<T> = (&'static str, fn() -> T);

const INPUTS: &[Word<InputDraft>] = &[
    ("null", || InputDraft::Other(Input::Null)),
    ("data", || InputDraft::Data),
    ("tty", || InputDraft::Other(Input::Terminal(Terminal::Wait))),
    ("tty-force", || InputDraft::Other(Input::Terminal(Terminal::Force))),
    ("tty-fail", || InputDraft::Other(Input::Terminal(Terminal::Fail))),
    ("socket", || InputDraft::Other(Input::Socket)),
    ("fd", || InputDraft::Other(Input::Fd("stdin".into()))),
];

/// `standard_input`
pub(super) fn input(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<InputDraft>> {
    let text = walk.text(value)?;
    let other = match text.split_once(':') {
        Some(("file", path)) => Input::File(walk.path(value, path)?),
        Some(("fd", name)) => Input::Fd(descriptor(walk, value, name, "stdin")?),
        _ if text.is_empty() => return Some(None),
        _ => return walk.choice(value, INPUTS).map(|input| Some(input())),
    };
    Some(Some(InputDraft::Other(other)))
}

/// `standard_input_text`: each entry is a line, with systemd's escapes.
pub(super) fn input_text(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    append(draft, walk, value, |walk, item, text| {
        let Some(mut bytes) = exec_line::unescaped(text.trim()) else {
            walk.error(
                item,
                format!("{:?} has an escape that is none", walk.key),
                Some("write \\\\ for \\".to_owned()),
            );
            return None;
        };
        bytes.push(b'\n');
        Some(bytes)
    });
}

/// `standard_input_data`: Base64, blanks in it left out.
pub(super) fn input_data(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    append(draft, walk, value, |walk, item, text| {
        let digits: String = text.split_ascii_whitespace().collect();
        let bytes = BASE64.decode(digits).ok();
        if bytes.is_none() {
            walk.error(item, format!("{:?} must be Base64", walk.key), None);
        }
        bytes
    });
}

/// Both keys fill the same buffer; an empty string (or list) in either empties it.
fn append(
    draft: &mut Draft,
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    read: impl Fn(&mut Walk<'_, '_>, &Value<'_>, &str) -> Option<Vec<u8>>,
) {
    let data = &mut draft.exec_draft.stdin_data;
    let items = items(value);
    if items.is_empty() {
        data.clear();
    }
    for item in items {
        match walk.text(item) {
            Some("") => data.clear(),
            Some(text) => data.extend(read(walk, item, text).unwrap_or_default()),
            None => {}
        }
    }
    if data.len() > DATA_BYTES_MAX {
        data.clear();
        walk.error(value, format!("{:?} is more than {DATA_BYTES_MAX} bytes", walk.key), None);
    }
}

/// `None`: not in this version.
const OUTPUTS: &[Word<Option<Output>>] = &[
    ("journal", || Some(Output::Log)),
    ("log", || Some(Output::Log)),
    ("syslog", || Some(Output::Log)),
    ("null", || Some(Output::Null)),
    ("inherit", || Some(Output::Inherit)),
    ("tty", || Some(Output::Terminal)),
    ("socket", || Some(Output::Socket)),
    ("kmsg", || None),
    ("journal+console", || None),
    ("kmsg+console", || None),
    ("syslog+console", || None),
];

/// `standard_output`; `name` is that of a socket that is not named.
pub(super) fn output(walk: &mut Walk<'_, '_>, value: &Value<'_>, name: &str) -> Option<Output> {
    let text = walk.text(value)?;
    let file = |walk: &mut Walk<'_, '_>, path: &str, write| Some(Output::File(walk.path(value, path)?, write));
    match text.split_once(':') {
        Some(("file", path)) => return file(walk, path, Write::Over),
        Some(("append", path)) => return file(walk, path, Write::Append),
        Some(("truncate", path)) => return file(walk, path, Write::Truncate),
        Some(("fd", given)) => return descriptor(walk, value, given, name).map(Output::Fd),
        None if text == "fd" => return Some(Output::Fd(name.into())),
        Some(_) | None => {}
    }
    let output = walk.choice(value, OUTPUTS)?();
    if output.is_none() {
        let help = "copies to the console and the kernel's log are not made; it can be log".to_owned();
        walk.error(value, format!("{:?} cannot be {text:?} in this version", walk.key), Some(help));
    }
    output
}

/// `inherit` means standard output's for standard error, as in systemd.
pub(super) fn standard_error(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Output>> {
    match output(walk, value, "stderr")? {
        Output::Inherit => Some(None),
        other @ (Output::Log | Output::Null | Output::File(..) | Output::Terminal | Output::Socket | Output::Fd(_)) => {
            Some(Some(other))
        }
    }
}

/// The name behind `fd:`.
fn descriptor(walk: &mut Walk<'_, '_>, value: &Value<'_>, name: &str, default: &str) -> Option<Box<str>> {
    let name = if name.is_empty() { default } else { name };
    // systemd's rules for names of descriptors.
    if name.len() > 255 || name.contains(|c: char| c.is_control() || c == ':' || !c.is_ascii()) {
        walk.error(value, format!("{name:?} is no name of a descriptor"), None);
        return None;
    }
    Some(name.into())
}
