//! What a cached computes piece by piece is what the network computes of whole rows, for every kind
//! of network.

use burn::prelude::*;
use burn::tensor::Tolerance;
use mm_backbone::{
    BackboneConfig, BlockConfig, GauConfig, Init, MultiHeadConfig, MultiHeadVariant,
    PositionScheme, Precision,
};
use mm_diffusion::{Guidance, Level, Prediction, Schedule};
use mm_patch::{Grid, Image};
use mm_text::Tokenizer;

use mm_codec::{
    AutoencoderSizes, CodeConfig, Codec, Fsq, FsqActivation, ImageCodec, QuantizerConfig,
};

use super::session::CachedRows;
use crate::parameters::{weights_of, with_weights};
use crate::{
    Batch, BytesConfig, CodedConfig, Document, GenerateOptions, GenerationConfig,
    GenerationSession, HostBatch, ImageCodes, ImageLayout, ImageNoise, LatentConfig, LoadedModel,
    Model, ModelConfig, NetworkConfig, Order, Sample, Segment, Sequence, Sequencer, TimeConfig,
    UnetConfig, UnifiedConfig,
};

pub(super) const GRID: Grid = Grid::new(2, 3, 4);

/// Every kind of network, small.
pub(super) fn configs() -> Vec<ModelConfig> {
    let (heads, key_heads, feed_forward) = (2, 1, 24);
    let base = |depth, block| ModelConfig {
        patch: 4,
        vocab: 389,
        time: TimeConfig::Sinusoidal { channels: 8, scale: 1000.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Clean,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 4,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 16,
                depth,
                block,
                positions: PositionScheme::RopeTv,
                rotary_base: 100.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let multi_head = |variant| {
        BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward })
    };
    let mut with_convolution = base(1, multi_head(MultiHeadVariant::Plain));
    with_convolution.network.unified_mut().unwrap().patch_convolution = true;
    vec![
        base(2, BlockConfig::Gau(GauConfig { expansion: 2, key_size: 8, bias: true })),
        base(3, multi_head(MultiHeadVariant::Uvit)),
        base(2, multi_head(MultiHeadVariant::Dit)),
        with_convolution,
    ]
}

pub(super) fn unet() -> ModelConfig {
    ModelConfig {
        network: NetworkConfig::Unet(UnetConfig {
            width: 8,
            growth: vec![1, 2],
            blocks: 2,
            groups: 4,
            smallest: 4,
            attention: vec![1],
        }),
        ..configs().remove(0)
    }
}

/// A transformer over words and 1200 codes.
pub(super) fn coded() -> ModelConfig {
    let mut base = configs().remove(0);
    let unified = base.network.unified_mut().unwrap();
    unified.patch_pos_embed = 0;
    let network = AutoencoderSizes {
        block_out_channels: vec![4, 4, 4],
        layers_per_block: 1,
        norm_num_groups: 2,
        mid_block_add_attention: false,
    };
    let fsq = Fsq { levels: vec![40, 30], activation: FsqActivation::Tanh };
    let codec = CodeConfig {
        network,
        quantizer: QuantizerConfig::Fsq(fsq),
        discriminator: None,
        queries: None,
    };
    let (unified, codes) = (unified.clone(), ImageCodes::Codec(codec));
    let coded = CodedConfig { unified, codes, order: Order::Rows };
    ModelConfig { network: NetworkConfig::Coded(coded), ..base }
}

#[test]
fn codes_written_with_the_cache_are_those_of_a_whole_row() {
    let model = loaded(coded());
    let network = model.model.coded().unwrap();
    let image =
        Image::new(12, 8, (0..12 * 8 * 3).map(|at| (at * 7 % 256) as u8).collect()).unwrap();
    let words = Document::of_text("a");
    let mut all = words.clone();
    all.segments.push(Segment::target_image(image));
    let sequence = model.sequencer().complete(&all).unwrap();
    let none = vec![ImageNoise::none(&model.config.schedule)];
    let sample = Sample { sequence: sequence.clone(), noise: none };
    let batch = HostBatch::pack(&[sample], 0, 0, model.config.patch_dim());
    let batch = batch.to_device(&model.config, &Device::flex());
    let hidden = model.model.hidden(&batch.inputs);
    let first = sequence.images[0].start;

    let pixels = batch.inputs.patches.unwrap().noisy.unsqueeze_dim(0);
    let codes = network.codec().unwrap().codes(mm_patch::unpatchify(pixels, GRID));
    let codes = codes.into_data().convert::<i64>().try_to_vec::<i64>().unwrap();
    assert!(codes.iter().any(|code| *code != codes[0]), "several codes are seen: {codes:?}");
    let mut session = GenerationSession::before_image(&model, &[words], GRID).unwrap();
    let places = session.place_image(ImageLayout::default(), GRID).remove(0);
    for (cell, code) in codes.iter().enumerate() {
        let wanted = network.code_logits(hidden.clone().narrow(0, first + cell - 1, 1));
        assert_close(network.code_logits(session.last_hidden()), wanted, &model.config);
        session.push_at(&[*code as u32 + network.first_code() as u32], vec![places[cell]]);
    }
}

