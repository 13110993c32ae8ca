//! Reads the tree of settings into types. The type that is asked for decides how the text of an environment variable is read,
//! and every failure carries the setting's path and where it was written.

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use zeroize::Zeroizing;

use super::failure::{Failure, Segment};
use super::node::{self, Entry, Node, Value};

impl<'de> serde::Deserializer<'de> for Node {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let origin = self.origin;
        match self.value {
            Value::Text(text) => visitor.visit_str(&text),
            Value::Given(text) => match node::parse_given(&text, &origin) {
                Some(parsed) => return parsed.deserialize_any(visitor),
                None => visitor.visit_str(&text),
            },
            Value::Integer(integer) => match u64::try_from(integer) {
                Ok(unsigned) => visitor.visit_u64(unsigned),
                Err(_negative) => visitor.visit_i64(integer),
            },
            Value::Float(float) => visitor.visit_f64(float),
            Value::Boolean(boolean) => visitor.visit_bool(boolean),
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), index: 0 }),
            Value::Table(entries) => visitor.visit_map(Entries { entries: entries.into_iter(), value: None }),
        }
        .map_err(|failure| failure.written(&origin))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.value {
            // As it stands: a password may look like a number.
            Value::Given(text) => visitor.visit_str(&text).map_err(|failure: Failure| failure.written(&self.origin)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::Given(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => Err(Failure::invalid_type(Unexpected::Str(text), &visitor)),
            }
            .map_err(|failure: Failure| failure.written(&self.origin)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.value {
            Value::Given(text) => match text.trim().parse::<i64>() {
                Ok(integer) => Self { origin: self.origin, value: Value::Integer(integer) }.deserialize_any(visitor),
                Err(_text) => Err(Failure::invalid_type(Unexpected::Str(text), &visitor).written(&self.origin)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let Value::Given(text) = &self.value else { return self.deserialize_any(visitor) };
        if text.trim_start().starts_with('[') {
            return self.deserialize_any(visitor);
        }
        let items: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Self { origin: self.origin.clone(), value: Value::Given(Zeroizing::new(item.to_owned())) })
            .collect();
        Self { origin: self.origin, value: Value::Array(items) }.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match self.value {
            Value::Text(text) | Value::Given(text) => visitor.visit_enum(UnitVariant(text.to_string())),
            // `on` and `off` without quotes are not TOML, `true` and `false` are.
            _ => Err(Failure::message(format!("expected a string, found {:?}", self.value))),
        }
        .map_err(|failure| failure.written(&self.origin))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

struct Entries {
    entries: std::vec::IntoIter<Entry>,
    value: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some(Entry { key, origin, node }) = self.entries.next() else { return Ok(None) };
        self.value = Some((key.clone(), node));
        let deserializer: StringDeserializer<Failure> = key.into_deserializer();
        seed.deserialize(deserializer).map(Some).map_err(|failure| failure.written(&origin))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        let (key, node) = self.value.take().ok_or_else(|| Failure::message("a value was asked for before its key"))?;
        let origin = node.origin.clone();
        seed.deserialize(node).map_err(|failure| failure.within(Segment::Key(key)).written(&origin))
    }
}

struct Items {
    items: std::vec::IntoIter<Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failure> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let (origin, index) = (node.origin.clone(), self.index);
        self.index += 1;
        seed.deserialize(node).map(Some).map_err(|failure| failure.within(Segment::Index(index)).written(&origin))
    }
}

/// A variant without content, by its name.
struct UnitVariant(String);

impl<'de> EnumAccess<'de> for UnitVariant {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Failure> {
        let deserializer: StringDeserializer<Failure> = self.0.clone().into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _seed: S) -> Result<S::Value, Failure> {
        Err(Failure::message("expected a value without content"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, Failure> {
        Err(Failure::message("expected a value without content"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Failure> {
        Err(Failure::message("expected a value without content"))
    }
}
