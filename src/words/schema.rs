//! JSON Schemas of files, made from their types.
//!
//! It knows no format: each module with a format gives its name.

use schemars::JsonSchema;
use serde_json::Value;

/// The schema of `T`, titled with the name of its format.
pub fn schema<T: JsonSchema>(title: &str) -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), title.into());
    }
    schema
}
