//! What a stack costs: trained numbers, arithmetic, and the memory that the fused kernels of the
//! CPU take to train it.

use mm_kernels::WorkArrays;

use crate::{BackboneConfig, BlockConfig, GauConfig, MultiHeadConfig};

impl BackboneConfig {
    /// Counts the numbers that are learned. They are counted in 64-bit floats, which hold every
    /// count that fits a machine exactly, so that sizes without sense give the largest number and
    /// no overflow.
    pub fn parameters(&self) -> usize {
        let [width, depth, skips, modulations] =
            [self.width, self.depth, self.skips(), self.modulations()].map(|size| size as f64);
        let block = match self.block {
            BlockConfig::Gau(GauConfig { expansion, key_size, bias }) => {
                let (expanded, key_size) = (expansion as f64 * width, key_size as f64);
                let projected = 2.0 * expanded + key_size;
                let biases = if bias { projected + 2.0 * key_size + width } else { 0.0 };
                width + width * projected + 2.0 * key_size + expanded * width + biases
            }
            BlockConfig::MultiHead(MultiHeadConfig { heads, feed_forward, .. })
                if self.block.is_persimmon() =>
            {
                let (head, inner) = ((self.width / heads) as f64, feed_forward as f64);
                let matrices = 4.0 * width * width + 2.0 * width * inner;
                matrices + (3.0 + 1.0 + 1.0 + 4.0) * width + inner + 4.0 * head
            }
            BlockConfig::MultiHead(MultiHeadConfig { heads, key_heads, feed_forward, .. }) => {
                let head = (self.width / heads) as f64;
                let [heads, key_heads, inner] = [heads, key_heads, feed_forward].map(|n| n as f64);
                let norms = 2.0 * width + 2.0 * head;
                norms + width * (2.0 * heads + 2.0 * key_heads) * head + 3.0 * width * inner
            }
        };
        let skips = skips * (2.0 * width + 1.0) * width;
        let norm = if self.block.is_persimmon() { 2.0 * width } else { width };
        (depth * block + norm + skips + modulations * (width + 1.0) * width) as usize
    }

    /// Counts the numbers of one block's matrices, which is what a token is multiplied with.
    pub fn matrices(&self) -> usize {
        let width = self.width;
        match self.block {
            BlockConfig::Gau(GauConfig { expansion, key_size, .. }) => {
                width * (2 * expansion * width + key_size) + expansion * width * width
            }
            BlockConfig::MultiHead(MultiHeadConfig { heads, key_heads, feed_forward, .. }) => {
                let into = if self.block.is_persimmon() { 1 } else { 2 };
                width * (heads + 2 * key_heads) * (width / heads)
                    + width * width
                    + (into + 1) * width * feed_forward
            }
        }
    }

    /// Counts multiplications and additions of one forward pass over `tokens` tokens that all see
    /// each other; a training step costs three times as much.
    pub fn flops(&self, tokens: usize) -> u64 {
        self.flops_of(tokens as f64, (tokens * tokens) as f64) as u64
    }

    /// Counts multiplications and additions of one forward pass over `tokens` tokens with `pairs`
    /// pairs of a query and a key that it may attend; a training step costs three times as much.
    pub fn flops_of(&self, tokens: f64, pairs: f64) -> f64 {
        let channels = match &self.block {
            BlockConfig::Gau(gau) => gau.key_size + gau.expansion * self.width,
            BlockConfig::MultiHead(_) => 2 * self.width,
        };
        let blocks = tokens * self.matrices() as f64 + pairs * channels as f64;
        let square = (self.width * self.width) as f64;
        let skips = tokens * 2.0 * square * self.skips() as f64;
        let modulations = square * self.modulations() as f64; // once for all tokens of an image
        2.0 * (self.depth as f64 * blocks + skips + modulations)
    }

