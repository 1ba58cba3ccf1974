//! Tables of configuration that have a kind and nothing else.

use serde::{Deserialize, Deserializer};

/// Reads a variant without fields of an enum that is tagged within its table, for
/// `#[serde(deserialize_with = "…")]`: unknown keys are an error, which serde lets pass otherwise.
///
/// ```
/// use mm_diffusion::Schedule;
///
/// assert!(serde_json::from_str::<Schedule>(r#"{"kind": "linear"}"#).is_ok());
/// assert!(serde_json::from_str::<Schedule>(r#"{"kind": "linear", "steps": 3}"#).is_err());
/// ```
pub fn no_fields<'de, D: Deserializer<'de>>(table: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(table).map(|Nothing {}| ())
}
