//! Weights under the names of Su's Keras network (Su Jianlin, ddpm-gau.py, with the layers of
//! bert4keras).
//!
//! | ours | Keras's | shape |
//! | --- | --- | --- |
//! | `patch_in.weight` | `patch_in/kernel:0` | `[numbers, width]` |
//! | `time.table` | `time/embeddings:0` | `[steps, width]` |
//! | `backbone.blocks.I.norm.gamma` | `norm_I/gamma:0` | `[width]` |
//! | `….in_proj` | `gau_I/dense` | `[width, 2 expanded + key]`, `[2 expanded + key]` |
//! | `….query`, `….key` | `gau_I/scale_offset`, `gau_I/scale_offset_1` | `[key]` each |
//! | `….out_proj` | `gau_I/dense_1` | `[expanded, width]`, `[width]` |
//! | `backbone.norm.gamma` | `norm_out/gamma:0` | `[width]` |
//! | `patch_out.weight` | `patch_out/kernel:0` | `[width, numbers]` |
//!
//! Su's network knows images alone, so the model that is read has no text side. Token
//! embeddings of a model that has one have no counterpart and are left out when it is written.
//! Bytes in, bytes out: no file is touched here.

mod sizes;

use std::collections::BTreeMap;
use std::fmt;

use mm_backbone::{BlockConfig, GauConfig};
use mm_diffusion::{Prediction, Schedule};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use mm_model::parameters::{Weight, Weights};
use mm_model::{ConfigError, ModelConfig, NetworkConfig, TimeConfig};
pub use sizes::Su2024Sizes;

/// What a golden file puts before the names of its weights.
const PREFIX: &str = "w/";
/// What it puts before the names of everything else.
const BESIDE: [&str; 3] = ["in/", "out/", "grad/"];
/// Our weights that Keras's network has no place for and does not need.
const TEXT_SIDE: [&str; 2] = ["token_embed", "token_out.weight"];

/// A weight under both names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The path of ours.
    pub ours: String,
    /// Keras's name, without a prefix.
    pub keras: String,
    /// The shape, the same in both.
    pub shape: Vec<usize>,
}

/// A tensor that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Keras's name.
    pub name: String,
    /// What the file holds.
    pub found: String,
    /// What the network needs.
    pub wanted: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: found {}, wanted {}", self.name, self.found, self.wanted)
    }
}

