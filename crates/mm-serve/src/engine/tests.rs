//! Jobs at once and one by one, jobs that end early, and what is counted.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use burn::prelude::*;
use mm_backbone::{
    BackboneConfig, BlockConfig, GauConfig, Init, MultiHeadConfig, MultiHeadVariant, PositionScheme,
};
use mm_diffusion::{Guidance, Level, Prediction, Sampler, Schedule};
use mm_model::parameters::{weights_of, with_weights};
use mm_model::{
    BytesConfig, CodedConfig, Constrain, Document, GenerateOptions, GenerationConfig, ImageCodes,
    Inpaint, LoadedModel, Mask, Model, ModelConfig, NetworkConfig, Order, Region, Segment,
    TimeConfig, UnetConfig, UnifiedConfig,
};
use mm_patch::{Grid, Image};
use mm_text::{TokenSampling, Tokenizer};

use super::{
    Engine, EngineOptions, Event, FinishReason, Job, ServedModel, SubmitError, Task, Ticket, Usage,
};

const GRID: Grid = Grid::new(2, 3, 4);

fn config(block: BlockConfig) -> ModelConfig {
    ModelConfig {
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
                depth: 3,
                block,
                positions: PositionScheme::RopeTv,
                rotary_base: 100.0,
                norm_epsilon: 1e-6,
            },
        }),
    }
}

fn multi_head(variant: MultiHeadVariant) -> ModelConfig {
    let (heads, key_heads, feed_forward) = (2, 1, 24);
    config(BlockConfig::MultiHead(MultiHeadConfig { variant, heads, key_heads, feed_forward }))
}

fn gau() -> ModelConfig {
    config(BlockConfig::Gau(GauConfig { expansion: 2, key_size: 8, bias: true }))
}

fn unet() -> ModelConfig {
    let network = UnetConfig {
        width: 8,
        growth: vec![1, 2],
        blocks: 2,
        groups: 4,
        smallest: 4,
        attention: vec![1],
    };
    ModelConfig { vocab: 0, network: NetworkConfig::Unet(network), ..gau() }
}

/// Makes a model whose weights are all moved, so that none is zero; `broken` ones are no numbers.
fn model(config: ModelConfig, broken: bool) -> Arc<LoadedModel> {
    let fresh = Model::new(&config, 1, &Device::flex()).unwrap();
    let mut weights = weights_of(&fresh);
    let mut init = Init::new(2, &Device::flex());
    for weight in weights.values_mut() {
        let moves = init.normal([weight.values.len()], 0.1).val();
        for (value, by) in weight.values.iter_mut().zip(moves.into_data().iter::<f32>()) {
            *value = if broken { f32::NAN } else { *value + by };
        }
    }
    let model = with_weights(fresh, &weights);
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    Arc::new(LoadedModel { config, tokenizer, model, generation: GenerationConfig::of_size(12, 8) })
}

fn engine(models: &[Arc<LoadedModel>], options: EngineOptions) -> Engine {
    let served = models.iter().enumerate().map(|(index, model)| ServedModel {
        name: format!("model-{index}"),
        created: 0,
        model: model.clone(),
    });
    Engine::start(served.collect(), options)
}

const BOUNDS: EngineOptions =
    EngineOptions { queue: 64, max_rows: 16, lanes: Some(1), time_limit: Duration::from_secs(120) };

/// What came out of a job.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    text: String,
    images: Vec<Image>,
    /// The steps that each image made.
    steps: Vec<usize>,
    /// The image and number of each preview, and after how many steps it came.
    previews: Vec<[usize; 3]>,
    started: bool,
    end: Option<(FinishReason, Usage)>,
    failed: Option<String>,
}

