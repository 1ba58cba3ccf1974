//! What an encoder and a decoder compute of one image, counted from their sizes alone.

use crate::{AutoencoderSizes, CodecConfig, CodecError};

/// What one image costs in training.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CodecWork {
    /// The numbers of the weights of the encoder and the decoder; a codebook, a
    /// discriminator and queries are not counted.
    pub parameters: f64,
    /// The floating point operations of the convolutions and products of a forward pass; a backward
    /// pass takes twice as many.
    pub flops: f64,
    /// The numbers that a forward pass keeps for the backward pass.
    pub kept: f64,
}

/// What a group norm keeps of each of its inputs: the centered, the divided and the scaled number.
const KEPT_BY_NORM: f64 = 3.0;

impl CodecConfig {
    /// Counts what an image of this size costs, or says why it has no cells.
    pub fn work(&self, height: usize, width: usize) -> Result<CodecWork, CodecError> {
        let sizes = self.network();
        let [rows, cols] = sizes.cells(height, width)?;
        let mut count = Count { work: CodecWork::default(), pixels: (height * width) as f64 };
        let (latent, moments) = match self {
            Self::Kl(config) => (config.latent_channels, 2 * config.latent_channels),
            Self::Codes(config) => (config.channels(), config.channels()),
        };
        count.encoder(sizes, self.colors(), moments);
        if let Self::Kl(config) = self {
            if config.use_quant_conv {
                count.convolution(1, moments, moments);
            }
            if config.use_post_quant_conv {
                count.convolution(1, latent, latent);
            }
        }
        debug_assert_eq!(count.pixels, (rows * cols) as f64);
        count.decoder(sizes, latent, self.colors());
        Ok(count.work)
    }
}

/// A count that walks through the layers in their order.
struct Count {
    work: CodecWork,
    /// The pixels of an image where the walk stands.
    pixels: f64,
}

impl Count {
    fn encoder(&mut self, sizes: &AutoencoderSizes, colors: usize, outputs: usize) {
        let channels = &sizes.block_out_channels;
        self.convolution(3, colors, channels[0]);
        let mut inputs = channels[0];
        for (level, &outputs) in channels.iter().enumerate() {
            for _ in 0..sizes.layers_per_block {
                self.residual(inputs, outputs);
                inputs = outputs;
            }
            if level + 1 < channels.len() {
                self.convolution(3, outputs, outputs); // of which every second row is left out
                self.pixels /= 4.0;
            }
        }
        self.middle(sizes);
        self.norm(inputs);
        self.convolution(3, inputs, outputs);
    }

    fn decoder(&mut self, sizes: &AutoencoderSizes, inputs: usize, colors: usize) {
        self.convolution(3, inputs, sizes.deepest());
        self.middle(sizes);
        let mut before = sizes.deepest();
        for (level, &outputs) in sizes.block_out_channels.iter().enumerate().rev() {
            for _ in 0..=sizes.layers_per_block {
                self.residual(before, outputs);
                before = outputs;
            }
            if level > 0 {
                self.pixels *= 4.0;
                self.convolution(3, outputs, outputs);
            }
        }
        self.norm(before);
        self.convolution(3, before, colors);
    }

    fn middle(&mut self, sizes: &AutoencoderSizes) {
        let channels = sizes.deepest();
        self.residual(channels, channels);
        if sizes.mid_block_add_attention {
            let (cells, width) = (self.pixels, channels as f64);
            self.work.parameters += 2.0 * width + 4.0 * (width * width + width);
            self.work.flops += 2.0 * cells * width * (4.0 * width + 2.0 * cells);
            // The norm, three maps of it, their mixture, and the scores before and after softmax.
            self.work.kept += (KEPT_BY_NORM + 5.0) * cells * width + 2.0 * cells * cells;
        }
        self.residual(channels, channels);
    }

    fn residual(&mut self, inputs: usize, outputs: usize) {
        self.norm(inputs);
        self.convolution(3, inputs, outputs);
        self.norm(outputs);
        self.convolution(3, outputs, outputs);
        if inputs != outputs {
            self.convolution(1, inputs, outputs);
        }
    }

    /// Counts a group norm and the curve after it.
    fn norm(&mut self, channels: usize) {
        self.work.parameters += 2.0 * channels as f64;
        self.work.kept += (KEPT_BY_NORM + 1.0) * channels as f64 * self.pixels;
    }

    fn convolution(&mut self, side: usize, inputs: usize, outputs: usize) {
        let weights = (side * side * inputs * outputs) as f64;
        self.work.parameters += weights + outputs as f64;
        self.work.flops += 2.0 * weights * self.pixels;
        self.work.kept += inputs as f64 * self.pixels;
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        AutoencoderSizes, CodeConfig, CodecConfig, Fsq, FsqActivation, KlConfig, QuantizerConfig,
    };

    fn configs() -> Vec<CodecConfig> {
        let mut all = vec![];
        for (channels, attention) in [(vec![4, 8, 8], true), (vec![8], false), (vec![2, 6], true)] {
            let network = AutoencoderSizes {
                block_out_channels: channels,
                layers_per_block: 2,
                norm_num_groups: 2,
                mid_block_add_attention: attention,
            };
            let fsq = Fsq { levels: vec![5, 4, 3], activation: FsqActivation::Tanh };
            let quantizer = QuantizerConfig::Fsq(fsq);
            all.push(CodecConfig::Codes(CodeConfig {
                network: network.clone(),
                quantizer,
                discriminator: None,
                queries: None,
            }));
            all.push(CodecConfig::Kl(KlConfig {
                network,
                latent_channels: 3,
                colors: 3,
                scaling_factor: 1.0,
                shift_factor: 0.0,
                use_quant_conv: attention,
                use_post_quant_conv: true,
            }));
        }
        all
    }

    /// The walk meets every layer, since it counts as many weights as the network has.
    #[test]
    fn the_walk_through_the_layers_counts_every_weight() {
        for config in configs() {
            let work = config.work(8, 12).unwrap();
            assert_eq!(work.parameters as usize, config.parameters(), "{config:?}");
        }
    }

    #[test]
    fn an_image_of_four_times_the_pixels_costs_four_times_as_much_but_for_attention() {
        for config in configs() {
            let (one, four) = (config.work(4, 8).unwrap(), config.work(8, 16).unwrap());
            let ratios = [four.flops / one.flops, four.kept / one.kept];
            let attends = config.network().mid_block_add_attention;
            let holds =
                |ratio: f64| if attends { (4.0..6.0).contains(&ratio) } else { ratio == 4.0 };
            assert!(ratios.into_iter().all(holds), "{ratios:?}");
        }
        let said = configs()[0].work(6, 8).unwrap_err().to_string();
        assert!(said.contains("8 x 6 pixels, wanted sides that are multiples of 4"), "{said}");
    }
}