/// Weights that cannot be read or written under Keras's names.
#[derive(Debug, thiserror::Error)]
pub enum KerasError {
    /// The bytes are no safetensors file.
    #[error("not a valid safetensors file: {0}")]
    Malformed(#[from] safetensors::SafeTensorError),
    /// The file holds other tensors than the network has.
    #[error("{} of the tensors do not fit the network{}", .0.len(), lines(.0))]
    Misfits(Vec<Misfit>),
    /// The sizes make no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model is no network of Su's kind.
    #[error("`{field}` is {found}, Su's network has {wanted}")]
    OtherNetwork {
        /// The field of the configuration.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What Su's network has.
        wanted: String,
    },
    /// A weight has no counterpart in Keras's network, which would not be the same without it.
    #[error("weight `{name}` has no counterpart in Su's network")]
    NoCounterpart {
        /// Its path.
        name: String,
    },
}

fn lines(misfits: &[Misfit]) -> String {
    misfits.iter().map(|misfit| format!("\n  {misfit}")).collect()
}

/// Reads a file's weights, with or without the prefix `w/`; the sizes are those of the tensors, but
/// for the patch.
///
/// With the prefix, `in/`, `out/` and `grad/` are passed over: a golden file holds more than
/// weights. Whatever is unknown, missing, of another shape or type or not finite is told at once.
pub fn read(bytes: &[u8], patch: usize) -> Result<(ModelConfig, Weights), KerasError> {
    let file = SafeTensors::deserialize(bytes)?;
    let (tensors, strays) = weights_in(&file);
    let shapes = tensors.iter().map(|(name, view)| (name.as_str(), view.shape())).collect();
    let sizes = Su2024Sizes::of_shapes(&shapes, patch);
    let mut misfits = vec![];
    let mut weights = Weights::new();
    let rows = sizes.rows();
    for row in &rows {
        match weight(row, tensors.get(&row.keras)) {
            Ok(weight) => {
                weights.insert(row.ours.clone(), weight);
            }
            Err(misfit) => misfits.push(misfit),
        }
    }
    let unknown = tensors.iter().filter(|(name, _)| rows.iter().all(|row| row.keras != **name));
    misfits.extend(unknown.map(|(name, view)| Misfit {
        name: name.clone(),
        found: format!("{:?}", view.shape()),
        wanted: "no tensor of this name".to_owned(),
    }));
    misfits.extend(strays);
    if !misfits.is_empty() {
        return Err(KerasError::Misfits(misfits));
    }
    let config = sizes.config();
    config.validate()?;
    Ok((config, weights))
}

/// The weight of a row, or what is wrong with its tensor.
fn weight(row: &Row, tensor: Option<&TensorView<'_>>) -> Result<Weight, Misfit> {
    let shape = || format!("{:?}", row.shape);
    let misfit = |found: String, wanted: String| Misfit { name: row.keras.clone(), found, wanted };
    let view = match tensor {
        None => return Err(misfit("none".to_owned(), shape())),
        Some(view) if view.dtype() != Dtype::F32 => {
            let found = format!("{:?} {:?}", view.dtype(), view.shape());
            return Err(misfit(found, format!("F32 {}", shape())));
        }
        Some(view) if view.shape() != row.shape => {
            return Err(misfit(format!("{:?}", view.shape()), shape()));
        }
        Some(view) => view,
    };
    let numbers = view.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
    let values: Vec<f32> = numbers.collect();
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(misfit(format!("{value} among its numbers"), "finite ones".to_owned())),
        None => Ok(Weight { shape: row.shape.clone(), values }),
    }
}

