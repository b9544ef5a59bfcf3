//! A value or an array of values, as files write the alternatives of a condition.
//!
//! It does not know the meaning of the values.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// Each value is held against all before it.
const MOST: usize = 1_000;

/// Empty where the key is absent, which is no condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Values<T>(pub Vec<T>);

impl<T> Default for Values<T> {
    fn default() -> Values<T> {
        Values(Vec::new())
    }
}

impl<'de, T: DeserializeOwned + PartialEq> Deserialize<'de> for Values<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Values<T>, D::Error> {
        struct ValuesVisitor<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned + PartialEq> Visitor<'de> for ValuesVisitor<T> {
            type Value = Values<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or an array of values")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Values<T>, E> {
                Ok(Values(vec![T::deserialize(StrDeserializer::new(word))?]))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Values<T>, S::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element::<T>()? {
                    if values.contains(&value) {
                        return Err(de::Error::custom("a value stands twice in this array"));
                    }
                    if values.len() == MOST {
                        return Err(de::Error::custom(format!("more than {MOST} values in this array")));
                    }
                    values.push(value);
                }
                if values.is_empty() {
                    return Err(de::Error::custom("an empty array of values never applies; leave the key out"));
                }
                Ok(Values(values))
            }
        }

        deserializer.deserialize_any(ValuesVisitor(PhantomData))
    }
}

/// A table, or an array of tables of which one must hold; `example` is one.
pub fn tables<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    example: &'static str,
) -> Result<Vec<T>, D::Error> {
    struct TablesVisitor<T>(&'static str, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for TablesVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a condition: a table such as {}, or an array of tables of which one must hold", self.0)
        }

        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Vec<T>, M::Error> {
            Ok(vec![T::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Vec<T>, S::Error> {
            let mut tables = Vec::new();
            while let Some(table) = seq.next_element()? {
                tables.push(table);
            }
            if tables.is_empty() {
                return Err(de::Error::custom("an empty array of conditions never holds"));
            }
            Ok(tables)
        }
    }

    deserializer.deserialize_any(TablesVisitor(example, PhantomData))
}

/// One value, or several that differ.
impl<T: schemars::JsonSchema> schemars::JsonSchema for Values<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Values_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<T>();
        schemars::json_schema!({
            "anyOf": [value, { "type": "array", "items": value, "minItems": 1, "uniqueItems": true }]
        })
    }
}
