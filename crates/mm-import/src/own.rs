//! A model of ours that came back from Python: what [`hf`](crate::hf) writes, trained on there and
//! saved by `save_pretrained`.
//!
//! Names and shapes of all weights are ours. `config.json` holds our configuration as `network`,
//! and how images are drawn as `generation`.

use burn::prelude::Device;
use mm_backbone::Init;
use mm_model::parameters::shapes_of;
use mm_model::{GenerationConfig, Model, ModelConfig, plain_words};
use mm_text::Tokenizer;
use serde_json::Value;

use crate::published::{ImportError, Imported, Kind, Source, WeightPlan, wrong_field};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// The kind.
pub const KIND: Kind = Kind {
    name: "mm",
    models: "what `mm export hf` wrote, trained on in PyTorch",
    form: "transformers, `save_pretrained` of the model and of the tokenizer",
    architectures: &["MmModel"],
    claims: |_| false, // it names its architecture
    open,
};

/// Reads the configuration and plans the weights.
pub fn open(source: &Source) -> Result<Imported, ImportError> {
    let file = source.json(CONFIG)?;
    let wrong = |field: &'static str| {
        move |why: serde_json::Error| {
            let (why, wanted) = (plain_words(&why.to_string()), "what `mm export hf` writes there");
            wrong_field(&source.file(CONFIG), field, format!("wrong ({why})"), wanted)
        }
    };
    let config = serde_json::from_value::<ModelConfig>(file["network"].clone());
    let config = config.map_err(wrong("network"))?;
    let generation = serde_json::from_value::<GenerationConfig>(file["generation"].clone());
    let generation = generation.map_err(wrong("generation"))?;
    if !source.has(TOKENIZER) {
        let (path, found) = (source.file(TOKENIZER), "not there".to_owned());
        let wanted = "the file of the folder that `mm export hf` wrote";
        return Err(ImportError::Form { path, found, wanted });
    }
    let mut tokenizer = source.json(TOKENIZER)?;
    // What Python adds when it saves; our documents bring their own marks, lengths and padding.
    for added in ["post_processor", "truncation", "padding"] {
        tokenizer[added] = Value::Null;
    }
    let tokenizer = Tokenizer::from_json(tokenizer.to_string().as_bytes());
    let tokenizer = tokenizer
        .map_err(|why| ImportError::Tokenizer { path: source.file(TOKENIZER), source: why })?;
    config.validate()?;
    let model = Model::drawn(&config, &mut Init::shapes(&Device::default()))?;
    let weights = shapes_of(&model)
        .into_iter()
        .map(|(name, shape)| WeightPlan::same(name.clone(), name, &shape))
        .collect();
    let sets = vec![source.tensors("", "model")?];
    Ok(Imported { config, tokenizer, generation, sets, weights, ignored: |_| false })
}