/// Writes weights under Keras's names without a prefix. Returns the file and the weights that have
/// no counterpart there: those of a text side.
pub fn write(
    config: &ModelConfig,
    weights: &Weights,
) -> Result<(Vec<u8>, Vec<String>), KerasError> {
    let rows = rows(config)?;
    let mut left_out = vec![];
    for name in weights.keys() {
        if TEXT_SIDE.contains(&name.as_str()) {
            left_out.push(name.clone());
        } else if rows.iter().all(|row| row.ours != *name) {
            return Err(KerasError::NoCounterpart { name: name.clone() });
        }
    }
    let bytes: Vec<(&Row, Vec<u8>)> = rows
        .iter()
        .map(|row| {
            let weight = weights
                .get(&row.ours)
                .ok_or_else(|| KerasError::NoCounterpart { name: row.ours.clone() })?;
            Ok((row, weight.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        })
        .collect::<Result<_, KerasError>>()?;
    let views = bytes
        .iter()
        .map(|(row, bytes)| {
            Ok((row.keras.as_str(), TensorView::new(Dtype::F32, row.shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, KerasError>>()?;
    let metadata = [("format".to_owned(), "keras-ddpm".to_owned())].into();
    Ok((safetensors::serialize(views, Some(metadata))?, left_out))
}

/// Every weight of a network of Su's kind under both names; the error names what is not of
/// that kind.
pub fn rows(config: &ModelConfig) -> Result<Vec<Row>, KerasError> {
    let other = |field, found: String, wanted: &str| {
        Err(KerasError::OtherNetwork { field, found, wanted: wanted.to_owned() })
    };
    let NetworkConfig::Unified(network) = &config.network else {
        return other("unet", "given".to_owned(), "none");
    };
    let backbone = &network.backbone;
    let BlockConfig::Gau(GauConfig { expansion, key_size, bias }) = backbone.block else {
        return other("backbone.block", "multi-head".to_owned(), "gau");
    };
    let TimeConfig::Table { steps } = config.time else {
        return other("time", format!("{:?}", config.time), "a table");
    };
    let (patch, width, depth) = (config.patch, backbone.width, backbone.depth);
    let sizes =
        Su2024Sizes { patch, width, depth, expanded: expansion * width, key_size, bias, steps };
    let (seed, su) = (sizes.config(), sizes.network());
    let pairs = [
        ("patch_bias", network.patch_bias.to_string(), su.patch_bias.to_string()),
        ("patch_pos_embed", network.patch_pos_embed.to_string(), su.patch_pos_embed.to_string()),
        (
            "patch_convolution",
            network.patch_convolution.to_string(),
            su.patch_convolution.to_string(),
        ),
        ("prediction", name_of(config.prediction), name_of(seed.prediction)),
        ("schedule", schedule_of(config.schedule), schedule_of(seed.schedule)),
        (
            "backbone.positions",
            format!("{:?}", backbone.positions),
            format!("{:?}", su.backbone.positions),
        ),
        (
            "backbone.rotary_base",
            backbone.rotary_base.to_string(),
            su.backbone.rotary_base.to_string(),
        ),
        (
            "backbone.norm_epsilon",
            format!("{:e}", backbone.norm_epsilon),
            format!("{:e}", su.backbone.norm_epsilon),
        ),
    ];
    match pairs.into_iter().find(|(_, found, wanted)| found != wanted) {
        Some((field, found, wanted)) => Err(KerasError::OtherNetwork { field, found, wanted }),
        None => Ok(sizes.rows()),
    }
}

/// Turns the colors of every pixel around, red for blue, in the maps from and to patches. The seed
/// reads images with cv2, which gives blue first; doing this twice changes nothing.
pub fn swap_red_and_blue(weights: &mut Weights) {
    for (name, inputs) in [("patch_in.weight", true), ("patch_out.weight", false)] {
        let Some(weight) = weights.get_mut(name) else { continue };
        let &[rows, cols] = weight.shape.as_slice() else { continue };
        let old = weight.values.clone();
        let turned = |at: usize| at - at % 3 + 2 - at % 3;
        for row in 0..rows {
            for col in 0..cols {
                let from = if inputs { [turned(row), col] } else { [row, turned(col)] };
                weight.values[row * cols + col] = old[from[0] * cols + from[1]];
            }
        }
    }
}

/// A file's tensors by Keras's name, and those whose names a file of this kind does not have.
/// `NAME` is taken for `NAME:0`.
fn weights_in<'a>(file: &'a SafeTensors<'a>) -> (BTreeMap<String, TensorView<'a>>, Vec<Misfit>) {
    let mut all = file.tensors();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let prefixed = all.iter().any(|(name, _)| name.starts_with(PREFIX));
    let (mut own, mut strays) = (BTreeMap::new(), vec![]);
    for (name, view) in all {
        let short = if prefixed { name.strip_prefix(PREFIX) } else { Some(name.as_str()) };
        let shape = format!("{:?}", view.shape());
        let stray =
            |wanted: &str| Misfit { name: name.clone(), found: shape, wanted: wanted.into() };
        let Some(short) = short else {
            if !BESIDE.iter().any(|start| name.starts_with(start)) {
                strays.push(stray("no name without `w/` but of `in/`, `out/` or `grad/`"));
            }
            continue;
        };
        let keras = if short.contains(':') { short.to_owned() } else { format!("{short}:0") };
        if own.insert(keras, view).is_some() {
            strays.push(stray("a name once, with `:0` or without"));
        }
    }
    (own, strays)
}

fn name_of(prediction: Prediction) -> String {
    format!("{prediction:?}").to_lowercase()
}

fn schedule_of(schedule: Schedule) -> String {
    format!("{schedule:?}")
}

#[cfg(test)]
mod tests;
