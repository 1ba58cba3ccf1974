//! Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): `W + (alpha / rank) A B`, where `A` and
//! `B` are trained and `W` stays as it is.
//!
//! Burn attaches them to parameters, so every block computes with the sum without knowing it, fused
//! kernels included. They are put on the matrices of the blocks. A model that is written has them
//! added in, so no reader needs to know of them.

use burn::module::{Lora, Module, ParamGroup};
use burn::prelude::*;
use mm_model::parameters::{Weight, Weights, shapes_of, weights_of, with_weights};
use mm_model::random::{Purpose, normals, stream};
use mm_model::{LoadedModel, Model};

use crate::recipe::LoraConfig;

const A: &str = ".lora.a";
const B: &str = ".lora.b";
/// Holds the parts of a path that only the matrices of blocks have.
const MATRICES: [&str; 2] = ["blocks", "weight"];

/// Lists the matrices of a block in the order in which their adapters are drawn, from a stream
/// each.
const DRAWN: [&str; 6] =
    ["down_proj", "in_proj", "qkv_proj", "out_proj", "gate_up_proj", "modulation"];

/// Returns the order in which adapters are drawn: blocks by their paths, then [`DRAWN`].
fn drawn_at(path: &str) -> (String, usize) {
    let of = |(at, matrix): (usize, &&str)| Some((path.find(&format!(".{matrix}."))?, at));
    let (end, at) = DRAWN.iter().enumerate().find_map(of).unwrap_or((path.len(), DRAWN.len()));
    (path[..end].to_owned(), at)
}

/// Says whether a parameter belongs to a matrix of a block, which gets adapters, and which Muon
/// takes.
pub(crate) fn is_of_matrix(path: &str) -> bool {
    MATRICES.iter().all(|part| path.contains(part))
}

/// Returns the paths of the two factors of a matrix, and how many numbers each has.
pub(crate) fn factors(
    path: &str,
    inputs: usize,
    outputs: usize,
    rank: usize,
) -> [(String, usize); 2] {
    [(format!("{path}{A}"), inputs * rank), (format!("{path}{B}"), rank * outputs)]
}

/// Puts adapters on the matrices of the blocks. `A` is drawn from `seed` and `B` is 0, so that the
/// model computes as before. With rank 0 the model stays as it is.
pub(crate) fn adapted(model: Model, config: LoraConfig, seed: u64) -> Model {
    if config.rank == 0 {
        return model;
    }
    let matrices = ParamGroup::from_predicates(MATRICES.to_vec());
    let model = model.apply_lora(Lora::new(config.rank, config.alpha).set_param_group(matrices));
    let mut weights = weights_of(&model);
    let mut drawn: Vec<_> = weights.iter_mut().filter(|(name, _)| name.ends_with(A)).collect();
    drawn.sort_by_key(|(name, _)| drawn_at(name));
    for (number, (_, a)) in drawn.into_iter().enumerate() {
        let numbers =
            normals(&mut stream(seed, Purpose::Adapter, 0, number as u64), a.values.len());
        let scale = (a.shape[0] as f32).powf(-0.5);
        a.values = numbers.into_iter().map(|number| number * scale).collect();
    }
    with_weights(model, &weights)
}

/// Returns the model with its adapters added into the matrices.
pub(crate) fn merged(loaded: LoadedModel, config: LoraConfig, device: &Device) -> LoadedModel {
    if config.rank == 0 {
        return loaded;
    }
    let all = weights_of(&loaded.model);
    let scale = (config.alpha / config.rank as f64) as f32;
    let plain = Model::new(&loaded.config, 0, device).expect("it was valid before");
    let weight = |name: String| {
        let mut weight = all[&name].clone();
        if let (Some(a), Some(b)) = (all.get(&format!("{name}{A}")), all.get(&format!("{name}{B}")))
        {
            add_product(&mut weight, a, b, scale);
        }
        (name, weight)
    };
    let weights: Weights = shapes_of(&plain).into_keys().map(weight).collect();
    LoadedModel { model: with_weights(plain, &weights), ..loaded }
}

/// Computes `W += scale A B`.
fn add_product(weight: &mut Weight, a: &Weight, b: &Weight, scale: f32) {
    let (rank, outputs) = (b.shape[0], b.shape[1]);
    for (row, a) in weight.values.chunks_exact_mut(outputs).zip(a.values.chunks_exact(rank)) {
        for (a, b) in a.iter().zip(b.values.chunks_exact(outputs)) {
            for (to, b) in row.iter_mut().zip(b) {
                *to += scale * a * b;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_drawn_block_by_block_in_a_fixed_order() {
        let block = |number: usize, matrices: &[&str]| {
            let path = |matrix| format!("backbone.blocks.{number}.{matrix}.weight.lora.a");
            matrices.iter().map(path).collect::<Vec<_>>()
        };
        let order = ["down_proj", "qkv_proj", "out_proj", "gate_up_proj", "modulation.proj"];
        let wanted = [block(1, &order), block(10, &["in_proj", "out_proj"]), block(2, &order)];
        let mut found = wanted.concat();
        found.sort();
        assert_ne!(found, wanted.concat());
        found.sort_by_key(|path| drawn_at(path));
        assert_eq!(found, wanted.concat());
    }

    #[test]
    fn the_product_of_the_factors_is_added_to_the_matrix() {
        let weight = |shape: [usize; 2], values: &[f32]| Weight {
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let mut w = weight([2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        add_product(
            &mut w,
            &weight([2, 1], &[1.0, 2.0]),
            &weight([1, 3], &[1.0, 10.0, 100.0]),
            0.5,
        );
        assert_eq!(w.values, [0.5, 6.0, 52.0, 4.0, 14.0, 105.0]);
    }
}
