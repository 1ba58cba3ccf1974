//! The batches of a run: the documents of a step, cut into micro-batches.

use burn::module::Module;
use mm_codec::KlAutoencoder;
use mm_data::{DataSet, DocumentSampler, Numbered, SamplerConfig};
use mm_model::{Collator, Document, HostBatch, Model, ModelConfig};
use mm_text::Tokenizer;

use crate::TrainError;
use crate::recipe::{Recipe, RunConfig};

/// Makes the batches of a run, or one rank's share of them.
#[derive(Debug)]
pub struct Batches<'a> {
    recipe: &'a Recipe,
    config: ModelConfig,
    sampler: DocumentSampler<'a>,
    tokenizer: &'a Tokenizer,
    /// What encodes images, where the network knows latents.
    encoder: Option<KlAutoencoder>,
}

impl<'a> Batches<'a> {
    /// Batches of `recipe` over `data`.
    pub fn new(recipe: &'a Recipe, data: &'a DataSet, tokenizer: &'a Tokenizer) -> Self {
        let sampler = SamplerConfig {
            mix: recipe.mix.clone(),
            seed: recipe.seed,
            steps: recipe.run.steps,
            batch: recipe.run.batch,
            image_only: recipe.vocab == 0 && recipe.model.network.classes().is_none(),
        };
        Self {
            recipe,
            config: recipe.model_config(tokenizer.vocab()),
            sampler: DocumentSampler::new(sampler, data),
            tokenizer,
            encoder: None,
        }
    }

    /// Makes batches that `model` can be trained on: images are encoded by its codec, if it knows
    /// latents. Batches that are only counted need no model.
    #[must_use]
    pub fn of_model(self, model: &Model) -> Self {
        Self { encoder: model.encoder().map(Module::valid), ..self }
    }

    /// Restricts the batches to one rank's share of every step's documents.
    pub fn of_rank(self, rank: usize, ranks: usize) -> Result<Self, TrainError> {
        let batch = self.recipe.run.batch;
        if rank >= ranks || ranks > batch {
            return Err(TrainError::Ranks { rank, ranks, batch });
        }
        Ok(Self { sampler: self.sampler.of_rank(rank, ranks), ..self })
    }

    /// Returns the micro-batches of one step.
    pub fn batch(&mut self, step: u64) -> Result<Vec<HostBatch>, TrainError> {
        let documents = self.sampler.documents(step)?;
        let documents = documents.into_iter().map(|one| (one.document, one.index)).collect();
        let collator = collator(self.recipe, &self.config, self.tokenizer, self.encoder.as_ref());
        micro_batches(&self.recipe.run, &collator, documents, step)
    }

    /// Returns the documents of one step, each with its index in the step.
    pub fn documents(&mut self, step: u64) -> Result<Vec<Numbered>, TrainError> {
        Ok(self.sampler.documents(step)?)
    }
}

/// Cuts documents, each with its index in the step, into the recipe's number of micro-batches.
pub(crate) fn micro_batches(
    run: &RunConfig,
    collator: &Collator<'_>,
    documents: Vec<(Document, u64)>,
    step: u64,
) -> Result<Vec<HostBatch>, TrainError> {
    let wanted = run.micro_batches.saturating_mul(run.grad_accum_steps);
    let (count, parts) = (documents.len(), wanted.min(documents.len()));
    let mut documents = documents.into_iter();
    (0..parts)
        .map(|part| {
            let share = (part + 1) * count / parts - part * count / parts;
            Ok(collator.batch(documents.by_ref().take(share), step)?)
        })
        .collect()
}

/// The collator of a recipe. `encoder` is what encodes images, where the network knows latents:
/// [`Model::encoder`].
pub fn collator<'a>(
    recipe: &Recipe,
    config: &'a ModelConfig,
    tokenizer: &'a Tokenizer,
    encoder: Option<&'a KlAutoencoder>,
) -> Collator<'a> {
    Collator {
        tokenizer,
        config,
        process: recipe.forward_process(),
        pack_len: recipe.run.pack_len,
        seed: recipe.seed,
        encoder,
    }
}
