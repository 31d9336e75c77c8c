//! Reads JSON into the API's shapes, and writes them. Pure.
//!
//! What serde_json reads a page never gets: structures written as lists,
//! messages that name every type. Its general reader of our shapes is 30 KB
//! of the compressed module, 20 KB of which are tables for numbers; this one
//! is made for size. It takes all that serde_json writes, and a text of
//! another kind is an error, never a panic; what nobody asks for is only
//! passed over.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

mod write;

pub use write::write;

/// Deepest nesting that is read; the API's own is below ten.
const MAX_DEPTH: usize = 64;

/// Why a text could not be read. Where, and which field, is not told: every
/// reader of a field would carry it along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is no JSON, or ends too early.
    Syntax,
    /// A field is not there.
    Missing,
    /// A value is of another kind than the shape's.
    Shape,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "no JSON",
            Self::Missing => "a field is not there",
            Self::Shape => "a value of another kind",
        })
    }
}

impl std::error::Error for Error {}

// What serde would put into words is left out here: the words are a third of
// a derived reader.
impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Shape
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Shape
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Shape
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Shape
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::Shape
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::Shape
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::Shape
    }

    fn missing_field(_: &'static str) -> Self {
        Self::Missing
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::Shape
    }
}

/// Reads a whole text.
///
/// # Errors
/// When it is no JSON, or of another shape.
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Error> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let value = T::deserialize(&mut reader)?;
    match reader.peek() {
        0 => Ok(value),
        _ => Err(Error::Syntax),
    }
}

/// Reads a number, as a person or a program writes it.
#[must_use]
pub fn float(text: &str) -> Option<f64> {
    short_float(text).or_else(|| long_float(text))
}

/// A number of so few digits that both they and the power of ten are exact:
/// one rounding is then the right one (Clinger, 1990). Nearly all are.
fn short_float(text: &str) -> Option<f64> {
    const MOST_DIGITS: usize = 15;
    const MOST_POWER: usize = 22;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let n_digits = whole.len() + part.len();
    if whole.is_empty() || n_digits > MOST_DIGITS || part.len() > MOST_POWER {
        return None;
    }
    let mut mantissa = 0_u64;
    for byte in whole.bytes().chain(part.bytes()) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        mantissa = mantissa * 10 + u64::from(digit);
    }
    let divisor = part.bytes().fold(1.0, |power: f64, _| power * 10.0);
    let value = mantissa as f64 / divisor;
    Some(if text.starts_with('-') { -value } else { value })
}

/// Any other: the browser's own reader costs nothing to load.
#[cfg(target_arch = "wasm32")]
fn long_float(text: &str) -> Option<f64> {
    let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let text = Some(text).filter(|t| !t.is_empty() && t.chars().all(is_number))?;
    let number = js_sys::Number::parse_float(text);
    Some(number).filter(|n| n.is_finite())
}

