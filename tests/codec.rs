//! Codecs in the ordinary trainer: each learns, resumes to the bit, keeps its codebook alive, and
//! its folder encodes and decodes.

use mm_data::{DataSet, Split};
use mm_eval::{codec_score, examples};
use mm_model::parameters::{Weights, weights_of};
use mm_model::{CodeImage, Document, GenerateOptions, LatentImage, LoadedModel};
use mm_patch::Image;
use mm_train::batch::Batches;
use mm_train::{Ending, Recipe, RunFolder, Training, train};

use crate::common::{TINY, device};

const FSQ: &str = include_str!("../crates/mm-cli/recipes/codec-fsq.toml");
const VQ: &str = include_str!("../crates/mm-cli/recipes/codec-vq-vae.toml");
const GAN: &str = include_str!("../crates/mm-cli/recipes/codec-vq-gan.toml");
const QUERIES: &str = include_str!("../crates/mm-cli/recipes/codec-queries.toml");
const KL: &str = include_str!("../crates/mm-cli/recipes/codec-kl.toml");

/// An embedded recipe made small: images of 16x16 pixels, cells of 4x4, eight channels.
fn small(text: &str, changes: &[(&str, &str)]) -> Recipe {
    let narrow = text.replace("[16, 32, 48]", "[8, 8, 8]").replace("groups = 8", "groups = 4");
    let narrow =
        narrow.replace("codes = 512", "codes = 32").replace("channels = 16", "channels = 4");
    let narrow = narrow.replace("adversarial_start = 500", "adversarial_start = 2");
    let narrow = narrow.replace(
        "count = 32\nlayers = 2\nrows = 8\ncols = 8",
        "count = 6\nlayers = 1\nrows = 4\ncols = 4",
    );
    let base = [
        ("data.letters", "[1, 1]"),
        ("image.width", "16"),
        ("image.height", "16"),
        ("run.batch", "6"),
        ("run.steps", "6"),
        ("run.checkpoint_every", "3"),
        ("optimizer.warmup_steps", "2"),
        ("sample.count", "3"),
    ];
    Recipe::from_toml(&narrow).unwrap().with_all(&base).unwrap().with_all(changes).unwrap()
}

#[test]
fn every_codec_learns_a_batch() {
    for text in [FSQ, VQ, GAN, QUERIES, KL] {
        let recipe = small(text, &[("optimizer.lr", "0.004"), ("run.steps", "40")]);
        let mut training = Training::start(recipe.clone(), &device()).unwrap();
        let data = DataSet::open(&recipe.data, recipe.image).unwrap();
        let tokenizer = training.tokenizer.clone();
        let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
        let losses: Vec<f64> =
            (0..40).map(|_| training.step(&batch).unwrap().losses.get("image").unwrap()).collect();
        let (first, last) = (losses[0], losses[39]);
        assert!(last < 0.7 * first, "{first} -> {last}");
    }
}

/// The weights of a run whose steps were taken in one go, or with a stop after the third.
fn trained(recipe: &Recipe, stop: bool) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), recipe).unwrap();
    let mut training = Training::start(recipe.clone(), &device()).unwrap();
    let mut steps = 0;
    let ending = train(&mut training, &run, &mut |event| {
        steps += u64::from(matches!(event, mm_train::TrainEvent::Step { .. }));
        !stop || steps < 3
    });
    if !stop {
        assert_eq!(ending.unwrap(), Ending::Complete);
        return weights_of(&training.raw().model);
    }
    assert_eq!(ending.unwrap(), Ending::Stopped);
    let (mut resumed, _) = run.resume(recipe.clone(), &device()).unwrap();
    assert_eq!(train(&mut resumed, &run, &mut |_| true).unwrap(), Ending::Complete);
    weights_of(&resumed.raw().model)
}

#[test]
fn a_resumed_codec_is_that_of_one_run_with_its_codebook() {
    for text in [VQ, GAN, KL] {
        let recipe = small(text, &[]);
        assert_eq!(trained(&recipe, true), trained(&recipe, false));
    }
}

