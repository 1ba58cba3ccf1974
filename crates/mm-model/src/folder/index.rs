//! The index of weights in several files, `model.safetensors.index.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::FileError;

/// The file that says where each weight is, where they are in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The names of the tensors by file.
pub(crate) type Index = BTreeMap<String, Vec<String>>;

/// The file as it is written; `metadata` and whatever else it holds are left alone.
#[derive(Deserialize)]
struct IndexFile {
    weight_map: WeightMap,
}

/// Tensor and file, with what a map would lose: a tensor that is named twice.
struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = WeightMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensors to files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(WeightMap(entries))
    }
}

/// Reads the contents of an index. Each tensor is named once, in a file of the same folder.
pub(crate) fn index_from_bytes(bytes: &[u8]) -> Result<Index, FileError> {
    let file: IndexFile =
        serde_json::from_slice(bytes).map_err(|why| FileError::malformed(INDEX, &why))?;
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut index = Index::new();
    for (name, found) in file.weight_map.0 {
        let inside = |part| matches!(part, Component::Normal(_));
        if found.is_empty() || !Path::new(&found).components().all(inside) {
            return Err(FileError::Outside { name, found });
        }
        if let Some(first) = files.insert(name.clone(), found.clone()) {
            return Err(FileError::NamedTwice { name, first, second: found });
        }
        index.entry(found).or_default().push(name);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refused(map: &str, wanted: &str) {
        let text = format!(r#"{{ "metadata": {{ "total_size": 8 }}, "weight_map": {map} }}"#);
        assert_eq!(index_from_bytes(text.as_bytes()).unwrap_err().to_string(), wanted);
    }

    #[test]
    fn an_index_names_each_tensor_once_and_in_the_folder() {
        let text = br#"{ "weight_map": { "b": "2.safetensors", "a": "1.safetensors", "c": "1.safetensors" } }"#;
        let index = index_from_bytes(text).unwrap();
        let files: Vec<_> =
            index.iter().map(|(file, names)| (file.as_str(), names.len())).collect();
        assert_eq!(files, [("1.safetensors", 2), ("2.safetensors", 1)]);
        check_refused(
            r#"{ "a": "1.safetensors", "a": "2.safetensors" }"#,
            "tensor `a` is named twice, in `1.safetensors` and in `2.safetensors`, wanted once",
        );
        for outside in ["../1.safetensors", "/etc/1.safetensors", "x/../../1.safetensors", ""] {
            check_refused(
                &format!(r#"{{ "a": "{outside}" }}"#),
                &format!("tensor `a` is in `{outside}`, wanted a file of this folder"),
            );
        }
        check_refused(
            "7",
            "not a valid model.safetensors.index.json file: found 7, wanted a map from tensors to files, at line 1 column 50",
        );
    }
}