#[test]
fn an_image_of_codes_is_drawn_by_its_seed_and_no_edit_can_be_asked_of_it() {
    let model = loaded(coded());
    let prompt = [Document::of_text("b")];
    let options = |seed, guidance| GenerateOptions { guidance, ..model.options(seed) };
    let plain = |seed| options(seed, Guidance::OFF);
    let drawn = |seed| model.draw(&prompt, GRID, &plain(seed)).unwrap().remove(0);
    assert_eq!(drawn(1), drawn(1));
    assert!((2..9).any(|seed| drawn(seed) != drawn(1)), "the seed decides");
    let many = model.draw_many(&prompt[0], 2, GRID, &plain(1)).unwrap();
    assert_eq!(many[0], drawn(1));
    let session = GenerationSession::before_image(&model, &prompt, GRID).unwrap();
    let said = session.image(GRID, Guidance::OFF).unwrap_err().to_string();
    assert!(said.starts_with("this model writes images code by code"), "{said}");
    let guided = Guidance { scale: 2.0, ..Guidance::OFF };
    let said = model.draw(&prompt, GRID, &options(1, guided)).unwrap_err().to_string();
    assert!(said.ends_with("wanted a guidance of 1"), "{said}");
}

#[test]
fn a_configuration_of_codes_reads_back_and_its_weights_are_counted() {
    use burn::module::Module;
    let config = coded();
    assert!(config.validate().is_ok());
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), config);
    let made = Model::new(&config, 0, &Device::flex()).unwrap();
    assert_eq!(made.num_params(), config.parameters());
    let codec = Codec::Codes(made.coded().unwrap().codec().unwrap().clone());
    assert_eq!(codec.grid(8, 12).unwrap().codes, Some(1200));
    let said = ModelConfig { patch: 8, ..config }.validate().unwrap_err().to_string();
    assert!(said.contains("wanted the side of a cell of the `codec`"), "{said}");
}

/// A transformer over words and bytes of so many levels.
fn of_bytes(levels: usize, order: Order) -> ModelConfig {
    let mut base = configs().remove(0);
    let unified = base.network.unified_mut().unwrap();
    unified.patch_pos_embed = 0;
    let (unified, codes) = (unified.clone(), ImageCodes::Bytes(BytesConfig { levels, window: 9 }));
    ModelConfig {
        patch: 2,
        network: NetworkConfig::Coded(CodedConfig { unified, codes, order }),
        ..base
    }
}

/// A transformer over words and the latents of a codec that halves images.
fn of_latents() -> ModelConfig {
    let mut base = configs().remove(0);
    let unified = base.network.unified_mut().unwrap().clone();
    let codec = crate::latents::tests::config();
    ModelConfig {
        patch: 2,
        network: NetworkConfig::Latent(LatentConfig { unified, codec }),
        ..base
    }
}

/// One batch of one sequence, without noise.
fn batch_of(model: &LoadedModel, document: &Document) -> (Sequence, Batch) {
    let sequence = model.sequencer().complete(document).unwrap();
    let noise = vec![ImageNoise::none(&model.config.schedule); sequence.images.len()];
    let sample = Sample { sequence: sequence.clone(), noise };
    let batch = HostBatch::pack(&[sample], 0, 0, model.config.patch_dim());
    (sequence, batch.to_device(&model.config, &Device::flex()))
}