#[test]
fn a_codebook_follows_the_whole_batch_in_however_many_parts() {
    let after = |parts: &str| {
        let recipe = small(VQ, &[("run.micro_batches", parts)]);
        let mut training = Training::start(recipe.clone(), &device()).unwrap();
        let tokenizer = training.tokenizer.clone();
        let data = training.data.clone();
        let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
        let before = weights_of(&training.raw().model)["codebook.counts"].clone();
        training.step(&batch).unwrap();
        let after = weights_of(&training.raw().model)["codebook.counts"].clone();
        assert_ne!(before, after, "it moves");
        after
    };
    let (one, three) = (after("1"), after("3"));
    for (one, three) in one.values.iter().zip(&three.values) {
        assert!((one - three).abs() < 1e-6, "{one}, {three}");
    }
    let sum: f32 = one.values.iter().sum();
    assert!((sum - 1.0).abs() < 1e-4, "shares of all codes are one: {sum}");
}

fn folder_of(text: &str) -> (tempfile::TempDir, LoadedModel, Vec<Image>) {
    let recipe = small(text, &[]);
    let training = Training::start(recipe.clone(), &device()).unwrap();
    let shown = examples(&training.data, Split::HeldOut, 2, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    training.averaged().save(folder.path()).unwrap();
    let model = LoadedModel::load(folder.path(), &device()).unwrap();
    (folder, model, shown.into_iter().map(|example| example.image).collect())
}

#[test]
fn a_folder_of_codes_encodes_decodes_and_is_measured() {
    for text in [FSQ, VQ] {
        let (_folder, model, images) = folder_of(text);
        let codes = model.codes(&images[0]).unwrap();
        assert_eq!((codes.rows, codes.cols, codes.codes.len()), (4, 4, 16));
        let decoded = model.image_of_codes(&codes).unwrap();
        assert_eq!(decoded, model.reconstruct(&images[..1]).unwrap()[0]);
        let score = codec_score(&model, &images).unwrap();
        let usage = score.codes.unwrap();
        assert_eq!(score.bits, 16.0 * (usage.vocabulary as f64).log2());
        assert!(usage.used > 0.0 && usage.perplexity <= 32.0, "{usage:?}");
        assert!(score.psnr.unwrap() > 0.0 && score.ssim.unwrap() <= 1.0);
        let said = |codes: CodeImage| model.image_of_codes(&codes).unwrap_err().to_string();
        let other = CodeImage { vocabulary: 7, ..codes.clone() };
        assert!(said(other).starts_with("codes of a vocabulary of 7, wanted "));
        let few = CodeImage { rows: 3, ..codes.clone() };
        assert_eq!(said(few), "16 codes, wanted 12: 3 x 4 cells");
        let latents = LatentImage { shape: [1, 1, 1], values: vec![0.0] };
        assert!(model.image_of_latents(&latents).is_err());
        let said = model.draw(&[Document::default()], model.grid().unwrap(), &model.options(0));
        assert!(said.unwrap_err().to_string().starts_with("this network is a codec"));
    }
}

#[test]
fn a_folder_of_latents_encodes_and_decodes_through_a_file() {
    let (_folder, model, images) = folder_of(KL);
    let latents = model.latents(&images[0]).unwrap();
    assert_eq!(latents.shape, [4, 4, 4]);
    let read = LatentImage::from_bytes(&latents.to_bytes()).unwrap();
    assert_eq!(read, latents);
    let decoded = model.image_of_latents(&read).unwrap();
    assert_eq!(decoded, model.reconstruct(&images[..1]).unwrap()[0]);
    let other = LatentImage { shape: [2, 4, 8], ..latents };
    let said = model.image_of_latents(&other).unwrap_err().to_string();
    assert_eq!(said, "latents of 2 channels, wanted 4: they are of another codec");
    assert!(weights_of(&model.model).contains_key("encoder.mid_block.attentions.0.to_q.weight"));
}

#[test]
fn a_recipe_that_a_codec_cannot_have_is_refused_by_key() {
    let said = |text: &str, key: &str, value: &str| {
        let recipe = Recipe::from_toml(text).unwrap();
        recipe.with(key, value).unwrap_err().to_string()
    };
    assert!(said(FSQ, "loss.latent", "0.5").contains("0, since nothing is learned"));
    assert!(said(VQ, "loss.latent", "0.0").contains("above 0 for a codebook"));
    assert!(said(FSQ, "image.patch", "2").contains("a multiple of the side of a cell"));
    assert!(said(KL, "model.codec.kl.network.norm_num_groups", "5").contains("norm_num_groups"));
    assert!(said(TINY, "loss.latent", "1.0").contains("only a `codec` has latents"));
    assert!(said(TINY, "loss.adversarial", "1.0").contains("only a `codec` has a discriminator"));
    assert!(said(VQ, "loss.adversarial", "1.0").contains("above 0 beside a `discriminator`"));
    assert!(said(GAN, "loss.adversarial", "0.0").contains("above 0 beside a `discriminator`"));
    let channels = "model.codec.codes.discriminator.channels";
    assert!(said(GAN, channels, "6").contains("a multiple of 4"));
}

/// The tiny recipe of text and glyphs, whose images are codes of the codec in a folder.
fn of_codes(folder: &std::path::Path, changes: &[(&str, &str)]) -> Recipe {
    let text = TINY
        .replace("patch = 8", &format!("patch = 4\nrepresent = \"codes\"\ncodec = {folder:?}"))
        .replace("patch_pos_embed = 4", "patch_pos_embed = 0")
        .replace("{ kind = \"velocity\", min_noise = 0.05 }", "{ kind = \"one\" }")
        .replace("scale = 2.0, from", "scale = 1.0, from");
    Recipe::from_toml(&text).unwrap().with_all(changes).unwrap()
}

/// Trains four steps, loses the codec's folder, resumes to the end, and returns the model, whose
/// codec is the trained one.
fn resumed_without_codec(
    mut training: Training,
    codec: tempfile::TempDir,
    trained_codec: &LoadedModel,
) -> LoadedModel {
    let recipe = training.recipe.clone();
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&folder.path().join("run"), &recipe).unwrap();
    let mut steps = 0;
    let ending = train(&mut training, &run, &mut |event| {
        steps += u64::from(matches!(event, mm_train::TrainEvent::Step { .. }));
        steps < 4
    });
    assert_eq!(ending.unwrap(), Ending::Stopped);
    drop(codec);
    let (mut resumed, _) = run.resume(recipe, &device()).unwrap();
    assert_eq!(train(&mut resumed, &run, &mut |_| true).unwrap(), Ending::Complete);
    let model = LoadedModel::load(&run.model(), &device()).unwrap();
    let (own, codec) = (weights_of(&model.model), weights_of(&trained_codec.model));
    for (name, weight) in codec {
        let kept = &own[&format!("codec.{name}")].values;
        let far = kept.iter().zip(&weight.values).find(|(own, old)| (**own - **old).abs() > 1e-5);
        assert_eq!(far, None, "{name} stays as it was trained, but for its average's rounding");
    }
    model
}