/// Any other.
#[cfg(not(target_arch = "wasm32"))]
fn long_float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    fn byte(&self) -> u8 {
        // No JSON has the byte zero outside of its end.
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is no white space; zero at the end.
    fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != byte {
            return Err(Error::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn enter(&mut self, open: u8) -> Result<(), Error> {
        if self.peek() != open {
            return Err(Error::Shape);
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::Syntax);
        }
        Ok(())
    }

    /// Whether another element follows; leaves the list or object where none
    /// does.
    fn more(&mut self, is_first: bool, close: u8) -> Result<bool, Error> {
        if self.peek() == close {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !is_first {
            self.expect(b',')?;
        }
        Ok(true)
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Error::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn bool(&mut self) -> Result<bool, Error> {
        match self.peek() {
            b't' => self.word("true").map(|()| true),
            b'f' => self.word("false").map(|()| false),
            _ => Err(Error::Shape),
        }
    }

    fn is_null(&mut self) -> Result<bool, Error> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        self.word("null").map(|()| true)
    }

    fn number(&mut self) -> Result<&'de str, Error> {
        self.peek();
        let begin = self.at;
        while matches!(self.byte(), b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') {
            self.at += 1;
        }
        let number = &self.text[begin..self.at];
        if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            Ok(number)
        } else {
            Err(Error::Shape)
        }
    }

    fn unsigned(&mut self) -> Result<u64, Error> {
        self.number()?.parse().map_err(|_| Error::Shape)
    }

    fn signed(&mut self) -> Result<i64, Error> {
        self.number()?.parse().map_err(|_| Error::Shape)
    }

    fn float(&mut self) -> Result<f64, Error> {
        float(self.number()?).ok_or(Error::Shape)
    }

    fn string(&mut self) -> Result<Cow<'de, str>, Error> {
        if self.peek() != b'"' {
            return Err(Error::Shape);
        }
        self.at += 1;
        let text = self.text;
        let mut own = String::new();
        let mut begin = self.at;
        loop {
            match self.byte() {
                b'"' => {
                    let rest = &text[begin..self.at];
                    self.at += 1;
                    if own.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    own.push_str(rest);
                    return Ok(Cow::Owned(own));
                }
                b'\\' => {
                    own.push_str(&text[begin..self.at]);
                    own.push(self.escape()?);
                    begin = self.at;
                }
                0..=0x1f => return Err(Error::Syntax),
                _ => self.at += 1,
            }
        }
    }

    /// The character that an escape stands for (RFC 8259 section 7).
    fn escape(&mut self) -> Result<char, Error> {
        self.at += 1;
        let byte = self.byte();
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code(),
            _ => return Err(Error::Syntax),
        };
        self.at += 1;
        Ok(plain)
    }

    fn code(&mut self) -> Result<char, Error> {
        let mut code = self.unit()?;
        if matches!(code, 0xd800..=0xdbff) {
            self.word("\\")?;
            let low = self.unit()?;
            if !matches!(low, 0xdc00..=0xdfff) {
                return Err(Error::Syntax);
            }
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        char::from_u32(code).ok_or(Error::Syntax)
    }

    /// Reads `u1f62`.
    fn unit(&mut self) -> Result<u32, Error> {
        self.word("u")?;
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut unit = 0;
        for byte in digits.ok_or(Error::Syntax)? {
            let digit = char::from(*byte).to_digit(16);
            unit = unit * 16 + digit.ok_or(Error::Syntax)?;
        }
        self.at += 4;
        Ok(unit)
    }

    /// Passes over a value that nobody asked for.
    fn skip(&mut self) -> Result<(), Error> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                b'"' => drop(self.string()?),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b't' | b'f' => drop(self.bool()?),
                b'n' => self.word("null")?,
                _ => drop(self.number().map_err(|_| Error::Syntax)?),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            b'"' => self.deserialize_string(visitor),
            b'{' => self.deserialize_map(visitor),
            b'[' => self.deserialize_seq(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => {
                self.word("null")?;
                visitor.visit_unit()
            }
            _ => {
                let number = self.number()?;
                match number.parse() {
                    Ok(n) => visitor.visit_u64(n),
                    Err(_) => visitor.visit_f64(float(number).ok_or(Error::Shape)?),
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.bool()?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.unsigned()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.unsigned()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.unsigned()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.unsigned()?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.signed()?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.signed()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.string()?.into_owned())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(&self.string()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null()? {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.enter(b'[')?;
        let depth = self.depth;
        let value = visitor.visit_seq(Inside {
            reader: self,
            is_first: true,
        })?;
        self.left(depth)?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.enter(b'{')?;
        visitor.visit_map(Inside {
            reader: self,
            is_first: true,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Name(self.string()?))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 char bytes byte_buf unit unit_struct newtype_struct tuple_struct
    }
}

impl Reader<'_> {
    /// Leaves a list of which fewer elements were asked for than it may have:
    /// one of a fixed length.
    fn left(&mut self, depth: usize) -> Result<(), Error> {
        if self.depth == depth && self.more(true, b']')? {
            return Err(Error::Shape);
        }
        Ok(())
    }
}

/// The elements of a list or an object.
struct Inside<'a, 'de> {
    reader: &'a mut Reader<'de>,
    is_first: bool,
}

impl<'de> SeqAccess<'de> for Inside<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if !self.reader.more(is_first, b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for Inside<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        if !self.reader.more(is_first, b'}')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant without anything in it.
struct Name<'de>(Cow<'de, str>);

impl<'de> EnumAccess<'de> for Name<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: &str = &self.0;
        let value = seed.deserialize(name.into_deserializer())?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Name<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Error> {
        Err(Error::custom(""))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom(""))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom(""))
    }
}

#[cfg(test)]
mod tests;
