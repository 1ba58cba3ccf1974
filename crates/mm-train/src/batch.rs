//! The batches of a run: the documents of a step, cut into micro-batches.

use mm_data::{DataSet, DocumentSampler, Numbered, SamplerConfig};
use mm_model::{Collator, Document, HostBatch, ModelConfig};
use mm_text::Tokenizer;

use crate::TrainError;
use crate::recipe::Recipe;

/// Makes the batches of a run, or one rank's share of them.
#[derive(Debug)]
pub struct Batches<'a> {
    recipe: &'a Recipe,
    config: ModelConfig,
    sampler: DocumentSampler<'a>,
    tokenizer: &'a Tokenizer,
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
        }
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
        micro_batches(self.recipe, &self.config, self.tokenizer, documents, step)
    }

    /// Returns the documents of one step, each with its index in the step.
    pub fn documents(&mut self, step: u64) -> Result<Vec<Numbered>, TrainError> {
        Ok(self.sampler.documents(step)?)
    }
}

/// Cuts documents, each with its index in the step, into the recipe's number of micro-batches.
pub(crate) fn micro_batches(
    recipe: &Recipe,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    documents: Vec<(Document, u64)>,
    step: u64,
) -> Result<Vec<HostBatch>, TrainError> {
    let collator = collator(recipe, config, tokenizer);
    let wanted = recipe.run.micro_batches.saturating_mul(recipe.run.grad_accum_steps);
    let (count, parts) = (documents.len(), wanted.min(documents.len()));
    let mut documents = documents.into_iter();
    (0..parts)
        .map(|part| {
            let share = (part + 1) * count / parts - part * count / parts;
            Ok(collator.batch(documents.by_ref().take(share), step)?)
        })
        .collect()
}

/// The collator of a recipe.
pub fn collator<'a>(
    recipe: &Recipe,
    config: &'a ModelConfig,
    tokenizer: &'a Tokenizer,
) -> Collator<'a> {
    Collator {
        tokenizer,
        config,
        process: recipe.forward_process(),
        pack_len: recipe.run.pack_len,
        seed: recipe.seed,
    }
}