#[test]
fn bytes_and_codes_written_with_the_cache_in_any_order_are_those_of_a_whole_row() {
    for order in [Order::Rows, Order::Snake, Order::CenterOut, Order::Random] {
        let mut codes = coded();
        if let NetworkConfig::Coded(coded) = &mut codes.network {
            coded.order = order;
        }
        for config in [of_bytes(7, order), codes] {
            let model = loaded(config);
            let network = model.model.coded().unwrap();
            let image = Image::new(8, 4, (0..96).map(|at| (at * 37 % 256) as u8).collect());
            let words = Document::of_text("a");
            let mut all = words.clone();
            all.segments.push(Segment::target_image(image.unwrap()));
            let (sequence, batch) = batch_of(&model, &all);
            let hidden = model.model.hidden(&batch.inputs);
            let places = sequence.images[0].places();
            let ids = network.coded(&batch.inputs).ids.into_data().convert::<i64>();
            let ids = ids.try_to_vec::<i64>().unwrap();
            let grid = model.config.grid(8, 4).unwrap();
            let mut session = GenerationSession::before_image(&model, &[words], grid).unwrap();
            let at = session.place_image(network.layout(), grid).remove(0);
            assert_eq!(at, sequence.positions[places.clone()]);
            for (place, at) in places.zip(at) {
                let wanted = network.code_logits(hidden.clone().narrow(0, place - 1, 1));
                assert_close(network.code_logits(session.last_hidden()), wanted, &model.config);
                session.push_at(&[ids[place] as u32], vec![at]);
            }
        }
    }
}

#[test]
fn the_likelihoods_of_all_images_of_two_pixels_and_two_levels_sum_to_one() {
    for order in [Order::Rows, Order::Random] {
        let model = loaded(ModelConfig { patch: 1, ..of_bytes(2, order) });
        let mut sum = 0.0;
        let mut least = f64::INFINITY;
        for image in 0..64u32 {
            let bytes = (0..6).map(|at| if image >> at & 1 == 1 { 255 } else { 0 }).collect();
            let image = Segment::target_image(Image::new(2, 1, bytes).unwrap());
            let document = Document { segments: vec![Segment::context_text("ab"), image] };
            let (_, batch) = batch_of(&model, &document);
            let nats = model.model.code_surprises(&batch).unwrap();
            assert_eq!(nats.dims(), [6]);
            let likelihood = (-f64::from(nats.sum().into_scalar::<f32>())).exp();
            least = least.min(likelihood);
            sum += likelihood;
        }
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(least > 0.0 && least < 1.0 / 64.0, "not all are equally likely: {least}");
    }
}

#[test]
fn bytes_of_256_levels_decode_to_themselves_and_fewer_levels_to_the_nearest() {
    let image = Image::new(8, 4, (0..96).map(|at| (at * 37 % 256) as u8).collect()).unwrap();
    for (levels, most) in [(256, 0), (2, 128), (16, 9)] {
        let model = loaded(of_bytes(levels, Order::Snake));
        let network = model.model.coded().unwrap();
        let document = Document { segments: vec![Segment::target_image(image.clone())] };
        let (sequence, batch) = batch_of(&model, &document);
        let span = &sequence.images[0];
        let ids = network.coded(&batch.inputs).ids.narrow(0, span.start, 96);
        let ids = (ids - network.first_code() as i64).into_data().convert::<i64>();
        let ids = ids.try_to_vec::<i64>().unwrap();
        let mut codes = vec![0i32; 96];
        for (item, id) in span.layout.items(span.grid).into_iter().zip(ids) {
            codes[item] = id as i32;
        }
        let codes = Tensor::from_data(TensorData::new(codes, [1, 96]), &Device::flex());
        let again = network.patches_of(codes, span.grid);
        let again = super::image::images_of(again, span.grid).unwrap().remove(0);
        let off = image.rgb().iter().zip(again.rgb()).map(|(own, other)| own.abs_diff(*other));
        let off = off.max().unwrap();
        assert!(off <= most && (most == 0 || off > 0), "{off} of {levels} levels");
    }
}

#[test]
fn bytes_are_drawn_by_their_seed_and_have_their_levels() {
    let model = loaded(of_bytes(2, Order::CenterOut));
    let grid = model.config.grid(4, 4).unwrap();
    let options = |seed| GenerateOptions { guidance: Guidance::OFF, ..model.options(seed) };
    let prompt = [Document::of_text("b")];
    let drawn = |seed| model.draw(&prompt, grid, &options(seed)).unwrap().remove(0);
    assert_eq!(drawn(1), drawn(1));
    assert!((2..9).any(|seed| drawn(seed) != drawn(1)), "the seed decides");
    assert!(drawn(1).rgb().iter().all(|byte| [0, 255].contains(byte)));
}

