//! Drawing an image code by code, with the cache; one call of the network a code.

use burn::prelude::*;
use mm_patch::Grid;
use mm_text::{TokenSampling, sample_token};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::host::logits_of;
use super::options::GenerateOptions;
use super::session::GenerationSession;
use crate::GenerateError;
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
        let layout = network.layout();
        let places = self.place_image(layout, grid);
        let items = layout.items(grid);
        let mut drawn: Vec<Vec<i32>> = vec![vec![0; items.len()]; rows];
        for (place, &item) in items.iter().enumerate() {
            let logits = logits_of(network.code_logits(self.last_hidden())).await?;
            let next: Vec<u32> = logits
                .iter()
                .zip(&mut streams)
                .map(|(logits, rng)| sample_token(logits, &tokens, rng.random::<f64>()))
                .collect();
            for (row, code) in drawn.iter_mut().zip(&next) {
                row[item] = *code as i32;
            }
            let ids: Vec<u32> =
                next.iter().map(|code| code + network.first_code() as u32).collect();
            let at = places.iter().map(|row| row[place]).collect();
            self.push_at(&ids, at);
        }
        let codes = TensorData::new(drawn.concat(), [rows, items.len()]);
        Ok(network.patches_of(Tensor::from_data(codes, &network.device()), grid))
    }
}