    /// Counts the numbers that the key-value cache holds for one token.
    pub fn cache_numbers_per_token(&self) -> usize {
        let block = match &self.block {
            BlockConfig::Gau(gau) => gau.key_size + gau.expansion * self.width,
            BlockConfig::MultiHead(config) => 2 * config.key_heads * (self.width / config.heads),
        };
        self.depth * block
    }

    /// Counts the arrays that the fused kernels of the CPU take to train one block.
    pub fn work_arrays(&self) -> WorkArrays {
        let width = self.width;
        match self.block {
            BlockConfig::Gau(GauConfig { expansion, key_size, .. }) => {
                WorkArrays::gau(width, expansion * width, key_size)
            }
            BlockConfig::MultiHead(MultiHeadConfig { heads, key_heads, feed_forward, .. }) => {
                WorkArrays::multi_head(width, heads, key_heads, feed_forward)
            }
        }
    }

    /// Counts the long skip connections of the stack.
    pub(crate) fn skips(&self) -> usize {
        if self.block.has_skips() { self.depth / 2 } else { 0 }
    }

    /// Counts the vectors of `width` that modulate a token, in all blocks and the final norm.
    pub(crate) fn modulations(&self) -> usize {
        if !self.block.is_conditioned() {
            return 0;
        }
        self.depth.saturating_mul(6).saturating_add(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backbone, Init, MultiHeadVariant, PositionScheme};
    use burn::module::Module;
    use burn::prelude::Device;

    const VARIANTS: [MultiHeadVariant; 4] = [
        MultiHeadVariant::Plain,
        MultiHeadVariant::Uvit,
        MultiHeadVariant::Dit,
        MultiHeadVariant::Persimmon,
    ];

    fn gau() -> BackboneConfig {
        BackboneConfig {
            width: 768,
            depth: 24,
            block: BlockConfig::Gau(GauConfig { expansion: 2, key_size: 128, bias: true }),
            positions: PositionScheme::Halves,
            rotary_base: 1000.0,
            norm_epsilon: 1e-7,
        }
    }

    #[test]
    fn parameters_are_counted_as_they_are_made() {
        let (heads, key_heads, feed_forward) = (4, 2, 40);
        let mut blocks = vec![
            BlockConfig::Gau(GauConfig { expansion: 2, key_size: 8, bias: true }),
            BlockConfig::Gau(GauConfig { expansion: 3, key_size: 8, bias: false }),
        ];
        for variant in VARIANTS {
            let key_heads = if variant == MultiHeadVariant::Persimmon { heads } else { key_heads };
            let config = MultiHeadConfig { variant, heads, key_heads, feed_forward };
            blocks.push(BlockConfig::MultiHead(config));
        }
        for block in blocks {
            let config = BackboneConfig { width: 32, depth: 5, block, ..gau() };
            let mut init = Init::new(0, &Device::flex());
            let made = Backbone::new(&config, &mut init).unwrap().num_params();
            assert_eq!(config.parameters(), made, "{config:?}");
        }
    }

    #[test]
    fn sizes_without_sense_are_counted_without_overflow() {
        let huge = usize::MAX;
        let multi_head = |variant, heads, feed_forward| {
            BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads: 1, feed_forward })
        };
        for block in [
            BlockConfig::Gau(GauConfig { expansion: huge, key_size: 4, bias: true }),
            multi_head(MultiHeadVariant::Dit, 1, huge),
        ] {
            let config = BackboneConfig { width: 1 << 62, depth: huge, block, ..gau() };
            assert_eq!((config.validate(), config.parameters()), (Ok(()), huge));
        }
        let heads = multi_head(MultiHeadVariant::Plain, huge, 1);
        assert!(BackboneConfig { block: heads, ..gau() }.validate().is_err());
    }

    #[test]
    fn the_network_of_su_2024_costs_about_fifty_gflop_for_256_tokens() {
        let gflop = gau().flops(256) as f64 / 1e9;
        assert!((45.0..55.0).contains(&gflop), "{gflop}");
        assert_eq!(gau().cache_numbers_per_token(), 39_936);
    }
}