#[test]
fn latents_are_shown_drawn_decoded_and_read_and_no_edit_can_be_asked_of_them() {
    let model = loaded(of_latents());
    let image = Image::new(8, 4, (0..96).map(|at| (at * 37 % 256) as u8).collect()).unwrap();
    let mut document = Document::of_image(image.clone());
    document.segments.push(Segment::target_text("ab"));
    let (sequence, batch) = batch_of(&model, &document);
    let grid = model.config.grid(8, 4).unwrap();
    assert_eq!(grid, Grid { rows: 1, cols: 2, patch: 2, channels: 2 });
    assert_eq!(sequence.images[0].grid, grid);
    assert_eq!(batch.inputs.patches.as_ref().unwrap().noisy.dims(), [2, 8]);
    // What the cache computes of the image is what the whole row computes.
    let session = GenerationSession::after_prompts(&model, &[Document::of_image(image.clone())]);
    let last = sequence.images[0].places().end; // `[/IMG]`
    let hidden = model.model.hidden(&batch.inputs).narrow(0, last, 1);
    assert_close(session.unwrap().last_hidden(), hidden, &model.config);

    let prompt = [Document::of_text("b"), Document::of_image(image.clone())];
    let options = GenerateOptions { steps: 3, ..model.options(1) };
    let drawn = model.draw(&prompt, grid, &options).unwrap();
    assert_eq!([drawn[0].width(), drawn[0].height()], [8, 4]);
    assert_eq!(drawn, model.draw(&prompt, grid, &options).unwrap());
    assert_ne!(drawn[0], drawn[1], "the prompt matters");
    let mut edit =
        crate::Inpaint::new(image, crate::Mask::new(8, 4, vec![255; 32]).unwrap(), 4).unwrap();
    let said = model.draw_constrained(&prompt[0], 1, grid, &options, &mut edit);
    let said = said.unwrap_err().to_string();
    assert!(said.starts_with("this model draws latents"), "{said}");
}

#[test]
fn configurations_of_bytes_and_latents_read_back_and_their_weights_are_counted() {
    use burn::module::Module;
    for config in [of_bytes(16, Order::Random), of_latents(), coded()] {
        assert!(config.validate().is_ok());
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), config);
        let made = Model::new(&config, 0, &Device::flex()).unwrap();
        assert_eq!(made.num_params(), config.parameters());
    }
    let said = |config: ModelConfig| config.validate().unwrap_err().to_string();
    let levels = said(of_bytes(257, Order::Rows));
    assert_eq!(levels, "`bytes.levels` is 257, wanted 2 to 256");
    let words = said(ModelConfig { vocab: 0, ..of_latents() });
    assert!(words.contains("since latents stand beside words"), "{words}");
    let text = serde_json::to_string(&of_latents()).unwrap();
    let other = text.replacen('{', r#"{"order":"snake","#, 1);
    let said = serde_json::from_str::<ModelConfig>(&other).unwrap_err().to_string();
    assert!(said.contains("`order` is given, wanted a `backbone` over codes"), "{said}");
    let both = text.replacen('{', r#"{"bytes":{},"#, 1);
    let said = serde_json::from_str::<ModelConfig>(&both).unwrap_err().to_string();
    assert!(said.contains("`bytes` is given, wanted a `backbone` beside it"), "{said}");
}

/// Makes a model whose weights are all moved, so that none is zero.
fn model(config: &ModelConfig) -> Model {
    let fresh = Model::new(config, 1, &Device::flex()).unwrap();
    let mut weights = weights_of(&fresh);
    let mut init = Init::new(2, &Device::flex());
    for weight in weights.values_mut() {
        let moves = init.normal([weight.values.len()], 0.1).val();
        for (value, by) in weight.values.iter_mut().zip(moves.into_data().iter::<f32>()) {
            *value += by;
        }
    }
    with_weights(fresh, &weights)
}

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let numbers = Init::new(seed, &Device::flex()).normal([count, GRID.patch_dim()], 1.0).val();
    numbers.into_data().iter::<f32>().collect()
}

