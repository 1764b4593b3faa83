use std::ffi::CString;

/// A thing that can be written as bytes and read back.
pub trait Wire: Sized {
    /// Appends it.
    fn put(&self, writer: &mut Writer);
    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are not one.
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within the message.
    #[error("the message ends too early")]
    Short,
    /// Bytes are left after the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// A number that has no meaning there.
    #[error("{number} is no {what}")]
    Value {
        /// What was expected.
        what: &'static str,
        /// What was read.
        number: u64,
    },
    /// A text that is not allowed there.
    #[error("cannot read a text as {0}")]
    Text(&'static str),
}

/// Appends values to a message.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

/// Room for a message as most are; thousands may wait at a time.
const USUAL_BYTES: usize = 128;

impl Default for Writer {
    fn default() -> Self {
        Self::after(Vec::with_capacity(USUAL_BYTES))
    }
}

impl Writer {
    /// Goes on after `bytes`.
    pub const fn after(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends `bytes` as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends a count and the bytes.
    pub fn counted(&mut self, bytes: &[u8]) {
        count(bytes.len()).put(self);
        self.raw(bytes);
    }
}

/// A length as it is sent. What is longer than 4 GiB cannot be sent and is caught by the limits of a message.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Reads values from a message.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// Bytes that a count precedes.
    ///
    /// # Errors
    /// When fewer are left than the count says.
    pub fn counted(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = u32::take(self)?;
        self.raw(usize::try_from(length).map_err(|_| DecodeError::Short)?)
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.0.len()
    }

    /// Says that nothing may follow.
    ///
    /// # Errors
    /// When something does.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

macro_rules! wire_numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn put(&self, writer: &mut Writer) {
                writer.raw(&self.to_le_bytes());
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let mut bytes = [0; size_of::<Self>()];
                bytes.copy_from_slice(reader.raw(size_of::<Self>())?);
                Ok(Self::from_le_bytes(bytes))
            }
        }
    )*};
}
wire_numbers!(u8, i8, u16, i16, u32, i32, u64, i64);

impl Wire for bool {
    fn put(&self, writer: &mut Writer) {
        u8::from(*self).put(writer);
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::take(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Value { what: "yes or no", number: other.into() }),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, writer: &mut Writer) {
        self.is_some().put(writer);
        if let Some(value) = self {
            value.put(writer);
        }
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::take(reader)? { T::take(reader).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, writer: &mut Writer) {
        count(self.len()).put(writer);
        self.iter().for_each(|item| item.put(writer));
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = u32::take(reader)?;
        // Every item takes at least one byte, so a count cannot make us reserve more than the message holds.
        if usize::try_from(length).is_ok_and(|length| length > reader.0.len()) {
            return Err(DecodeError::Short);
        }
        // It may grow to much more than the message, so room for all of it is there at once only for a short one.
        let room = usize::try_from(length).unwrap_or(0).min(USUAL_BYTES / size_of::<T>().max(1));
        let mut items = Self::with_capacity(room);
        for _ in 0..length {
            items.push(T::take(reader)?);
        }
        Ok(items)
    }
}

impl Wire for String {
    fn put(&self, writer: &mut Writer) {
        writer.counted(self.as_bytes());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.counted()?;
        str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Text("UTF-8"))
    }
}

impl Wire for CString {
    fn put(&self, writer: &mut Writer) {
        writer.counted(self.as_bytes());
    }
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(reader.counted()?).map_err(|_| DecodeError::Text("a string without NUL"))
    }
}

/// Implements [`Wire`] for a struct, field by field in the order given.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::keeper::Wire for $name {
            fn put(&self, writer: &mut $crate::wire::keeper::Writer) {
                $( self.$field.put(writer); )*
            }
            fn take(
                reader: &mut $crate::wire::keeper::Reader<'_>,
            ) -> Result<Self, $crate::wire::keeper::DecodeError> {
                $( let $field = $crate::wire::keeper::Wire::take(reader)?; )*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// Implements [`Wire`] for an enum: a tag byte, then the variant's fields.
macro_rules! wire_enum {
    ($name:ident { $( $tag:literal $variant:ident $( { $($field:ident),* $(,)? } )? $( ( $inner:ident ) )? ),* $(,)? }) => {
        impl $crate::wire::keeper::Wire for $name {
            fn put(&self, writer: &mut $crate::wire::keeper::Writer) {
                match self {
                    $( Self::$variant $( { $($field),* } )? $( ($inner) )? => {
                        $crate::wire::keeper::Wire::put(&{ $tag as u8 }, writer);
                        $( $( $field.put(writer); )* )?
                        $( $inner.put(writer); )?
                    } )*
                }
            }
            fn take(
                reader: &mut $crate::wire::keeper::Reader<'_>,
            ) -> Result<Self, $crate::wire::keeper::DecodeError> {
                let tag: u8 = $crate::wire::keeper::Wire::take(reader)?;
                match tag {
                    $( $tag => {
                        $( $( let $field = $crate::wire::keeper::Wire::take(reader)?; )* )?
                        $( let $inner = $crate::wire::keeper::Wire::take(reader)?; )?
                        Ok(Self::$variant $( { $($field),* } )? $( ($inner) )?)
                    } )*
                    other => Err($crate::wire::keeper::DecodeError::Value {
                        what: stringify!($name),
                        number: u64::from(other),
                    }),
                }
            }
        }
    };
}

pub(super) use {wire_enum, wire_struct};
