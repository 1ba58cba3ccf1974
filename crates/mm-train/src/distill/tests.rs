//! A distilled model draws in two steps nearly what its teacher draws in ten.

use mm_data::{DataSource, GlyphSet, Split};

use super::*;
use crate::batch::Batches;

fn tiny() -> Recipe {
    let recipe = Recipe::from_toml(include_str!("../../../mm-cli/recipes/glyphs.toml")).unwrap();
    recipe
        .with_all(&[
            ("image.width", "16"),
            ("image.height", "16"),
            ("model.backbone.depth", "2"),
            ("model.backbone.width", "64"),
            ("model.backbone.block.feed_forward", "128"),
            ("data.faces", "[\"hack\"]"),
            ("optimizer.ema", "0.98"),
            ("optimizer.warmup_steps", "20"),
            ("run.batch", "16"),
            ("run.steps", "300"),
        ])
        .unwrap()
}

/// Takes all steps of a run and returns its first and its last losses of images.
fn trained(training: &mut Training) -> [f64; 2] {
    let (recipe, data, tokenizer) =
        (training.recipe.clone(), training.data.clone(), training.tokenizer.clone());
    let mut batches = Batches::new(&recipe, &data, &tokenizer);
    let mut losses = vec![];
    for step in 0..recipe.run.steps {
        let report = training.step(&batches.batch(step).unwrap()).unwrap();
        losses.extend(report.losses.get(mm_model::IMAGE_LOSS));
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    [mean(&losses[..20]), mean(&losses[losses.len() - 20..])]
}

fn prompts(data: &mm_data::DataSet) -> Vec<Document> {
    let glyphs = data.downcast_ref::<GlyphSet>().unwrap();
    assert_eq!(glyphs.name(), "glyphs");
    let rng = &mut stream(0, Purpose::Example, 0, 0);
    (0..48).map(|_| Document::of_text(&glyphs.combination(Split::Train, rng).to_string())).collect()
}

#[test]
fn two_distilled_steps_are_nearer_to_the_teachers_ten_than_its_own_two() {
    let device = Device::flex();
    let recipe = tiny();
    let mut training = Training::start(recipe.clone(), &device).unwrap();
    trained(&mut training);
    let teacher = training.averaged();
    assert_eq!((teacher.generation.steps, teacher.generation.guidance.scale), (10, 2.0));
    let prompts = prompts(&training.data);

    let distilled = recipe.distilled(2, 450).unwrap();
    let mut training = Training::distill(distilled, &teacher, &device).unwrap();
    let untrained = training.averaged();
    let [first, last] = trained(&mut training);
    assert!(last < first, "{first} -> {last}");
    let student = training.averaged();
    assert_eq!((student.generation.steps, student.generation.guidance.scale), (2, 2.0));

    let off =
        |model: &LoadedModel, steps| drawing_distance(model, steps, &teacher, &prompts, 1).unwrap();
    assert_eq!(off(&teacher, 10), 0.0);
    let (found, teachers, before) = (off(&student, 2), off(&teacher, 2), off(&untrained, 2));
    assert!(found < 0.7 * teachers, "{found} distilled, {teachers} not, {before} at first");
}

#[test]
fn a_student_begins_as_its_teacher_without_guidance() {
    let device = Device::flex();
    let recipe = tiny();
    let teacher = Training::start(recipe.clone(), &device).unwrap().averaged();
    let training = Training::distill(recipe.distilled(2, 10).unwrap(), &teacher, &device).unwrap();
    let (student, prompts) = (training.averaged(), prompts(&training.data));
    let grid = teacher.grid().unwrap();
    let options = GenerateOptions { steps: 3, ..student.options(5) };
    let plain = GenerateOptions { guidance: Guidance::OFF, ..options.clone() };
    let found = student.draw(&prompts[..4], grid, &options).unwrap();
    assert_eq!(found, teacher.draw(&prompts[..4], grid, &plain).unwrap());
    let negative = GenerateOptions { negative: "red K on white".to_owned(), ..options };
    let why = student.draw(&prompts[..1], grid, &negative).unwrap_err().to_string();
    assert!(why.starts_with("this model is distilled"), "{why}");
}

#[test]
fn lessons_are_whole_parts_of_the_students_steps() {
    let recipe = tiny();
    let teacher = Training::start(recipe.clone(), &Device::flex()).unwrap().averaged();
    let distillation = Distillation::new(&recipe.distilled(2, 10).unwrap(), &teacher);
    assert_eq!(distillation.part, 0.1);
    let mut seen = [0; 3];
    for number in 0..400 {
        let lesson = distillation.lesson(0.4, number);
        assert!((1.0..=3.0).contains(&lesson.scale));
        if lesson.end == lesson.time {
            assert_eq!(lesson.time, 0.4);
            seen[0] += 1;
            continue;
        }
        let ends = [0.5, 1.0].iter().any(|end| (lesson.end - end).abs() < 1e-12);
        assert!(ends && lesson.time < lesson.end && lesson.end - lesson.time <= 1.0, "{lesson:?}");
        let tenths = lesson.time * 10.0;
        assert!((tenths - tenths.round()).abs() < 1e-9, "{lesson:?}");
        assert!(lesson.part > 0.0 && lesson.part <= 0.1 + 1e-12);
        let sum = lesson.part + lesson.rest().size;
        assert!((sum - lesson.jump().size).abs() < 1e-12);
        seen[if lesson.jump().size > 0.5 + 1e-9 { 1 } else { 2 }] += 1;
    }
    assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
}

#[test]
fn models_that_cannot_be_distilled_are_refused_by_the_field() {
    let refusal = |key: &str, value: &str| {
        tiny().with(key, value).unwrap().distilled(2, 10).unwrap_err().to_string()
    };
    let said = refusal("model.prediction", "noise");
    assert_eq!(said, "`model.prediction` is \"noise\", wanted `clean`");
    let bytes = Recipe { represent: Represent::Bytes, ..tiny() };
    let said = bytes.distilled(2, 10).unwrap_err().to_string();
    assert!(
        said.contains("`image.represent` is \"bytes\", wanted `patches` or `latents`"),
        "{said}"
    );
    let twice = tiny().distilled(2, 10).unwrap().distilled(1, 10).unwrap_err().to_string();
    assert!(twice.ends_with("wanted a sinusoidal time that is not yet distilled"), "{twice}");
}