pub(super) fn assert_close(found: Tensor<2>, wanted: Tensor<2>, what: &ModelConfig) {
    let largest = wanted.clone().abs().max().into_scalar::<f32>();
    assert!(largest > 1e-3, "nothing to compare for {what:?}");
    let close = Tolerance::<f32>::rel_abs(1e-4, 1e-4 * largest);
    found.into_data().assert_approx_eq::<f32>(&wanted.into_data(), close);
}

fn last(hidden: Tensor<2>) -> Tensor<2> {
    let [places, _] = hidden.dims();
    hidden.narrow(0, places - 1, 1)
}

fn whole(model: &Model, config: &ModelConfig, samples: &[Sample]) -> Tensor<2> {
    let batch = HostBatch::pack(samples, 0, 0, config.patch_dim());
    model.hidden(&batch.to_device(config, &model.device()).inputs)
}

#[test]
fn text_after_an_image_that_was_appended_sees_what_it_sees_in_a_whole_row() {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let sequencer = Sequencer::of_patches(&tokenizer, 4, PositionScheme::RopeTv);
    let image = Image::filled(12, 8, [200, 10, 90]);
    let words = |text: &str| Segment::context_text(text);
    let all =
        Document { segments: vec![words("a"), Segment::context_image(image.clone()), words("b")] };
    let sequence = sequencer.prompt(&all).unwrap();
    let clean = sequence.images[0].patches.clone();
    for config in configs() {
        let model = model(&config);
        let sample =
            Sample { sequence: sequence.clone(), noise: vec![ImageNoise::none(&config.schedule)] };
        let wanted = last(whole(&model, &config, &[sample]));
        let start = Document { segments: vec![words("a")] };
        let prompt = sequencer.drawing_prompt(&start, GRID).unwrap();
        let (mut cached, _) = CachedRows::prefill(&model, &config, Precision::F32, &[prompt]);
        let clean = TensorData::new(clean.clone(), [1, GRID.tokens(), GRID.patch_dim()]);
        cached.push_image(Tensor::from_data(clean, &model.device()), GRID);
        let rest = &sequence.ids[sequence.len() - 2..]; // the image's end, and the word
        cached.push_tokens(&rest[..1]);
        assert_close(cached.push_tokens(&rest[1..]), wanted.clone(), &config);
        let (_, prefilled) =
            CachedRows::prefill(&model, &config, Precision::F32, std::slice::from_ref(&sequence));
        assert_close(prefilled, wanted, &config);
    }
}

/// An image of noise as a whole row of its own, or after the opening of an image.
fn noisy(seed: u64, grid: Grid, time: f64, before: Sequence) -> Sample {
    let patches = noise(seed, grid.tokens());
    let eps = vec![0.0; patches.len()];
    let mut sequence = before;
    sequence.push_patches(grid, patches, true, 0);
    let level = Level { timestep: time, signal: 1.0, noise: 0.0 }; // noised already
    Sample { sequence, noise: vec![ImageNoise { level, eps, weight: 1.0 }] }
}

#[test]
fn a_denoising_step_behind_a_cache_is_that_of_a_whole_row() {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let sequencer = Sequencer::of_patches(&tokenizer, 4, PositionScheme::RopeTv);
    let prompt = sequencer.drawing_prompt(&Document::default(), GRID).unwrap();
    for config in [configs(), vec![unet()]].concat() {
        let model = model(&config);
        let (cached, _) =
            CachedRows::prefill(&model, &config, Precision::F32, &[prompt.clone(), prompt.clone()]);
        let both: Vec<f32> = [noise(5, GRID.tokens()), noise(6, GRID.tokens())].concat();
        let both = TensorData::new(both, [2, GRID.tokens(), GRID.patch_dim()]);
        let found = cached.denoise(Tensor::from_data(both, &model.device()), GRID, 0.3);
        for (row, seed) in [5, 6].into_iter().enumerate() {
            let hidden = whole(&model, &config, &[noisy(seed, GRID, 0.3, prompt.clone())]);
            let hidden = hidden.narrow(0, prompt.len(), GRID.tokens());
            let wanted = model.patches(hidden, &[GRID]);
            assert_close(found.clone().narrow(0, row, 1).squeeze_dim(0), wanted, &config);
        }
    }
}