fn outcome(mut ticket: Ticket) -> Outcome {
    let mut all = Outcome::default();
    while let Some(event) = ticket.events.blocking_recv() {
        assert!(all.end.is_none() && all.failed.is_none(), "nothing comes after the end");
        match event {
            Event::Started => all.started = true,
            Event::Text(text) => all.text += &text,
            Event::Step { image, done, of } => {
                all.steps.resize(all.steps.len().max(image + 1), 0);
                all.steps[image] += 1;
                assert!(done == all.steps[image] && done <= of, "{done} of {of}");
            }
            Event::Preview { image, index, pixels } => {
                assert!(pixels.width() > 0);
                all.previews.push([image, index, all.steps[image]]);
            }
            Event::Image { image, pixels } => {
                assert_eq!(image, all.images.len());
                all.images.push(pixels);
            }
            Event::Finished { reason, usage } => all.end = Some((reason, usage)),
            Event::Failed(why) => all.failed = Some(why),
        }
    }
    all
}

/// Waits until something is so, for a while.
fn until(is: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not yet: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn image(seed: usize) -> Image {
    let mut image = Image::filled(12, 8, [20, 200, 90]);
    for at in 0..12 * 8 {
        image.set_pixel(at % 12, at / 12, [(at * seed % 251) as u8, (at * 7 % 256) as u8, 5]);
    }
    image
}

/// A job as plain data, which can be made again and again.
#[derive(Debug, Clone)]
enum Asked {
    Words { prompt: Document, options: GenerateOptions },
    Images { prompt: Document, grid: Grid, count: usize, inpaint: bool, options: GenerateOptions },
}

impl Asked {
    fn constraint(&self) -> Option<Inpaint> {
        let Self::Images { inpaint: true, .. } = self else { return None };
        let free = Region { x: 2, y: 1, width: 6, height: 5 };
        Some(Inpaint::new(image(3), Mask::rectangle(12, 8, free).unwrap(), 4).unwrap())
    }

    fn job(&self, model: usize, previews: usize) -> Job {
        let constraint = self.constraint().map(|own| Box::new(own) as Box<dyn Constrain + Send>);
        match self.clone() {
            Self::Words { prompt, options } => {
                Job { model, task: Task::Generate { prompt }, options, previews }
            }
            Self::Images { prompt, grid, count, options, .. } => {
                let task = Task::Draw { prompt, grid, count, constraint };
                Job { model, task, options, previews }
            }
        }
    }

    /// What the model gives without an engine.
    fn direct(&self, model: &LoadedModel) -> Outcome {
        let mut all = Outcome::default();
        match self {
            Self::Words { prompt, options } => {
                let made = model.generate(prompt, options, &mut |_| ()).unwrap();
                for segment in made.segments {
                    match segment {
                        Segment::Text { text, .. } => all.text += &text,
                        Segment::Image { image, .. } => all.images.push(image),
                    }
                }
            }
            Self::Images { prompt, grid, count, options, .. } => {
                all.images = match self.constraint() {
                    Some(mut own) => {
                        model.draw_constrained(prompt, *count, *grid, options, &mut own).unwrap()
                    }
                    None => model.draw_many(prompt, *count, *grid, options).unwrap(),
                };
            }
        }
        all
    }
}

fn drawing(text: &str, seed: u64) -> (Document, GenerateOptions) {
    let options = GenerateOptions { seed, steps: 6, ..GenerateOptions::default() };
    (if text.is_empty() { Document::default() } else { Document::of_text(text) }, options)
}

/// Drawings of every kind that need no text.
fn drawings(text: &str) -> Vec<Asked> {
    let plain = |seed| {
        let (prompt, options) = drawing(text, seed);
        (prompt, GenerateOptions { guidance: Guidance::OFF, ..options })
    };
    let asked = |(prompt, options): (Document, GenerateOptions), count, inpaint| Asked::Images {
        prompt,
        grid: GRID,
        count,
        inpaint,
        options,
    };
    let with = |(prompt, options): (Document, GenerateOptions), sampler| {
        (prompt, GenerateOptions { sampler, ..options })
    };
    let away = |(prompt, options): (Document, GenerateOptions)| {
        (prompt, GenerateOptions { negative: "bb".into(), ..options })
    };
    let (prompt, options) = drawing(text, 9);
    vec![
        asked(drawing(text, 1), 1, false),
        asked(plain(2), 1, false),
        asked(drawing(text, 3), 3, false),
        asked(drawing(text, 4), 2, true),
        asked(with(plain(5), Sampler::Ddpm), 1, false),
        asked(away(with(drawing(text, 6), Sampler::Ddim { eta: 1.0 })), 1, false),
        asked(with(drawing(text, 7), Sampler::Heun), 1, false),
        asked(drawing("", 8), 1, false),
        Asked::Images { prompt, grid: Grid::new(1, 2, 4), count: 2, inpaint: false, options },
    ]
}

/// Texts, one of which draws images of its own.
fn texts(model: &LoadedModel) -> Vec<Asked> {
    let tokens = TokenSampling { temperature: 1.0, top_k: None, top_p: None, min_p: None };
    let base = GenerateOptions { max_tokens: 24, max_patches: 6, steps: 4, ..Default::default() };
    let words = |prompt: Document, options: GenerateOptions| Asked::Words { prompt, options };
    let seen = vec![Segment::context_text("ab"), Segment::context_image(image(2))];
    let looking = Document { segments: seen };
    let drawing = (0..400).find_map(|seed| {
        let options = GenerateOptions { tokens, seed, max_tokens: 60, ..base.clone() };
        let asked = words(Document::of_text("a"), options);
        (!asked.direct(model).images.is_empty()).then_some(asked)
    });
    vec![
        words(Document::of_text("ab ba"), base.clone()),
        words(looking, GenerateOptions { tokens, seed: 11, max_images: 0, ..base }),
        drawing.expect("one of so many texts has an image"),
    ]
}

#[test]
fn jobs_at_once_give_the_bytes_of_jobs_one_by_one_and_of_the_model_alone() {
    use MultiHeadVariant::{Dit, Plain, Uvit};
    for config in [gau(), multi_head(Plain), multi_head(Uvit), multi_head(Dit), unet()] {
        let what = format!("{:?}", config.network);
        let model = model(config, false);
        let text = model.model.knows_text();
        let asked =
            [if text { texts(&model) } else { vec![] }, drawings(if text { "ab" } else { "" })];
        let asked = asked.concat();
        assert!(!text || asked.len() == 12);
        let running = engine(std::slice::from_ref(&model), BOUNDS);
        let submit = |asked: &Asked| running.submit(asked.job(0, 2)).unwrap();
        let tickets: Vec<Ticket> = asked.iter().map(submit).collect();
        let at_once: Vec<Outcome> = tickets.into_iter().map(outcome).collect();
        let passes = running.stats().passes;
        for (asked, at_once) in asked.iter().zip(&at_once) {
            let fresh = engine(std::slice::from_ref(&model), BOUNDS);
            let by_itself = outcome(fresh.submit(asked.job(0, 2)).unwrap());
            assert_eq!(*at_once, by_itself, "{asked:?} of {what}");
            let direct = asked.direct(&model);
            assert_eq!(at_once.text, direct.text, "{asked:?} of {what}");
            assert!(at_once.images == direct.images, "images of {asked:?} of {what}");
            assert!(at_once.started && at_once.end.is_some(), "{at_once:?}");
        }
        let rows = running.stats().rows;
        assert!(rows > passes * 3 / 2, "{rows} rows in {passes} passes of {what}");
        // Narrow passes cut jobs in other places, lanes run several of them at once, and prompts
        // are known by now.
        for bounds in
            [EngineOptions { max_rows: 3, ..BOUNDS }, EngineOptions { lanes: Some(3), ..BOUNDS }]
        {
            let other = engine(std::slice::from_ref(&model), bounds);
            for _ in 0..2 {
                let submit = |asked: &Asked| other.submit(asked.job(0, 2)).unwrap();
                let tickets: Vec<Ticket> = asked.iter().map(submit).collect();
                for (ticket, wanted) in tickets.into_iter().zip(&at_once) {
                    let found = outcome(ticket);
                    assert_eq!(found.text, wanted.text);
                    assert!(found.images == wanted.images, "with {bounds:?} of {what}");
                }
            }
        }
    }
}

#[test]
fn jobs_go_to_the_lane_with_the_fewest_rows_and_each_lane_has_room_of_its_own() {
    let model = model(gau(), false);
    let bounds = EngineOptions { max_rows: 2, lanes: Some(3), ..BOUNDS };
    let running = engine(&[model], bounds);
    let long = |seed| {
        let (prompt, options) = drawing("ab", seed);
        let options = GenerateOptions { steps: 300, ..options };
        Asked::Images { prompt, grid: GRID, count: 1, inpaint: false, options }
    };
    let tickets: Vec<Ticket> =
        (0..5).map(|seed| running.submit(long(seed).job(0, 0)).unwrap()).collect();
    let stats = running.stats();
    assert_eq!([stats.running, stats.waiting], [3, 2]);
    for ticket in tickets {
        assert_eq!(outcome(ticket).images.len(), 1);
    }
    until(|| running.stats().running == 0, "all have ended");
}

#[test]
fn the_next_turn_of_a_conversation_goes_on_from_the_last_and_gives_the_same() {
    let model = model(multi_head(MultiHeadVariant::Plain), false);
    let turn = |turns: usize| {
        let mut segments = vec![];
        for at in 0..turns {
            segments.push(Segment::context_text(format!("ab {at}")));
            segments.push(Segment::context_image(image(at + 1)));
        }
        let options = GenerateOptions { max_tokens: 8, max_images: 0, ..Default::default() };
        Asked::Words { prompt: Document { segments }, options }
    };
    let talking = engine(std::slice::from_ref(&model), BOUNDS);
    for turns in 1..5 {
        let fresh = engine(std::slice::from_ref(&model), BOUNDS);
        let found = outcome(talking.submit(turn(turns).job(0, 0)).unwrap());
        let wanted = outcome(fresh.submit(turn(turns).job(0, 0)).unwrap());
        assert_eq!(found, wanted);
        assert_eq!(found.text, turn(turns).direct(&model).text);
        let usage = found.end.unwrap().1;
        assert_eq!(usage.prompt_images, turns * (6 + 4));
        assert!(usage.prompt_text > turns && usage.text > 0 && usage.images == 0, "{usage:?}");
    }
}

/// Something that takes long: an image of many steps.
fn long() -> Asked {
    let (prompt, options) = drawing("ab", 1);
    let options = GenerateOptions { steps: 100_000, ..options };
    Asked::Images { prompt, grid: GRID, count: 1, inpaint: false, options }
}

fn short() -> Asked {
    let (prompt, options) = drawing("ab", 1);
    Asked::Images { prompt, grid: GRID, count: 1, inpaint: false, options }
}

#[test]
fn a_dropped_ticket_frees_its_rows_and_lets_the_next_job_in() {
    let model = model(gau(), false);
    let running = engine(&[model], EngineOptions { max_rows: 2, ..BOUNDS });
    let first = running.submit(long().job(0, 0)).unwrap();
    until(|| running.stats().passes > 3, "the first job is in progress");
    let (gone, next) =
        (running.submit(long().job(0, 0)).unwrap(), running.submit(short().job(0, 0)).unwrap());
    assert_eq!([running.stats().running, running.stats().waiting], [1, 2]);
    drop(gone);
    assert_eq!([running.stats().waiting, running.stats().cancelled as usize], [1, 1]);
    drop(first);
    assert_eq!(outcome(next).images.len(), 1);
    until(|| running.stats().running == 0, "all have ended");
    let stats = running.stats();
    assert_eq!([stats.finished, stats.failed, stats.cancelled, stats.images], [1, 0, 2, 1]);
}

#[test]
fn a_full_queue_refuses_a_job_and_says_when_to_come_back() {
    let model = model(gau(), false);
    let running = engine(&[model], EngineOptions { queue: 1, max_rows: 2, ..BOUNDS });
    let first = running.submit(long().job(0, 0)).unwrap();
    let second = running.submit(short().job(0, 0)).unwrap();
    let Err(SubmitError::QueueFull { waiting, retry_after }) = running.submit(short().job(0, 0))
    else {
        panic!("one more job was taken");
    };
    assert_eq!(waiting, 1);
    assert!(retry_after >= Duration::from_secs(1));
    drop(first);
    assert!(outcome(second).end.is_some());
}

#[test]
fn a_job_whose_time_is_over_fails_in_words() {
    let model = model(gau(), false);
    let time_limit = Duration::from_millis(300);
    let running = engine(&[model], EngineOptions { time_limit, ..BOUNDS });
    let found = outcome(running.submit(long().job(0, 0)).unwrap());
    assert_eq!(found.failed.unwrap(), "the request took longer than 0.3 s, which is the limit");
    assert!(outcome(running.submit(short().job(0, 0)).unwrap()).end.is_some());
    until(|| running.stats().running == 0, "all have ended");
    assert_eq!(running.stats().failed, 1);
}

#[test]
fn a_model_that_writes_images_byte_by_byte_takes_no_edit() {
    let mut config = gau();
    let NetworkConfig::Unified(unified) = config.network else { panic!("it is one") };
    let unified = UnifiedConfig { patch_pos_embed: 0, ..unified };
    let codes = ImageCodes::Bytes(BytesConfig::default());
    let coded = CodedConfig { unified, codes, order: Order::default() };
    config.network = NetworkConfig::Coded(coded);
    let running = engine(&[model(config, false)], BOUNDS);
    let (prompt, options) = drawing("ab", 1);
    let constraint = Some(Box::new(Broken(0)) as Box<dyn Constrain + Send>);
    let task = Task::Draw { prompt, grid: GRID, count: 1, constraint };
    let Err(SubmitError::Invalid(said)) =
        running.submit(Job { model: 0, task, options, previews: 0 })
    else {
        panic!("an edit was taken");
    };
    assert!(said.contains("writes images code by code and denoises nothing"), "{said}");
}

/// A constraint that panics at its third estimate.
struct Broken(usize);

impl Constrain for Broken {
    fn clean(&mut self, clean: Tensor<3>, _level: &Level) -> Tensor<3> {
        self.0 += 1;
        assert!(self.0 < 3, "as it was made to");
        clean
    }
}

#[test]
fn a_job_that_panics_or_computes_no_numbers_fails_alone() {
    let models = [model(gau(), false), model(gau(), true)];
    let running = engine(&models, BOUNDS);
    let (prompt, options) = drawing("ab", 1);
    let task = Task::Draw { prompt, grid: GRID, count: 1, constraint: Some(Box::new(Broken(0))) };
    let words = Asked::Words { prompt: Document::of_text("a"), options: options.clone() };
    let panics = running.submit(Job { model: 0, task, options, previews: 0 }).unwrap();
    let drawing = running.submit(short().job(1, 3)).unwrap();
    let writing = running.submit(words.job(1, 0)).unwrap();
    let good = running.submit(short().job(0, 0)).unwrap();
    assert_eq!(outcome(panics).failed.unwrap(), "the request failed: as it was made to");
    let said = outcome(drawing).failed.unwrap();
    assert!(said.contains("a drawing holds NaN, wanted finite numbers"), "{said}");
    let said = outcome(writing).failed.unwrap();
    assert!(said.contains("logits hold NaN, wanted finite numbers"), "{said}");
    assert!(outcome(good).images == short().direct(&models[0]).images);
    until(|| running.stats().running == 0, "all have ended");
    assert_eq!([running.stats().failed, running.stats().finished], [3, 1]);
}

#[test]
fn steps_and_previews_come_in_order_and_the_preview_keeps_the_constraint() {
    let model = model(gau(), false);
    let running = engine(std::slice::from_ref(&model), BOUNDS);
    let (prompt, options) = drawing("ab", 4);
    let asked = Asked::Images { prompt, grid: GRID, count: 2, inpaint: true, options };
    let mut ticket = running.submit(asked.job(0, 3)).unwrap();
    let mut seen = vec![];
    while let Some(event) = ticket.events.blocking_recv() {
        match event {
            Event::Step { image: 0, done, of: 6 } => seen.push(format!("{done}")),
            Event::Preview { image: 0, index, pixels } => {
                seen.push(format!("preview {index}"));
                assert_eq!(pixels.pixel(0, 0), image(3).pixel(0, 0));
            }
            Event::Image { image: 0, .. } => seen.push("image".into()),
            Event::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
    let wanted = ["1", "2", "preview 0", "3", "preview 1", "4", "5", "preview 2", "6", "image"];
    assert_eq!(seen, wanted);
}

#[test]
fn what_a_model_cannot_do_is_refused_in_its_own_words() {
    let models = [model(gau(), false), model(unet(), false)];
    let running = engine(&models, BOUNDS);
    let refused = |job: Job, wanted: &str| {
        let Err(SubmitError::Invalid(said)) = running.submit(job) else {
            panic!("taken: {wanted}");
        };
        assert!(said.contains(wanted), "{said}, wanted {wanted}");
    };
    let changed = |change: fn(&mut GenerateOptions)| {
        let mut job = short().job(0, 0);
        change(&mut job.options);
        job
    };
    refused(short().job(2, 0), "model 2 was asked for, wanted 0 to 1");
    refused(short().job(1, 0), "knows no text and takes no prompt");
    let words = Asked::Words { prompt: Document::default(), options: GenerateOptions::default() };
    refused(words.job(1, 0), "knows images alone");
    refused(changed(|options| options.steps = 0), "0");
    refused(changed(|options| options.sampler = Sampler::Ddim { eta: 7.0 }), "eta");
    refused(changed(|options| options.guidance.scale = f64::NAN), "NaN");
    refused(changed(|options| options.tokens.temperature = -1.0), "-1");
    let (prompt, options) = drawing("ab", 1);
    let none = |grid, count| Asked::Images {
        prompt: prompt.clone(),
        grid,
        count,
        inpaint: false,
        options: options.clone(),
    };
    refused(none(GRID, 0).job(0, 0), "`count` is 0, wanted at least 1");
    refused(none(Grid::new(2, 2, 8), 1).job(0, 0), "patches of 8 pixels, wanted 4");
    refused(none(Grid::new(65, 1, 4), 1).job(0, 0), "wanted at most 64 x 64");
    let odd = Document::of_image(Image::filled(5, 8, [0; 3]));
    let options = GenerateOptions::default();
    refused(Asked::Words { prompt: odd, options }.job(0, 0), "image 1 of the document");
    assert_eq!(running.stats().passes, 0);
}

#[test]
fn a_draining_engine_ends_what_it_has_taken_and_takes_no_more() {
    let model = model(gau(), false);
    let running = engine(&[model], EngineOptions { max_rows: 2, ..BOUNDS });
    let taken: Vec<Ticket> = (0..4).map(|_| running.submit(short().job(0, 0)).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(running.drain());
    assert_eq!(running.stats().finished, 4);
    assert!(matches!(running.submit(short().job(0, 0)), Err(SubmitError::Draining)));
    for ticket in taken {
        assert_eq!(outcome(ticket).images.len(), 1);
    }
}