#[test]
fn a_model_of_codes_learns_and_is_resumed_without_the_folder_of_its_codec() {
    let (codec, trained_codec, _) = folder_of(FSQ);
    let recipe = of_codes(codec.path(), &[("run.steps", "8"), ("run.checkpoint_every", "4")]);
    let training = Training::start(recipe, &device()).unwrap();
    assert!(training.recipe.model.network.coded().is_some(), "the recipe has the codec's sizes");
    let model = resumed_without_codec(training, codec, &trained_codec);
    let drawn = model.draw(&[Document::of_text("red A")], model.grid().unwrap(), &model.options(3));
    assert_eq!(drawn.unwrap()[0].width(), 16);
}

#[test]
fn codes_are_learned_by_heart() {
    let (codec, ..) = folder_of(FSQ);
    let changes = [("optimizer.lr", "0.01"), ("run.steps", "40"), ("mix.read", "[0.0, 0.0]")];
    let recipe = of_codes(codec.path(), &changes);
    let mut training = Training::start(recipe, &device()).unwrap();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let recipe = training.recipe.clone();
    let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
    let losses: Vec<f64> =
        (0..40).map(|_| training.step(&batch).unwrap().losses.get("image").unwrap()).collect();
    assert!(losses[39] < 0.5 * losses[0], "{} -> {}", losses[0], losses[39]);
}

