//! Sequences to tensors: several documents packed in one row, images noised, indices of everything
//! the losses need.

use burn::prelude::*;
use mm_backbone::{AttentionContext, BlockOptions, KeyRanges};
pub use mm_diffusion::ImageNoise;
use mm_patch::Grid;

use crate::{ModelConfig, Sequence};

/// A sequence and what its images are noised with, one entry an image in order.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The document.
    pub sequence: Sequence,
    /// Noise of every image; [`ImageNoise::none`] for images shown clean.
    pub noise: Vec<ImageNoise>,
}

/// What the network takes.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Rows of the batch.
    pub rows: usize,
    /// Places in a row.
    pub tokens: usize,
    /// Token ids, `[rows * tokens]`.
    pub ids: Tensor<1, Int>,
    /// The images, if there are any.
    pub patches: Option<Patches>,
    /// Positions and mask.
    pub context: AttentionContext,
    /// How blocks compute.
    pub options: BlockOptions,
}

/// What a distilled network is told of a sampler's step, beside the time at which it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jump {
    /// From the time at which the step begins to that at which it ends, from 0 to 1 on the linear
    /// path. At 0 the network estimates the clean image at the time itself.
    pub size: f64,
    /// The scale of guidance that the step follows; 1 is none.
    pub guidance: f64,
}

impl Default for Jump {
    fn default() -> Self {
        Self { size: 0.0, guidance: 1.0 }
    }
}

/// Patches of all images of a batch, one after another.
#[derive(Debug, Clone)]
pub struct Patches {
    /// Noised pixels, `[patches, numbers]`.
    pub noisy: Tensor<2>,
    /// Which image each patch belongs to, `[patches]`.
    pub image: Tensor<1, Int>,
    /// Row and column of each patch in its image, both `[patches]`.
    pub at: [Tensor<1, Int>; 2],
    /// The time the network is told for each image, `[images]`.
    pub timesteps: Vec<f64>,
    /// The class the network is told for each image, `[images]`.
    pub classes: Vec<Option<u32>>,
    /// How far a step goes, and how it is guided, for each image; none where the network is not
    /// told, or where nothing is asked but the estimate at the time itself.
    pub jumps: Vec<Jump>,
    /// Rows and columns of each image.
    pub grids: Vec<Grid>,
    /// The row of every token of the batch in the table of all token embeddings followed by all
    /// patch embeddings, or those of all numbers of patches where each has a place of its own:
    /// `[rows * tokens]`.
    pub source: Tensor<1, Int>,
}

/// What the losses compare with.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Places that predict a token, and the tokens, both `[target tokens]`; absent if none is
    /// target.
    pub text: Option<[Tensor<1, Int>; 2]>,
    /// The target patches; absent if none is a target.
    pub image: Option<ImageTargets>,
}

/// The target patches of a batch.
#[derive(Debug, Clone)]
pub struct ImageTargets {
    /// Their places in the flattened batch, `[target patches]`, or more where every number of a
    /// patch has a place of its own. Where codes are masked, those alone are targets.
    pub tokens: Tensor<1, Int>,
    /// Which of the patches of all images of the batch stands at each of these places, or of all
    /// their numbers where each has a place of its own: of the same shape.
    pub items: Tensor<1, Int>,
    /// Rows and columns of each target image, whose patches stand together.
    pub grids: Vec<Grid>,
    /// Clean pixels, `[target patches, numbers]`.
    pub clean: Tensor<2>,
    /// The noise in them, `[target patches, numbers]`.
    pub eps: Tensor<2>,
    /// Loss weights, `[target patches, 1]`.
    pub weight: Tensor<2>,
}

/// One training batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What the network takes.
    pub inputs: Inputs,
    /// What the losses compare with.
    pub targets: Targets,
}

/// Plain host buffers of a batch: what a data thread can prepare without touching a device.
#[derive(Debug, Clone)]
pub struct HostBatch {
    rows: usize,
    tokens: usize,
    ids: Vec<i32>,
    positions: Vec<[f64; 2]>,
    ranges: KeyRanges,
    noisy: Vec<f32>,
    image: Vec<i32>,
    at: [Vec<i32>; 2],
    timesteps: Vec<f64>,
    classes: Vec<Option<u32>>,
    grids: Vec<Grid>,
    target_grids: Vec<Grid>,
    source: Vec<i32>,
    text: [Vec<i32>; 2],
    target_tokens: Vec<i32>,
    target_items: Vec<i32>,
    clean: Vec<f32>,
    eps: Vec<f32>,
    weight: Vec<f32>,
    noise: Vec<f32>,
    real_tokens: usize,
    numbers: usize,
}