#[test]
fn images_of_several_sizes_and_times_in_one_batch_are_what_each_is_alone() {
    let shapes = [(1, 2, 0.3), (2, 2, 0.9), (1, 2, 0.1), (3, 1, 0.5)];
    let empty = || Sequence::empty(PositionScheme::RopeTv);
    let grid = |rows, cols| Grid::new(rows, cols, 4);
    let samples: Vec<Sample> = (10..)
        .zip(shapes)
        .map(|(seed, (rows, cols, time))| noisy(seed, grid(rows, cols), time, empty()))
        .collect();
    let drawn = |model: &Model, config: &ModelConfig, samples: &[Sample], pack_len| {
        let batch = HostBatch::pack(samples, pack_len, 0, config.patch_dim());
        let batch = batch.to_device(config, &model.device());
        let target = batch.targets.image.as_ref().unwrap();
        let hidden = model.hidden(&batch.inputs).select(0, target.tokens.clone());
        model.patches(hidden, &target.grids)
    };
    for config in [configs(), vec![unet()]].concat() {
        let model = model(&config);
        let single =
            samples.iter().map(|sample| drawn(&model, &config, std::slice::from_ref(sample), 0));
        let single = Tensor::cat(single.collect(), 0);
        for pack_len in [0, 12] {
            assert_close(drawn(&model, &config, &samples, pack_len), single.clone(), &config);
        }
    }
}

/// A model of the first configuration, with weights that matter everywhere.
pub(super) fn loaded(config: ModelConfig) -> LoadedModel {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let model = model(&config);
    LoadedModel { config, tokenizer, model, generation: GenerationConfig::of_size(12, 8) }
}

#[test]
fn guidance_computes_both_branches_in_one_batch_and_gives_what_two_batches_give() {
    for config in configs() {
        let what = config.clone();
        let model = loaded(config);
        let prompts = ["a", "a longer prompt"].map(Document::of_text);
        let session = GenerationSession::before_image(&model, &prompts, GRID).unwrap();
        let empty = GenerationSession::before_image(&model, &vec![Document::default(); 2], GRID);
        let empty = empty.unwrap();
        let guidance = Guidance { scale: 2.5, to: 0.5, ..Guidance::OFF };
        let sampler = session.image(GRID, guidance).unwrap();
        let z = [noise(3, GRID.tokens()), noise(4, GRID.tokens())].concat();
        let z = sampler.tensor(z);
        for level in [model.config.schedule.level(0.25), model.config.schedule.level(0.75)] {
            let plain = session.denoise(z.clone(), GRID, &level);
            let wanted = if guidance.active(&level) {
                guidance.combine(plain, empty.denoise(z.clone(), GRID, &level))
            } else {
                plain
            };
            let rows = |x: Tensor<3>| x.reshape([-1, GRID.patch_dim() as i32]);
            assert_close(rows(sampler.denoise(z.clone(), &level)), rows(wanted), &what);
        }
    }
}

#[test]
fn many_images_at_once_are_those_of_seeds_one_after_another() {
    let model = loaded(configs().remove(0));
    let prompt = Document::of_text("b");
    let options = model.options(5);
    let many = model.draw_many(&prompt, 3, GRID, &options).unwrap();
    for (at, image) in (0..).zip(many) {
        let options = model.options(5 + at);
        let one = model.draw(std::slice::from_ref(&prompt), GRID, &options).unwrap();
        assert_eq!(image, one[0], "image {at}");
    }
}

#[test]
fn a_model_generates_in_16_bits_where_its_settings_say_so() {
    let prompt = [Document::of_text("a prompt")];
    for config in configs() {
        let mut model = loaded(config);
        let denoised = |model: &LoadedModel| {
            let session = GenerationSession::before_image(model, &prompt, GRID).unwrap();
            let z = session.image(GRID, Guidance::OFF).unwrap().tensor(noise(3, GRID.tokens()));
            session.denoise(z, GRID, &model.config.schedule.level(0.5))
        };
        let wide = denoised(&model);
        model.generation.precision = Precision::Bf16;
        let narrow = denoised(&model);
        let apart = (narrow - wide.clone()).abs().max().into_scalar::<f32>();
        let size = wide.abs().max().into_scalar::<f32>();
        let blocks = model.config.network.unified().is_some();
        assert!(apart < 0.05 * size && (apart > 0.0) == blocks, "{apart} of {size}");
    }
}
