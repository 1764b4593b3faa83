use super::{
    value::{extend, items, words},
    walk::{Value, Walk},
};
use crate::unit::{
    draft::Draft,
    exec_line,
    similar::did_you_mean,
    spec::{Capabilities, CredentialSource, KeyringMode, SECURE_BITS, Value as Content},
};

pub(super) const KEYRING_MODES: &[(&str, KeyringMode)] =
    &[("inherit", KeyringMode::Inherit), ("private", KeyringMode::Private), ("shared", KeyringMode::Shared)];

/// A set that is changed by one entry after the other, as systemd changes it by one line after the other: names add,
/// `~` and names take away; the first entry, and one after an empty one, sets it. `unset` is what it is before.
pub(super) fn capabilities(
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    before: Capabilities,
    unset: Capabilities,
) -> Capabilities {
    let items = items(value);
    let mut set = if items.is_empty() { Capabilities::default() } else { before };
    for item in items {
        let Some(text) = walk.text(item) else { continue };
        let (text, takes) = match text.strip_prefix('~') {
            Some(text) => (text, true),
            None => (text, false),
        };
        let named = Capabilities(named(walk, item, text));
        let replaces = named == Capabilities::default() || set == unset;
        set = match (replaces, takes) {
            (true, false) => named,
            (true, true) => Capabilities(!named.0),
            (false, false) => Capabilities(set.0 | named.0),
            (false, true) => Capabilities(set.0 & !named.0),
        };
    }
    set
}

fn named(walk: &mut Walk<'_, '_>, item: &Value<'_>, text: &str) -> u64 {
    let mut set = 0;
    for word in text.split_ascii_whitespace() {
        match Capabilities::named(word) {
            Some(found) => set |= found.0,
            None => {
                let help = did_you_mean(word, Capabilities::names());
                walk.error(item, format!("{word:?} is no capability"), help);
            }
        }
    }
    set
}

/// Flags by systemd's words; an empty string (or list) clears what came before.
pub(super) fn secure_bits(walk: &mut Walk<'_, '_>, value: &Value<'_>, before: u32) -> u32 {
    let mut bits = vec![before];
    words(&mut bits, walk, value, |walk, item, word| {
        let known = SECURE_BITS.iter().find(|(known, _)| *known == word);
        if known.is_none() {
            let words = SECURE_BITS.iter().map(|(known, _)| *known);
            let help = did_you_mean(word, words.clone())
                .unwrap_or_else(|| format!("it can be {}", words.collect::<Vec<_>>().join(", ")));
            walk.error(item, format!("{:?} cannot be {word:?}", walk.key), Some(help));
        }
        known.map(|(_, bit)| *bit)
    });
    bits.into_iter().fold(0, |all, bit| all | bit)
}

/// `ID:PATH`, `ID:NAME` of a store, or `ID` for the same name in a store.
pub(super) fn load_credential(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(&mut draft.exec_draft.load_credentials, walk, value, |walk, item| {
        let text = walk.text(item)?;
        let (id, from) = text.split_once(':').unwrap_or((text, text));
        let id = credential_id(walk, item, id)?;
        let source = if from.starts_with('/') {
            CredentialSource::Path(walk.path(item, from)?)
        } else {
            CredentialSource::Store(credential_id(walk, item, from)?)
        };
        Some((id, source))
    });
}

/// `ID:VALUE`, with systemd's escapes in the value. No message shows it.
pub(super) fn set_credential(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    extend(&mut draft.exec_draft.set_credentials, walk, value, |walk, item| {
        let Some((id, text)) = walk.text(item)?.split_once(':') else {
            walk.error(item, format!("{:?} must be \"ID:VALUE\"", walk.key), None);
            return None;
        };
        let id = credential_id(walk, item, id)?;
        let Some(bytes) = exec_line::unescaped(text) else {
            walk.error(
                item,
                format!("{:?} has an escape that is none", walk.key),
                Some("write \\\\ for \\".to_owned()),
            );
            return None;
        };
        Some((id, Content(bytes.into())))
    });
}

/// What may be the name of a file with a credential.
fn credential_id(walk: &mut Walk<'_, '_>, value: &Value<'_>, id: &str) -> Option<Box<str>> {
    let fits = !id.is_empty() && id.len() <= 255 && id != "." && id != "..";
    if !fits || id.contains(|c: char| c == '/' || c.is_control() || !c.is_ascii()) {
        let help = Some("a file name in ASCII, without a slash".to_owned());
        walk.error(value, format!("{:?} has no id of a credential before the colon", walk.key), help);
        return None;
    }
    Some(id.into())
}
