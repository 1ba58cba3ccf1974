//! Drawing an image of codes with the cache: one after another, one call of the network a code, or
//! several at once at places that are masked.

#[cfg(test)]
mod tests;

use burn::prelude::*;
use mm_patch::Grid;
use mm_text::{TokenSampling, sample_token};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::host::logits_of;
use super::options::GenerateOptions;
use super::pass::ints;
use super::session::GenerationSession;
use crate::GenerateError;
use crate::masks::{shuffled, unmasking};
use crate::networks::Coded;

impl GenerationSession<'_> {
    /// Draws the image of `grid` that comes next in every row, whose codes become part of it:
    /// `[rows, patches, patch_dim]`. A code is drawn at temperature 1 unless the options ask for
    /// another one; each row takes its random numbers from its own stream.
    pub(super) async fn draw_codes(
        &mut self,
        network: &Coded,
        grid: Grid,
        options: &GenerateOptions,
        mut streams: Vec<ChaCha8Rng>,
    ) -> Result<Tensor<3>, GenerateError> {
        if options.guidance.scale != 1.0 {
            return Err(GenerateError::NoGuidance);
        }
        let rows = self.rows();
        assert_eq!(streams.len(), rows, "one stream of random numbers a row");
        let own = options.tokens.temperature;
        let temperature = if own == 0.0 { 1.0 } else { own };
        let tokens = TokenSampling { temperature, ..options.tokens };
        let drawn = match network.mask() {
            Some(mask) => {
                let steps = options.steps;
                self.unmask(network, Unmasking { mask, grid, steps }, &tokens, &mut streams).await?
            }
            None => self.write_codes(network, grid, &tokens, &mut streams).await?,
        };
        let codes = TensorData::new(drawn.concat(), [rows, drawn[0].len()]);
        Ok(network.patches_of(Tensor::from_data(codes, &network.device()), grid))
    }

    /// Writes the codes of one image a row one after another, and returns them in reading order.
    async fn write_codes(
        &mut self,
        network: &Coded,
        grid: Grid,
        tokens: &TokenSampling,
        streams: &mut [ChaCha8Rng],
    ) -> Result<Vec<Vec<i32>>, GenerateError> {
        let rows = self.rows();
        let layout = network.layout();
        let places = self.place_image(layout, grid);
        let items = layout.items(grid);
        let mut drawn: Vec<Vec<i32>> = vec![vec![0; items.len()]; rows];
        for (place, &item) in items.iter().enumerate() {
            let logits = logits_of(network.code_logits(self.last_hidden())).await?;
            let next: Vec<u32> = logits
                .iter()
                .zip(&mut *streams)
                .map(|(logits, rng)| sample_token(logits, tokens, rng.random::<f64>()))
                .collect();
            for (row, code) in drawn.iter_mut().zip(&next) {
                row[item] = *code as i32;
            }
            let ids: Vec<u32> =
                next.iter().map(|code| code + network.first_code() as u32).collect();
            let at = places.iter().map(|row| row[place]).collect();
            self.push_at(&ids, at);
        }
        Ok(drawn)
    }

    /// Draws the codes of one image a row in a few steps, and returns them in reading order. Each
    /// step draws some of those that are masked, behind all that are not; the last appends the
    /// image to every row.
    async fn unmask(
        &mut self,
        network: &Coded,
        how: Unmasking,
        tokens: &TokenSampling,
        streams: &mut [ChaCha8Rng],
    ) -> Result<Vec<Vec<i32>>, GenerateError> {
        let Unmasking { mask, grid, steps } = how;
        let cells = grid.tokens();
        let orders: Vec<Vec<usize>> = streams.iter_mut().map(|rng| shuffled(cells, rng)).collect();
        let places = self.place_image(network.layout(), grid);
        let mut ids = vec![vec![mask; cells]; orders.len()];
        for step in unmasking(cells, steps) {
            let logits = self.image_output(&ids, &places, grid); // [rows * cells, codes]
            let masked = orders.iter().enumerate().flat_map(|(row, order)| {
                order[step.clone()].iter().map(move |cell| (row * cells + cell) as i32)
            });
            let logits = logits.select(0, ints(masked.collect(), &network.device()));
            let mut logits = logits_of(logits).await?.into_iter();
            for ((ids, order), rng) in ids.iter_mut().zip(&orders).zip(&mut *streams) {
                for (&cell, logits) in order[step.clone()].iter().zip(&mut logits) {
                    let code = sample_token(&logits, tokens, rng.random::<f64>());
                    ids[cell] = code + network.first_code() as u32;
                }
            }
        }
        self.push_codes(&ids, &places);
        let code = |id: &u32| *id as i32 - network.first_code() as i32;
        Ok(ids.iter().map(|row| row.iter().map(code).collect()).collect())
    }
}

/// How the codes of an image are drawn that are masked at first.
struct Unmasking {
    /// The token id of a masked code.
    mask: u32,
    /// The places of the codes.
    grid: Grid,
    /// The number of steps, each a call of the network.
    steps: usize,
}