#[test]
fn codes_beside_a_denoising_option_or_without_a_codec_are_refused_by_key() {
    let (codec, ..) = folder_of(FSQ);
    let recipe = of_codes(codec.path(), &[]);
    let said = |key: &str, value: &str| recipe.with(key, value).unwrap_err().to_string();
    assert!(said("sample.guidance.scale", "2.0").contains("1, since codes are not denoised"));
    assert!(said("loss.reduction", "sum").contains("mean, since codes are not denoised"));
    assert!(said("model.patch_pos_embed", "4").contains("0, since codes are tokens"));
    assert!(said("image.represent", "patches").contains("image.codec"));
    let other = recipe.with("image.patch", "8").unwrap();
    let why = Training::start(other, &device()).err().unwrap().to_string();
    assert!(why.contains("the side of a cell of the `codec`"), "{why}");
    let (latents, ..) = folder_of(KL);
    let why = Training::start(of_codes(latents.path(), &[]), &device()).err().unwrap();
    assert!(why.to_string().contains("a model folder of a codec of codes"), "{why}");
}

/// The tiny recipe of text and glyphs, whose images are latents of the codec in a folder.
fn of_latents(folder: &std::path::Path, changes: &[(&str, &str)]) -> Recipe {
    let represent = format!("patch = 8\nrepresent = \"latents\"\ncodec = {folder:?}");
    let text = TINY.replace("patch = 8", &represent);
    Recipe::from_toml(&text).unwrap().with_all(changes).unwrap()
}

#[test]
fn a_model_of_latents_learns_and_is_resumed_without_the_folder_of_its_codec() {
    let (codec, trained_codec, images) = folder_of(KL);
    let recipe = of_latents(codec.path(), &[("run.steps", "8"), ("run.checkpoint_every", "4")]);
    let training = Training::start(recipe, &device()).unwrap();
    let scale = training.recipe.model.network.latent().unwrap().codec.scaling_factor;
    assert!(scale != 1.0 && scale > 0.0, "the scale was measured: {scale}");
    let model = resumed_without_codec(training, codec, &trained_codec);
    let prompts = [Document::of_text("red A"), Document::of_image(images[0].clone())];
    let drawn = model.draw(&prompts, model.grid().unwrap(), &model.options(3)).unwrap();
    assert!(drawn.iter().all(|image| image.width() == 16));
    let read = model.read(&prompts[1..], &GenerateOptions { max_tokens: 3, ..model.options(0) });
    assert_eq!(read.unwrap().len(), 1);
}

#[test]
fn latents_are_learned_by_heart() {
    let (codec, ..) = folder_of(KL);
    let changes = [("optimizer.lr", "0.01"), ("run.steps", "60"), ("mix.read", "[0.0, 0.0]")];
    let mut training = Training::start(of_latents(codec.path(), &changes), &device()).unwrap();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let recipe = training.recipe.clone();
    let batches = Batches::new(&recipe, &data, &tokenizer);
    let batch = batches.of_model(training.model()).batch(0).unwrap();
    let losses: Vec<f64> =
        (0..60).map(|_| training.step(&batch).unwrap().losses.get("image").unwrap()).collect();
    assert!(losses[59] < 0.7 * losses[0], "{} -> {}", losses[0], losses[59]);
}

#[test]
fn bytes_are_learned_by_heart_in_an_order_of_their_own() {
    let text = TINY
        .replace("patch = 8", "patch = 4\nrepresent = \"bytes\"\norder = \"center-out\"")
        .replace("width = 16", "width = 12")
        .replace("height = 16", "height = 12")
        .replace("patch_pos_embed = 4", "patch_pos_embed = 0")
        .replace("{ kind = \"velocity\", min_noise = 0.05 }", "{ kind = \"one\" }")
        .replace("scale = 2.0, from", "scale = 1.0, from");
    let changes = [("optimizer.lr", "0.01"), ("run.steps", "40"), ("run.batch", "2")];
    let recipe = Recipe::from_toml(&text).unwrap().with_all(&changes).unwrap();
    let mut training = Training::start(recipe, &device()).unwrap();
    let (data, tokenizer) = (training.data.clone(), training.tokenizer.clone());
    let recipe = training.recipe.clone();
    let batch = Batches::new(&recipe, &data, &tokenizer).batch(0).unwrap();
    let losses: Vec<f64> =
        (0..40).map(|_| training.step(&batch).unwrap().losses.get("image").unwrap()).collect();
    assert!(losses[39] < 0.6 * losses[0], "{} -> {}", losses[0], losses[39]);
    let said = |key: &str, value: &str| recipe.with(key, value).unwrap_err().to_string();
    assert!(said("image.represent", "patches").contains("bytes, since `model.bytes` says how"));
    assert!(said("image.order", "rows").contains("the order that `model.order` names"));
    assert!(said("model.bytes.levels", "1").contains("2 to 256"));
}

