//! The models of `mm serve` and their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use burn::prelude::Device;
use mm_serve::ServedModel;

use crate::commands::export::web::name_of;
use crate::model;
use crate::terminal::{Failure, usage};

/// A model folder and the name under which it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub name: String,
    pub folder: PathBuf,
}

impl Named {
    /// Reads `DIR` or `NAME=DIR`. What exists as a folder is one, whatever its name holds.
    fn of(text: &str) -> Result<Self, Failure> {
        let named = text.split_once('=').filter(|_| !Path::new(text).exists());
        let Some((name, folder)) = named else {
            let folder = PathBuf::from(text);
            return Ok(Self { name: name_of(&folder), folder });
        };
        let fine = |letter: char| letter.is_alphanumeric() || "-_.:".contains(letter);
        if name.is_empty() || !name.chars().all(fine) {
            return Err(usage!(
                "`{text}` names a model `{name}`, wanted letters, digits and the signs - _ . :"
            ));
        }
        Ok(Self { name: name.to_owned(), folder: folder.into() })
    }

    /// Opens the folder.
    pub fn load(&self, device: &Device) -> Result<ServedModel, Failure> {
        let model = model::load(&self.folder, device)?;
        let network = &model.config.network;
        if network.codec().is_some() || network.latent().is_some() {
            let what = if network.codec().is_some() { "a codec" } else { "a model of latents" };
            let folder = self.folder.display();
            return Err(usage!("`{folder}` is {what}, wanted a model of patches, codes or bytes"));
        }
        let written = fs_err::metadata(self.folder.join("model.safetensors"))
            .or_else(|_| fs_err::metadata(self.folder.join("config.json")))
            .and_then(|file| file.modified());
        let since = written.ok().and_then(|written| written.duration_since(UNIX_EPOCH).ok());
        let created = since.map_or(0, |since| since.as_secs());
        Ok(ServedModel { name: self.name.clone(), created, model: Arc::new(model) })
    }
}

/// Reads the models of a command; equal names are refused.
pub(super) fn named(texts: &[String]) -> Result<Vec<Named>, Failure> {
    let mut models: Vec<Named> = vec![];
    let mut folders = BTreeMap::new();
    for text in texts {
        let model = Named::of(text)?;
        if let Some(other) = folders.insert(model.name.clone(), model.folder.clone()) {
            let (name, folder) = (&model.name, model.folder.display());
            return Err(usage!("`{}` and `{folder}` are both named `{name}`", other.display())
                .hint(format!("another-name={folder} gives one of them a name of its own")));
        }
        models.push(model);
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Result<Vec<String>, Failure> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        named(&texts).map(|models| models.into_iter().map(|model| model.name).collect())
    }

    #[test]
    fn a_model_is_named_after_its_folder() {
        let found = names(&["runs/glyphs/model", "runs/dialogue/step-9", "x=runs/glyphs/model"]);
        assert_eq!(found.unwrap(), ["glyphs", "step-9", "x"]);
    }

    #[test]
    fn equal_names_are_refused() {
        assert_eq!(names(&["a/model", "b/a"]).unwrap_err().code(), 2);
        assert_eq!(names(&["=a"]).unwrap_err().code(), 2);
        assert_eq!(names(&["a b=a"]).unwrap_err().code(), 2);
    }
}
