//! The part of D-Bus that is needed to ask a service manager: calls whose arguments are texts, and answers of simple values.
//!
//! Bytes only; whoever has a socket sends them. Source: the D-Bus specification, "Message Protocol" and "Authentication Protocol".

/// A message is not longer than this; the specification allows more, and nobody whom we ask says so much.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a message that say how long it is.
pub const HEAD_BYTES: usize = 16;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

/// A call of a method.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Names it; its answer bears the same.
    pub serial: u32,
    /// Who is called.
    pub destination: &'a str,
    /// Which object of theirs.
    pub path: &'a str,
    /// Which interface of that.
    pub interface: &'a str,
    /// Which method.
    pub member: &'a str,
    /// Its arguments.
    pub arguments: &'a [&'a str],
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Of the call.
    pub serial: u32,
    /// What it returned, up to the first value that we do not read; else why it failed.
    pub returned: Result<Vec<Value>, String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, the path of an object, a signature.
    Text(String),
    /// A number or truth of up to 64 bits.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no D-Bus message")]
pub struct Broken;

/// What a connection begins with: who we are, said by the kernel too. It is answered by one line that begins with `OK`.
pub fn greeting(uid: u32) -> Vec<u8> {
    use std::fmt::Write;
    let mut hex = String::new();
    for digit in uid.to_string().bytes() {
        // A string takes all.
        write!(hex, "{digit:02x}").ok();
    }
    format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").into_bytes()
}

/// The bytes of a call.
pub fn call(call: &Call<'_>) -> Vec<u8> {
    let mut body = Writer::default();
    call.arguments.iter().for_each(|text| body.text(text));
    let mut head = Writer::default();
    head.0.extend([b'l', METHOD_CALL, 0, 1]);
    head.number(u32::try_from(body.0.len()).unwrap_or(u32::MAX));
    head.number(call.serial);
    let mut fields = Writer(vec![0; HEAD_BYTES]);
    fields.field(FIELD_PATH, "o", call.path);
    fields.field(FIELD_INTERFACE, "s", call.interface);
    fields.field(FIELD_MEMBER, "s", call.member);
    fields.field(FIELD_DESTINATION, "s", call.destination);
    if !call.arguments.is_empty() {
        fields.align(8);
        fields.0.push(FIELD_SIGNATURE);
        fields.signature("g");
        fields.signature(&"s".repeat(call.arguments.len()));
    }
    head.number(u32::try_from(fields.0.len() - HEAD_BYTES).unwrap_or(u32::MAX));
    head.0.extend_from_slice(&fields.0[HEAD_BYTES..]);
    head.align(8);
    head.0.append(&mut body.0);
    head.0
}

/// How long the message is that begins so, with these bytes.
pub fn length(head: &[u8; HEAD_BYTES]) -> Result<usize, Broken> {
    let order = Order::of(head)?;
    let mut reader = Reader { bytes: head, at: 4, order };
    let body = reader.size()?;
    reader.number()?;
    let fields = reader.size()?;
    let all = (HEAD_BYTES + fields).next_multiple_of(8) + body;
    if all <= MESSAGE_BYTES_MAX { Ok(all) } else { Err(Broken) }
}