impl HostBatch {
    /// Target tokens and target patches: what the two means of the loss are taken over.
    pub fn target_counts(&self) -> [usize; 2] {
        [self.text[0].len(), self.target_tokens.len()]
    }

    /// The ids of the target tokens, in the order of the rows of [`Targets::text`].
    pub fn target_ids(&self) -> &[i32] {
        &self.text[1]
    }

    /// The factor of the noise in every target patch.
    pub fn noise(&self) -> &[f32] {
        &self.noise
    }

    /// Places that hold a token or a patch of a document.
    pub fn real_tokens(&self) -> usize {
        self.real_tokens
    }

    /// Number of target images.
    pub fn target_images(&self) -> usize {
        self.target_grids.len()
    }

    /// How many numbers the target patches hold.
    pub fn target_numbers(&self) -> usize {
        self.target_tokens.len() * self.numbers
    }

    /// Pairs of a query and a key that it may attend.
    pub fn pairs(&self) -> usize {
        self.ranges.ranges().iter().map(|[from, to]| (to - from) as usize).sum()
    }

    /// Patches of all images.
    pub fn patches(&self) -> usize {
        self.image.len()
    }

    /// Number of images, noised and clean.
    pub fn images(&self) -> usize {
        self.timesteps.len()
    }

    /// All places, padding included.
    pub fn padded_tokens(&self) -> usize {
        self.rows * self.tokens
    }

    /// Packs samples into as few rows as hold them with at most `pack_len` places each (more if
    /// one document is longer), or with 0 one a row. What is left of a row is padding that only
    /// sees itself. `pad` is the padding id.
    pub fn pack(samples: &[Sample], pack_len: usize, pad: u32, numbers: usize) -> Self {
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.sequence.len()).collect();
        let ([rows, tokens], offsets) = arranged(&lengths, pack_len);
        let places = rows * tokens;
        let mut ranges: Vec<[u32; 2]> =
            (0..places).map(|at| (at % tokens) as u32).map(|at| [at, at + 1]).collect();
        for (sample, &offset) in samples.iter().zip(&offsets) {
            let shift = (offset % tokens) as u32;
            for (range, own) in ranges[offset..].iter_mut().zip(&sample.sequence.ranges) {
                *range = own.map(|at| at + shift);
            }
        }
        let ranges = KeyRanges::new(rows, tokens, ranges).expect("every place sees itself");
        let mut batch = Self {
            rows,
            tokens,
            ids: vec![pad as i32; places],
            positions: vec![[0.0; 2]; places],
            ranges,
            noisy: vec![],
            image: vec![],
            at: [vec![], vec![]],
            timesteps: vec![],
            classes: vec![],
            grids: vec![],
            target_grids: vec![],
            source: (0..places as i32).collect(),
            text: [vec![], vec![]],
            target_tokens: vec![],
            target_items: vec![],
            clean: vec![],
            eps: vec![],
            weight: vec![],
            noise: vec![],
            real_tokens: 0,
            numbers,
        };
        for (sample, offset) in samples.iter().zip(offsets) {
            batch.put(sample, offset);
        }
        batch
    }

    fn put(&mut self, sample: &Sample, offset: usize) {
        let sequence = &sample.sequence;
        for (at, (&id, &position)) in sequence.ids.iter().zip(&sequence.positions).enumerate() {
            self.ids[offset + at] = id as i32;
            self.positions[offset + at] = position;
        }
        for &(place, id) in &sequence.targets {
            self.text[0].push((offset + place) as i32);
            self.text[1].push(id as i32);
        }
        self.real_tokens += sequence.len();
        assert_eq!(sequence.images.len(), sample.noise.len(), "one noise an image");
        let table = self.ids.len();
        for (span, noise) in sequence.images.iter().zip(&sample.noise) {
            let first = self.image.len() * span.layout.places_of_patch(span.grid);
            for (place, item) in span.layout.items(span.grid).into_iter().enumerate() {
                let masked = span.masked.get(place).copied();
                let place = offset + span.start + place;
                if masked != Some(true) {
                    self.source[place] = (table + first + item) as i32;
                }
                if span.target && masked != Some(false) {
                    self.target_tokens.push(place as i32);
                    self.target_items.push((first + item) as i32);
                }
            }
            for patch in 0..span.grid.tokens() {
                self.image.push(self.timesteps.len() as i32);
                self.at[0].push((patch / span.grid.cols) as i32);
                self.at[1].push((patch % span.grid.cols) as i32);
                if span.target {
                    self.weight.push(noise.weight as f32);
                    self.noise.push(noise.level.noise as f32);
                }
            }
            self.timesteps.push(noise.level.timestep);
            self.classes.push(sequence.class);
            self.grids.push(span.grid);
            if span.target {
                self.target_grids.push(span.grid);
                self.noisy.extend(noise.noisy(&span.patches));
                self.clean.extend(&span.patches);
                self.eps.extend(&noise.eps);
            } else {
                self.noisy.extend(&span.patches);
            }
        }
    }

    /// The tensors, on `device`.
    pub fn to_device(&self, config: &ModelConfig, device: &Device) -> Batch {
        let ints = |numbers: &[i32]| -> Tensor<1, Int> {
            Tensor::from_data(TensorData::new(numbers.to_vec(), [numbers.len()]), device)
        };
        let floats = |numbers: &[f32], width: usize| -> Tensor<2> {
            Tensor::from_data(
                TensorData::new(numbers.to_vec(), [numbers.len() / width, width]),
                device,
            )
        };
        let patches = (!self.image.is_empty()).then(|| Patches {
            noisy: floats(&self.noisy, self.numbers),
            image: ints(&self.image),
            at: [ints(&self.at[0]), ints(&self.at[1])],
            timesteps: self.timesteps.clone(),
            classes: self.classes.clone(),
            jumps: vec![],
            grids: self.grids.clone(),
            source: ints(&self.source),
        });
        let image = (!self.target_tokens.is_empty()).then(|| ImageTargets {
            tokens: ints(&self.target_tokens),
            items: ints(&self.target_items),
            grids: self.target_grids.clone(),
            clean: floats(&self.clean, self.numbers),
            eps: floats(&self.eps, self.numbers),
            weight: floats(&self.weight, 1),
        });
        let text = (!self.text[0].is_empty()).then(|| [ints(&self.text[0]), ints(&self.text[1])]);
        let context =
            config.network.attention_context(&self.positions, self.ranges.clone(), device);
        let options = BlockOptions::default();
        let inputs = Inputs {
            rows: self.rows,
            tokens: self.tokens,
            ids: ints(&self.ids),
            patches,
            context,
            options,
        };
        Batch { inputs, targets: Targets { text, image } }
    }
}

