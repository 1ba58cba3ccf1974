//! What a published model is made into: our configuration, tokenizer and settings, and a plan for
//! every weight.
//!
//! A [`Kind`] makes an [`Imported`] of a [`Source`]. A [`WeightPlan`] says from which tensors a
//! weight is made. The plans are compared with the source and with the network before a byte is
//! written, and carried out one tensor at a time.

mod plan;
mod source;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mm_backbone::Init;
use mm_model::parameters::{Weight, Weights, shapes_of};
use mm_model::{ConfigError, FolderError, GenerationConfig, Model, ModelConfig};
use mm_text::{TextError, Tokenizer};

pub use plan::{Arrange, Origin, WeightPlan, gathered};
pub use source::{Source, Tensors};
pub use write::ImportProgress;

/// A kind of published model.
#[derive(Debug)]
pub struct Kind {
    /// The name of the kind.
    pub name: &'static str,
    /// The models that are known to be of this kind.
    pub models: &'static str,
    /// The library and the form of the files.
    pub form: &'static str,
    /// What `config.json` or `model_index.json` names the architecture.
    pub architectures: &'static [&'static str],
    /// Says whether a source that names no architecture is of this kind, such as a file of weights
    /// alone.
    pub claims: fn(&Source) -> bool,
    /// Reads the configuration and plans the weights.
    pub open: fn(&Source) -> Result<Imported, ImportError>,
}

/// A published model that is ready to be written as a model folder of ours.
#[derive(Debug)]
pub struct Imported {
    /// The configuration.
    pub config: ModelConfig,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The size of images and how they are drawn.
    pub generation: GenerationConfig,
    /// The sets of tensors that [`Origin::set`] counts.
    pub sets: Vec<Box<dyn Tensors>>,
    /// How each weight is made; one plan for each weight of the network.
    pub weights: Vec<WeightPlan>,
    /// Tensors that are left out on purpose, such as tables that are computed.
    pub ignored: fn(&str) -> bool,
}

/// A published model that cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file system refused; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file of the folder does not hold what it should.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No file says what the model is.
    #[error(
        "`{path}` holds {found}, wanted `config.json`, `model_index.json` or a file of weights of a known kind: {known}"
    )]
    NoConfig {
        /// The folder.
        path: PathBuf,
        /// The names of some of its files.
        found: String,
        /// The kinds that are known.
        known: String,
    },
    /// The folder is a model of this library.
    #[error("`{path}` is a model folder of mm, which every command reads as it is")]
    Own {
        /// The folder.
        path: PathBuf,
    },
    /// The architecture is none of those known.
    #[error("`{path}`: the architecture is `{found}`, wanted one of {known}")]
    UnknownArchitecture {
        /// The file that names it.
        path: PathBuf,
        /// The architecture.
        found: String,
        /// Those that are known.
        known: String,
    },
    /// A field of a configuration cannot be taken over.
    #[error("`{path}`: `{field}` is {found}, wanted {wanted}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The path of the field.
        field: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: String,
    },
    /// The weights are in a form that is not read.
    #[error("`{path}` is {found}, wanted {wanted}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The file is not of its format.
    #[error("`{path}`: not a valid {format} file: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        format: &'static str,
        /// The parser's words.
        why: String,
    },
    /// A tensor is not as the configuration asks for.
    #[error("`{path}`: tensor `{name}` is {found}, wanted {wanted}")]
    Tensor {
        /// The file, or the folder where no file has the tensor.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// The tokenizer cannot be used.
    #[error("`{path}`: {source}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TextError,
    },
    /// The sizes make no network.
    #[error("the sizes make no network: {0}")]
    Config(#[from] ConfigError),
    /// The plans of a kind do not cover the network. This is a mistake of this program.
    #[error("weight `{name}` of the network is planned as {found}, wanted {wanted}")]
    Plan {
        /// The weight.
        name: String,
        /// What is planned.
        found: String,
        /// What the network has.
        wanted: String,
    },
}

impl Imported {
    /// Compares the plans with the tensors of the source and with the weights of the network. Every
    /// tensor is used or ignored, and every weight is planned once.
    pub fn check(&self) -> Result<(), ImportError> {
        self.config.validate()?;
        for plan in &self.weights {
            for origin in &plan.from {
                origin.check(&*self.sets[origin.set])?;
            }
        }
        for (index, set) in self.sets.iter().enumerate() {
            self.check_unused(index, &**set)?;
        }
        let device = burn::prelude::Device::default();
        let shapes = shapes_of(&Model::drawn(&self.config, &mut Init::shapes(&device))?);
        let planned = |name: &str| self.weights.iter().filter(|plan| plan.name == name).count();
        for (name, shape) in &shapes {
            let found = self.weights.iter().find(|plan| plan.name == *name);
            if found.is_none_or(|plan| plan.shape != *shape) || planned(name) != 1 {
                let found = found.map_or("nothing".to_owned(), |plan| format!("{:?}", plan.shape));
                let (name, wanted) = (name.clone(), format!("{shape:?} once"));
                return Err(ImportError::Plan { name, found, wanted });
            }
        }
        match self.weights.iter().find(|plan| !shapes.contains_key(&plan.name)) {
            Some(plan) => {
                let (name, found) = (plan.name.clone(), format!("{:?}", plan.shape));
                Err(ImportError::Plan { name, found, wanted: "no such weight".to_owned() })
            }
            None => Ok(()),
        }
    }

    /// Makes every weight in memory as 32-bit floats, for small models and tests.
    pub fn all_weights(&mut self) -> Result<Weights, ImportError> {
        let mut made = Weights::new();
        for plan in &self.weights {
            let values = plan.values(&mut self.sets)?;
            made.insert(plan.name.clone(), Weight { shape: plan.shape.clone(), values });
        }
        Ok(made)
    }

    fn check_unused(&self, index: usize, set: &dyn Tensors) -> Result<(), ImportError> {
        let origins = self.weights.iter().flat_map(|plan| &plan.from);
        let used: BTreeSet<&str> = origins
            .filter(|origin| origin.set == index)
            .map(|origin| origin.name.as_str())
            .collect();
        let stray = |name: &String| !used.contains(name.as_str()) && !(self.ignored)(name);
        match set.names().into_iter().find(stray) {
            Some(name) => Err(ImportError::Tensor {
                path: set.home().to_owned(),
                found: set.shape(&name).map_or("absent".to_owned(), |shape| format!("{shape:?}")),
                name,
                wanted: "no tensor of this name in this architecture".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// Makes the error of a field.
pub fn wrong_field(
    path: &Path,
    field: &str,
    found: impl ToString,
    wanted: impl ToString,
) -> ImportError {
    ImportError::Field {
        path: path.to_owned(),
        field: field.to_owned(),
        found: found.to_string(),
        wanted: wanted.to_string(),
    }
}