#[test]
fn latents_of_another_codec_or_patch_or_with_an_order_are_refused_by_key() {
    let (latents, ..) = folder_of(KL);
    let recipe = of_latents(latents.path(), &[]);
    let said = |key: &str, value: &str| recipe.with(key, value).unwrap_err().to_string();
    assert!(said("image.order", "snake").contains("rows, since only codes and bytes"));
    assert!(said("image.represent", "bytes").contains("absent, since bytes need no codec"));
    let wrong = |recipe: Recipe| Training::start(recipe, &device()).err().unwrap().to_string();
    let patch = wrong(recipe.with("image.patch", "2").unwrap());
    assert!(
        patch.contains("`image.patch` is 2, wanted a multiple of the side of a cell"),
        "{patch}"
    );
    let (codes, ..) = folder_of(FSQ);
    let why = wrong(of_latents(codes.path(), &[]));
    assert!(why.contains("a model folder of a codec of latents"), "{why}");
}

#[test]
fn a_codec_folder_of_another_size_or_version_is_refused_by_name() {
    let (codec, ..) = folder_of(FSQ);
    let wrong = |recipe: Recipe| Training::start(recipe, &device()).err().unwrap().to_string();
    // A run folder's recipe has the codec's sizes; the folder that it names is of another codec.
    let recipe = of_codes(codec.path(), &[]).with_sizes_of_codec().unwrap();
    let (other, ..) = folder_of(VQ);
    let folder = format!("{:?}", other.path());
    let why = wrong(recipe.with("image.codec", &folder).unwrap());
    let wanted = "the folder of the codec whose sizes `model.codec` has";
    assert!(why.contains("image.codec") && why.contains(wanted), "{why}");
    // An image whose sides are no whole cells.
    let why = of_codes(codec.path(), &[]).with("image.width", "18").unwrap_err().to_string();
    assert_eq!(why, "image size 18x16 is not made of whole patches of 4x4 pixels");
    // A folder of another version.
    let file = codec.path().join("config.json");
    let text = fs_err::read_to_string(&file).unwrap();
    assert!(text.contains("\"format\": 2"), "{text}");
    fs_err::write(&file, text.replace("\"format\": 2", "\"format\": 99")).unwrap();
    let why = of_codes(codec.path(), &[]).with_sizes_of_codec().unwrap_err();
    let chain = format!("{why} {:?}", std::error::Error::source(&why).map(ToString::to_string));
    assert!(chain.contains("99") && chain.contains("config.json"), "{chain}");
}

#[test]
fn codes_of_queries_encode_and_decode_and_stand_at_no_place() {
    let (folder, model, images) = folder_of(QUERIES);
    let codes = model.codes(&images[0]).unwrap();
    assert_eq!((codes.rows, codes.cols, codes.codes.len()), (1, 6, 6));
    let decoded = model.image_of_codes(&codes).unwrap();
    assert_eq!(decoded, model.reconstruct(&images[..1]).unwrap()[0]);
    let other = CodeImage { rows: 2, cols: 3, ..codes };
    let said = model.image_of_codes(&other).unwrap_err().to_string();
    assert_eq!(said, "6 codes, wanted 6: 1 x 6 cells");
    let large = Image::filled(32, 16, [9; 3]);
    let said = model.codes(&large).unwrap_err().to_string();
    assert!(said.contains("32 x 16 pixels, wanted 16 x 16, the only size"), "{said}");
    let why = Training::start(of_codes(folder.path(), &[]), &device()).err().unwrap().to_string();
    assert!(why.contains("codec.codes.queries") && why.contains("at no place"), "{why}");
}