/// Rows and places a row, and where each of the documents of these lengths begins in the flattened
/// batch.
///
/// The longest document first, each goes into the row that is emptiest (Graham 1969, LPT), and rows
/// are only as long as the fullest needs: a few documents look ahead to each other, and little
/// padding is left.
fn arranged(lengths: &[usize], pack_len: usize) -> ([usize; 2], Vec<usize>) {
    let longest = lengths.iter().copied().max().unwrap_or(1);
    if pack_len == 0 {
        let rows = lengths.len().max(1);
        return ([rows, longest], (0..lengths.len()).map(|row| row * longest).collect());
    }
    let most = pack_len.max(longest);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&document| std::cmp::Reverse(lengths[document]));
    let mut rows = lengths.iter().sum::<usize>().div_ceil(most).max(1);
    loop {
        let (mut used, mut places) = (vec![0; rows], vec![(0, 0); lengths.len()]);
        for &document in &order {
            let row = (0..rows).min_by_key(|&row| used[row]).expect("there is a row");
            places[document] = (row, used[row]);
            used[row] += lengths[document];
        }
        let tokens = used.into_iter().max().unwrap_or(1).max(1);
        if tokens <= most {
            let offsets = places.into_iter().map(|(row, at)| row * tokens + at);
            return ([rows, tokens], offsets.collect());
        }
        rows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::arranged;

    #[test]
    fn rows_are_few_even_and_no_longer_than_asked() {
        assert_eq!(arranged(&[3, 5, 2], 0), ([3, 5], vec![0, 5, 10]));
        assert_eq!(arranged(&[3, 5, 2], 8), ([2, 5], vec![5, 0, 8]));
        assert_eq!(arranged(&[3, 5, 2], 100), ([1, 10], vec![5, 0, 8]));
        assert_eq!(arranged(&[9, 1, 1], 4), ([2, 9], vec![0, 9, 10]));
        assert_eq!(arranged(&[], 4), ([1, 1], vec![]));
    }
}
