//! How words of other layers are spelt where a fleet's are sent or kept: names as people write them, spans in microseconds.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

use crate::base::{InvocationId, TimeSpan};

/// Gives a type whose `Display` and `FromStr` are each other's reverse the spelling of its text.
macro_rules! spelt {
    ($($name:ty)*) => {
        $(impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::fleet::spelling::text::deserialize(deserializer)
            }
        })*
    };
}
pub(super) use spelt;

/// Sixteen bytes as 32 hex digits.
pub(super) fn parse_hex(text: &str) -> Option<[u8; 16]> {
    InvocationId::parse(text).map(|id| id.0)
}

/// A type of another layer, by its text.
pub(super) mod text {
    use super::*;

    pub(in crate::fleet) fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in crate::fleet) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A run, if there is one.
pub(super) mod run {
    use super::*;

    #[expect(clippy::ref_option, reason = "serde hands a field over so")]
    pub(in crate::fleet) fn serialize<S: Serializer>(run: &Option<InvocationId>, to: S) -> Result<S::Ok, S::Error> {
        match run {
            Some(run) => to.collect_str(run),
            None => to.serialize_none(),
        }
    }

    pub(in crate::fleet) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<InvocationId>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        InvocationId::parse(&text).map(Some).ok_or_else(|| D::Error::custom(format!("{text:?} is no invocation id")))
    }
}

/// A span in microseconds; none is endless.
pub(super) mod micros {
    use super::*;

    pub(in crate::fleet) fn serialize<S: Serializer>(span: &TimeSpan, to: S) -> Result<S::Ok, S::Error> {
        match span.micros() {
            Some(micros) => to.serialize_u64(micros),
            None => to.serialize_none(),
        }
    }

    pub(in crate::fleet) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TimeSpan, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map_or(TimeSpan::INFINITY, TimeSpan::from_micros))
    }
}

/// A large number as 32 hex digits: JSON's numbers are not that large.
pub(super) mod hex {
    use super::*;

    pub(in crate::fleet) fn serialize<S: Serializer>(number: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{number:032x}"))
    }

    pub(in crate::fleet) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = parse_hex(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not 32 hex digits")))?;
        Ok(u128::from_be_bytes(bytes))
    }
}
