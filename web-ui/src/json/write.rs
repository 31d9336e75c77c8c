//! Writes the API's shapes as JSON. Pure.
//!
//! Structures of strings, numbers and what is made of them: all that the page
//! ever sends.

use std::fmt::Write;

use serde::ser::{Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};

use super::Error;

/// Writes a value.
///
/// # Errors
/// When it is of a shape that the page never sends.
pub fn write<T: Serialize>(value: &T) -> Result<String, Error> {
    let mut text = String::new();
    value.serialize(&mut Writer(&mut text))?;
    Ok(text)
}

struct Writer<'a>(&'a mut String);

impl Writer<'_> {
    /// Writes a string with what RFC 8259 section 7 wants escaped.
    fn string(&mut self, text: &str) {
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                '\0'..='\u{1f}' => {
                    // Writing to a string does not fail.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                _ => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

/// What is begun and not yet ended: what stands before its next part, and
/// what ends it.
struct Open<'a, 'b> {
    writer: &'a mut Writer<'b>,
    before: char,
    end: char,
}

impl Open<'_, '_> {
    fn next(&mut self) {
        self.writer.0.push(self.before);
        self.before = ',';
    }

    fn finish(self) {
        if self.before != ',' {
            self.writer.0.push(self.before);
        }
        self.writer.0.push(self.end);
    }
}

impl SerializeStruct for Open<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.next();
        self.writer.string(name);
        self.writer.0.push(':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl SerializeSeq for Open<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.next();
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

/// Whole numbers, all of which fit 64 bits.
macro_rules! whole {
    ($($name:ident($kind:ty);)+) => {
        $(fn $name(self, n: $kind) -> Result<(), Error> {
            self.0.push_str(&n.to_string());
            Ok(())
        })+
    };
}

impl<'a, 'b> Serializer for &'a mut Writer<'b> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Open<'a, 'b>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Open<'a, 'b>;
    type SerializeStructVariant = Impossible<(), Error>;

    whole! {
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.0.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_f32(self, n: f32) -> Result<(), Error> {
        self.serialize_f64(n.into())
    }

    fn serialize_f64(self, n: f64) -> Result<(), Error> {
        if n.is_finite() {
            self.0.push_str(&n.to_string());
        } else {
            self.0.push_str("null");
        }
        Ok(())
    }

    fn serialize_char(self, c: char) -> Result<(), Error> {
        self.string(c.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.string(text);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        Err(Error::Shape)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::Shape)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'a, 'b>, Error> {
        Ok(Open {
            writer: self,
            before: '[',
            end: ']',
        })
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        Err(Error::Shape)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        Err(Error::Shape)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::Shape)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::Shape)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'a, 'b>, Error> {
        Ok(Open {
            writer: self,
            before: '{',
            end: '}',
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::Shape)
    }
}