/// What a whole message says; `None` for one that answers nothing, such as a signal.
pub fn reply(message: &[u8]) -> Result<Option<Reply>, Broken> {
    let order = Order::of(message)?;
    let kind = *message.get(1).ok_or(Broken)?;
    if kind != METHOD_RETURN && kind != ERROR {
        return Ok(None);
    }
    let mut reader = Reader { bytes: message, at: 12, order };
    let end = HEAD_BYTES.checked_add(reader.size()?).ok_or(Broken)?;
    let (mut serial, mut signature) = (None, String::new());
    while reader.at < end {
        reader.align(8)?;
        let field = reader.byte()?;
        let of = reader.signature()?;
        match (field, reader.value(&of)?) {
            (FIELD_REPLY_SERIAL, Some(Value::Number(number))) => serial = u32::try_from(number).ok(),
            (FIELD_SIGNATURE, Some(Value::Text(text))) => signature = text,
            (_, Some(_)) => {}
            (_, None) => return Err(Broken),
        }
    }
    reader.at = end;
    reader.align(8)?;
    let values = reader.values(&signature)?;
    let returned = match (kind, values.first()) {
        (METHOD_RETURN, _) => Ok(values),
        (_, Some(Value::Text(text))) => Err(text.clone()),
        (_, _) => Err("it refuses, and does not say why".to_owned()),
    };
    Ok(Some(Reply { serial: serial.ok_or(Broken)?, returned }))
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(signature.len().to_le_bytes()[0]);
        self.0.extend_from_slice(signature.as_bytes());
        self.0.push(0);
    }

    fn field(&mut self, field: u8, signature: &str, value: &str) {
        self.align(8);
        self.0.push(field);
        self.signature(signature);
        self.text(value);
    }
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn of(message: &[u8]) -> Result<Self, Broken> {
        match message.first() {
            Some(b'l') => Ok(Self::Little),
            Some(b'B') => Ok(Self::Big),
            Some(_) | None => Err(Broken),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Order,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let end = self.at.checked_add(count).ok_or(Broken)?;
        let taken = self.bytes.get(self.at..end).ok_or(Broken)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Broken> {
        let at = self.at.next_multiple_of(to);
        if at > self.bytes.len() {
            return Err(Broken);
        }
        self.at = at;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        self.take(1)?.first().copied().ok_or(Broken)
    }

    fn number(&mut self) -> Result<u32, Broken> {
        self.align(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_| Broken)?;
        Ok(match self.order {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        })
    }

    fn long(&mut self) -> Result<u64, Broken> {
        self.align(8)?;
        let bytes = self.take(8)?.try_into().map_err(|_| Broken)?;
        Ok(match self.order {
            Order::Little => u64::from_le_bytes(bytes),
            Order::Big => u64::from_be_bytes(bytes),
        })
    }

    /// A length in bytes.
    fn size(&mut self) -> Result<usize, Broken> {
        usize::try_from(self.number()?).ok().filter(|size| *size <= MESSAGE_BYTES_MAX).ok_or(Broken)
    }

    fn text(&mut self, length: usize) -> Result<String, Broken> {
        let text = str::from_utf8(self.take(length)?).map_err(|_| Broken)?.to_owned();
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String, Broken> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    /// The values of a signature, up to the first that we do not read.
    fn values(&mut self, signature: &str) -> Result<Vec<Value>, Broken> {
        let mut values = Vec::new();
        let mut rest = signature;
        while !rest.is_empty() {
            let whole = if rest.starts_with("ay") { 2 } else { 1 };
            let (one, later) = rest.split_at_checked(whole).ok_or(Broken)?;
            let Some(value) = self.value(one)? else { break };
            values.push(value);
            rest = later;
        }
        Ok(values)
    }

    fn value(&mut self, signature: &str) -> Result<Option<Value>, Broken> {
        Ok(Some(match signature {
            "s" | "o" => {
                let length = self.size()?;
                Value::Text(self.text(length)?)
            }
            "g" => Value::Text(self.signature()?),
            "u" | "b" => Value::Number(i64::from(self.number()?)),
            "i" => Value::Number(i64::from(self.number()?.cast_signed())),
            "t" | "x" => Value::Number(self.long()?.cast_signed()),
            "ay" => {
                let length = self.size()?;
                Value::Bytes(self.take(length)?.to_vec())
            }
            // Only a simple value stands in a variant that we ask for, so this goes no deeper.
            "v" => match self.signature()?.as_str() {
                "v" => return Err(Broken),
                inner => return self.value(inner),
            },
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property() -> Call<'static> {
        Call {
            serial: 7,
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1/unit/a_2eservice",
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: &["org.freedesktop.systemd1.Unit", "ActiveState"],
        }
    }

    /// An answer to the call with this serial.
    fn answer(kind: u8, serial: u32, signature: &str, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut written = Writer::default();
        body(&mut written);
        let mut message = Writer(vec![b'l', kind, 1, 1]);
        message.number(u32::try_from(written.0.len()).unwrap());
        message.number(99);
        message.number(0);
        message.0.push(FIELD_REPLY_SERIAL);
        message.signature("u");
        message.number(serial);
        message.align(8);
        message.0.push(FIELD_SIGNATURE);
        message.signature("g");
        message.signature(signature);
        let fields = u32::try_from(message.0.len() - HEAD_BYTES).unwrap();
        message.0[12..16].copy_from_slice(&fields.to_le_bytes());
        message.align(8);
        message.0.append(&mut written.0);
        message.0
    }

    #[test]
    fn a_call_is_as_long_as_it_says() {
        for arguments in [&[][..], &["one"], &["one", "two"], &["", "x"]] {
            let bytes = call(&Call { arguments, ..property() });
            assert_eq!(length(bytes[..HEAD_BYTES].try_into().unwrap()), Ok(bytes.len()), "{arguments:?}");
            assert_eq!(reply(&bytes), Ok(None), "a call is no answer");
        }
    }

    #[test]
    fn an_answer_says_to_what_and_what() {
        let text = answer(METHOD_RETURN, 7, "v", |body| {
            body.signature("s");
            body.text("active");
        });
        assert_eq!(length(text[..HEAD_BYTES].try_into().unwrap()), Ok(text.len()));
        let returned = Ok(vec![Value::Text("active".to_owned())]);
        assert_eq!(reply(&text), Ok(Some(Reply { serial: 7, returned })));
        let bytes = answer(METHOD_RETURN, 8, "v", |body| {
            body.signature("ay");
            body.number(3);
            body.0.extend([1, 2, 3]);
        });
        assert_eq!(reply(&bytes), Ok(Some(Reply { serial: 8, returned: Ok(vec![Value::Bytes(vec![1, 2, 3])]) })));
        let refused = answer(ERROR, 9, "s", |body| body.text("no such unit"));
        assert_eq!(reply(&refused), Ok(Some(Reply { serial: 9, returned: Err("no such unit".to_owned()) })));
        let long = answer(METHOD_RETURN, 10, "v", |body| {
            body.signature("t");
            body.align(8);
            body.0.extend(u64::MAX.to_le_bytes());
        });
        assert_eq!(reply(&long), Ok(Some(Reply { serial: 10, returned: Ok(vec![Value::Number(-1)]) })));
        let negative = answer(METHOD_RETURN, 9, "iau", |body| body.number(u32::MAX));
        assert_eq!(reply(&negative), Ok(Some(Reply { serial: 9, returned: Ok(vec![Value::Number(-1)]) })));
    }

    #[test]
    fn the_greeting_names_the_user_in_hex() {
        assert_eq!(greeting(1000), b"\0AUTH EXTERNAL 31303030\r\nBEGIN\r\n");
    }

    proptest! {
        /// Whatever comes, it is read or refused, and a length that is believed is one that we take.
        #[test]
        fn no_bytes_are_too_odd(mut bytes in proptest::collection::vec(any::<u8>(), HEAD_BYTES..400), kind in 0_u8..5) {
            bytes[0] = b'l';
            bytes[1] = kind;
            drop(reply(&bytes));
            if let Ok(length) = length(bytes[..HEAD_BYTES].try_into().unwrap()) {
                prop_assert!((HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&length));
            }
        }

        /// An answer that is cut short is refused and not half believed.
        #[test]
        fn an_answer_that_is_cut_is_none(cut in 0_usize..80) {
            let whole = answer(METHOD_RETURN, 7, "v", |body| { body.signature("s"); body.text("active"); });
            prop_assume!(cut < whole.len());
            prop_assert_eq!(reply(&whole[..cut]), Err(Broken));
        }
    }
}
