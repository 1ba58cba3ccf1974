//! Packed rows equal rows computed one by one.

use mm_data::DataSet;
use mm_train::batch::Batches;
use mm_train::{Recipe, Training};

use crate::common::{BLOCKS, device, tiny};

fn losses(recipe: &Recipe) -> [f32; 2] {
    let device = device();
    let training = Training::start(recipe.clone(), &device).unwrap();
    let data = DataSet::open(&recipe.data, recipe.image).unwrap();
    let batch = Batches::new(recipe, &data, &training.tokenizer).batch(0).unwrap().remove(0);
    let model = training.averaged().model;
    let losses =
        model.losses(&batch.to_device(&training.config, &device), training.config.prediction);
    ["text", "image"].map(|name| losses.value(name).unwrap().into_scalar::<f32>())
}

#[test]
fn several_documents_in_one_row_give_the_losses_of_one_a_row() {
    for block in BLOCKS {
        for more in ["0", "0.5"] {
            let with = |row: &str| {
                tiny(&[
                    ("model.backbone.block", block),
                    ("run.pack_len", row),
                    ("mix.same_or_different", more),
                    ("mix.which_one", more),
                ])
            };
            let (apart, packed, wide) =
                (losses(&with("0")), losses(&with("64")), losses(&with("200")));
            for (a, b) in apart.iter().zip(packed).chain(apart.iter().zip(wide)) {
                assert!((a - b).abs() < 1e-4 * a.abs(), "{block}: {a} and {b}");
            }
        }
    }
}
