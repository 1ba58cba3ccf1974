//! Requests against a tiny model with random weights.

use burn::prelude::Device;
use burn::tensor::read_sync;
use mm_backbone::{BackboneConfig, BlockConfig, GauConfig, PositionScheme};
use mm_diffusion::{Prediction, Schedule};
use mm_model::{
    Document, GenerationConfig, LoadedModel, Model, ModelConfig, ModelParts, NetworkConfig,
    Segment, TimeConfig, UnifiedConfig,
};
use mm_patch::{DecodeOptions, Image, png_texts};
use mm_text::Tokenizer;
use proptest::prelude::*;

use super::*;

/// Makes a model of 8 x 6 pixels that was never trained.
fn tiny() -> WebModel {
    let tokenizer = Tokenizer::train(["ab"].map(str::to_owned).into_iter(), 389).unwrap();
    let config = ModelConfig {
        patch: 2,
        vocab: 389,
        time: TimeConfig::Sinusoidal { channels: 4, scale: 1.0 },
        schedule: Schedule::Linear,
        prediction: Prediction::Clean,
        network: NetworkConfig::Unified(UnifiedConfig {
            patch_bias: true,
            patch_pos_embed: 0,
            patch_convolution: false,
            backbone: BackboneConfig {
                width: 8,
                depth: 1,
                block: BlockConfig::Gau(GauConfig { expansion: 1, key_size: 4, bias: false }),
                positions: PositionScheme::RopeTv,
                rotary_base: 100.0,
                norm_epsilon: 1e-6,
            },
        }),
    };
    let model = Model::new(&config, 3, &Device::flex()).unwrap();
    let generation = GenerationConfig { steps: 3, ..GenerationConfig::of_size(8, 6) };
    let model = LoadedModel { config, tokenizer, model, generation };
    WebModel { name: "tiny".to_owned(), model }
}

fn request<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

