//! JSON Schemas of what is read and written, made from its types.
//!
//! It knows no format: each module with one says what it is called.

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
