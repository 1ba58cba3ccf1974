//! This module holds what a study has found so far, as one JSON file of numbers by name.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Everything that a study has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// Counts the minutes that were asked for.
    pub minutes: f64,
    /// Counts the seeds that every run is trained with.
    pub seeds: u64,
    /// Says whether the runs are of a few steps, so that no number means anything.
    pub quick: bool,
    found: BTreeMap<String, Value>,
}

impl Results {
    /// Returns the results of a study that begins.
    pub fn new(minutes: f64, seeds: u64, quick: bool) -> Self {
        Self { minutes, seeds, quick, found: BTreeMap::new() }
    }

    /// Says whether something was measured.
    pub fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Keeps what was measured under a name.
    pub fn set(&mut self, name: &str, value: Value) {
        self.found.insert(name.to_owned(), value);
    }

    /// Returns what was measured under a name; null if nothing was.
    pub fn of(&self, name: &str) -> &Value {
        self.found.get(name).unwrap_or(&Value::Null)
    }

    /// Writes the results as JSON.
    pub fn write(&self) -> Result<String> {
        let whole = json!({
            "minutes": self.minutes,
            "seeds": self.seeds,
            "quick": self.quick,
            "found": self.found,
        });
        Ok(serde_json::to_string_pretty(&whole)?)
    }

    /// Reads the results from JSON.
    pub fn read(text: &str) -> Result<Self> {
        let whole: Value = serde_json::from_str(text).context("results.json is no JSON")?;
        let found = whole["found"].as_object().context("results.json has no `found`")?;
        Ok(Self {
            minutes: whole["minutes"].as_f64().context("results.json has no `minutes`")?,
            seeds: whole["seeds"].as_u64().context("results.json has no `seeds`")?,
            quick: whole["quick"].as_bool().context("results.json has no `quick`")?,
            found: found.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut results = Results::new(5.0, 2, true);
        assert!(results.of("run reader-0").is_null() && !results.has("run reader-0"));
        results.set("run reader-0", json!({ "steps": 4 }));
        assert_eq!(Results::read(&results.write().unwrap()).unwrap(), results);
        assert_eq!(results.of("run reader-0")["steps"], 4);
        assert!(Results::read("{}").is_err());
    }
}