/// Does work that tells what it makes; returns all of it.
fn told(work: impl AsyncFnOnce(Told<'_>) -> Result<(), WebError>) -> Result<Vec<Made>, WebError> {
    let mut made = vec![];
    read_sync(work(&mut |one| made.push(one)))?;
    Ok(made)
}

fn image(made: &[Made]) -> &Image {
    match made.last() {
        Some(Made::Image { pixels, .. }) => pixels,
        other => panic!("the last is {other:?}, wanted an image"),
    }
}

#[test]
fn a_drawing_is_that_of_the_library_for_the_same_seed_and_every_step_is_told() {
    let tiny = tiny();
    let asked: DrawRequest = request(r#"{"prompt": "red a", "seed": 7}"#);
    let made = told(async |on| tiny.draw(&asked, on).await).unwrap();
    let prompt = Document::of_text("red a");
    let model = &tiny.model;
    let wanted = model.draw_many(&prompt, 1, model.grid().unwrap(), &model.options(7)).unwrap();
    assert_eq!(image(&made), &wanted[0]);
    assert_eq!(made.len(), 4);
    for (at, step) in made[..3].iter().enumerate() {
        let Made::Step { done, of: 3, estimate: Some(estimate) } = step else { panic!("{step:?}") };
        assert_eq!((*done, estimate.width(), estimate.height()), (at + 1, 8, 6));
    }
}

#[test]
fn the_file_of_a_drawing_tells_how_it_was_drawn() {
    let asked: DrawRequest = request(
        r#"{"prompt": "a\u0000b", "seed": 9, "steps": 2, "guidance": 1.5, "sampler": "ddim",
            "negative_prompt": "b", "size": "4x2"}"#,
    );
    let made = told(async |on| tiny().draw(&asked, on).await).unwrap();
    let Some(Made::Image { png, pixels }) = made.last() else { panic!("{made:?}") };
    assert_eq!(&Image::decode(png, &DecodeOptions::default()).unwrap(), pixels);
    let texts = png_texts(png).unwrap();
    let text = |keyword: &str| {
        texts.iter().find(|text| text.keyword == keyword).map(|text| text.text.as_str())
    };
    assert_eq!((text("Description"), text("Negative")), (Some("ab"), Some("b")));
    assert_eq!((text("Model"), text("Seed"), text("Steps")), (Some("tiny"), Some("9"), Some("2")));
    assert_eq!((text("Guidance"), text("Sampler")), (Some("1.5"), Some("ddim")));
    assert_eq!((text("Size"), text("Strength")), (Some("4x2"), None));
}

#[test]
fn an_edit_keeps_what_its_mask_keeps() {
    let tiny = tiny();
    let before = Image::filled(8, 6, [200, 30, 90]);
    let mut mask = Image::filled(8, 6, [0; 3]);
    mask.paste(&Image::filled(3, 3, [255; 3]), 2, 1);
    let asked: DrawRequest = request(r#"{"prompt": "a", "seed": 1}"#);
    let (file, mask) = (before.encode_png(), mask.encode_png());
    let made = told(async |on| tiny.edit(&asked, &file, Some(&mask), on).await).unwrap();
    let after = image(&made);
    let is_free = |x: usize, y: usize| (2..5).contains(&x) && (1..4).contains(&y);
    for (x, y) in (0..8).flat_map(|x| (0..6).map(move |y| (x, y))) {
        let kept = after.pixel(x, y) == before.pixel(x, y);
        assert!(kept || is_free(x, y), "pixel {x}, {y} was changed");
    }
    assert_ne!(after, &before);
}

#[test]
fn an_edit_without_a_mask_has_a_strength_or_is_by_instruction() {
    let tiny = tiny();
    let file = Image::filled(8, 6, [200, 30, 90]).encode_png();
    let edited =
        |json: &str| told(async |on| tiny.edit(&request(json), &file, None, on).await).unwrap();
    // A quarter of three steps is one step.
    assert_eq!(edited(r#"{"strength": 0.25}"#).len(), 2);
    assert_eq!(edited(r#"{"strength": 1}"#).len(), 4);
    assert_eq!(edited(r#"{"prompt": "blue"}"#).len(), 4);
    let large = Image::filled(33, 21, [1, 2, 3]).encode_png();
    let made =
        told(async |on| tiny.edit(&request(r#"{"prompt": "blue"}"#), &large, None, on).await)
            .unwrap();
    assert_eq!((image(&made).width(), image(&made).height()), (8, 6));
}

#[test]
fn reading_and_answering_give_the_texts_of_the_library() {
    let tiny = tiny();
    let shown = Image::filled(8, 6, [10, 200, 30]);
    let asked: ReadRequest = request(r#"{"max_tokens": 5}"#);
    let text = read_sync(tiny.read(&asked, &shown.encode_png())).unwrap();
    let options = asked.options(&tiny.model).unwrap();
    let wanted = tiny.model.read(&[Document::of_image(shown.clone())], &options).unwrap();
    assert_eq!(text, wanted[0]);

    let asked: ChatRequest = request(
        r#"{"messages": [
              {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
              {"role": "user", "content": [{"type": "image", "image": 0},
                                           {"type": "text", "text": "what is it"}]}
            ], "max_tokens": 12, "temperature": 1, "seed": 3, "steps": 2}"#,
    );
    let made = told(async |on| tiny.chat(&asked, &[shown.encode_png()], on).await).unwrap();
    let mut segments = ["be brief", "\n"].map(Segment::context_text).to_vec();
    segments.push(Segment::context_image(shown));
    segments.extend(["what is it", "\n"].map(Segment::context_text));
    let options = asked.options(&tiny.model).unwrap();
    let wanted = tiny.model.generate(&Document { segments }, &options, &mut |_| ()).unwrap();
    let texts = |made: &[Made]| -> String {
        let text = |one: &Made| match one {
            Made::Text(text) => text.clone(),
            _ => String::new(),
        };
        made.iter().map(text).collect()
    };
    let wanted: String = wanted
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Text { text, .. } => text.as_str(),
            Segment::Image { .. } => "",
        })
        .collect();
    assert_eq!(texts(&made), wanted);
    assert!(!wanted.is_empty());
}

#[test]
fn a_wrong_field_is_named_with_what_was_found_and_wanted() {
    let tiny = tiny();
    let file = Image::filled(8, 6, [0; 3]).encode_png();
    let check = |json: &str, field: &str, words: &str| {
        let asked: DrawRequest = request(json);
        let why = match &asked.strength {
            Some(_) => told(async |on| tiny.edit(&asked, &file, None, on).await).unwrap_err(),
            None => told(async |on| tiny.draw(&asked, on).await).unwrap_err(),
        };
        assert_eq!(why.field(), Some(field), "{json}");
        assert!(why.words().contains(words), "{}", why.words());
    };
    check(r#"{"steps": 0}"#, "steps", "`steps` is 0, wanted 1 to 1000");
    check(r#"{"guidance": -1}"#, "guidance", "`guidance` is -1, wanted 0 to 100");
    check(r#"{"sampler": "oiler"}"#, "sampler", "`sampler` is oiler, wanted the name");
    check(
        r#"{"size": "5x4"}"#,
        "size",
        "`size` is 5x4, wanted `auto` or WIDTHxHEIGHT in multiples of 2",
    );
    check(r#"{"size": "999999x2"}"#, "size", "at most 4096 patches");
    check(r#"{"strength": 1.5}"#, "strength", "`strength` is 1.5");
    let asked: DrawRequest = request("{}");
    let all = Image::filled(8, 6, [0; 3]).encode_png();
    let why = told(async |on| tiny.edit(&asked, &file, Some(&all), on).await).unwrap_err();
    assert_eq!(why.field(), Some("mask"));
    let why = told(async |on| tiny.edit(&asked, b"GIF89a", None, on).await).unwrap_err();
    assert_eq!(why.field(), Some("image"));
    let asked: DrawRequest = request(r#"{"strength": 0.5}"#);
    assert_eq!(told(async |on| tiny.draw(&asked, on).await).unwrap_err().field(), Some("strength"));
    let asked: ChatRequest =
        request(r#"{"messages": [{"role": "user", "content": [{"type": "image", "image": 1}]}]}"#);
    let why = told(async |on| tiny.chat(&asked, &[file], on).await).unwrap_err();
    assert_eq!(
        why.words(),
        "`messages` is image 1, wanted an image below 1, the number that was given"
    );
}

#[test]
fn an_unknown_field_and_weights_that_are_cut_are_refused_by_name() {
    let why = serde_json::from_str::<DrawRequest>(r#"{"seeed": 1}"#).unwrap_err();
    let words = WebError::from(why).words();
    assert!(words.starts_with("the request is not understood: unknown field `seeed`"), "{words}");
    let model = tiny().model;
    let tokenizer = model.tokenizer.to_json();
    let parts = ModelParts {
        config: &mm_model::config_to_bytes(&model.config),
        tokenizer: tokenizer.as_bytes(),
        generation: &serde_json::to_vec(&model.generation).unwrap(),
        weights: &mm_model::parameters::weights_to_bytes(&mm_model::parameters::weights_of(
            &model.model,
        ))
        .unwrap(),
    };
    assert!(WebModel::load("whole", parts, &Device::flex()).is_ok());
    let cut = ModelParts { weights: &parts.weights[..parts.weights.len() / 2], ..parts };
    let words = WebModel::load("cut", cut, &Device::flex()).unwrap_err().words();
    assert!(words.contains("model.safetensors"), "{words}");
}

proptest! {
    #[test]
    fn bytes_that_are_no_image_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(shown::decoded(&bytes, "image").is_err());
    }

    #[test]
    fn any_size_is_a_grid_of_whole_patches_or_an_error(width in 0u32..3000, height in 0u32..3000) {
        let tiny = tiny();
        let asked = DrawRequest { size: Some(format!("{width}x{height}")), ..DrawRequest::default() };
        if let Ok(Some(grid)) = asked.grid(&tiny.model) {
            prop_assert_eq!((grid.width(), grid.height()), (width as usize, height as usize));
            prop_assert!(grid.tokens() <= 4096);
        }
    }
}
