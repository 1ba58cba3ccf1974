//! Su Jianlin's optimizer: weights, averages and losses of a small network over twenty updates, as
//! computed by bert4keras (layer adaptation over Adam, a rate of straight lines, an average from
//! zero with bias correction). Held to them are the optimizer, average and rate that a run makes of
//! its recipe.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::activation::silu;
use mm_train::{Ema, Recipe, learning_rate, optimizer};
use safetensors::SafeTensors;

use crate::common::{device, tiny};

const FILE: &[u8] = include_bytes!("golden/keras_lamb_ema.safetensors");

/// `x -> dense a (swish, bias) -> RMSNorm -> dense b`, under Keras's names.
#[derive(Module, Debug)]
struct Net {
    /// `[8, 12]`
    kernel_a: Param<Tensor<2>>,
    /// `[12]`
    bias: Param<Tensor<1>>,
    /// `[12]`
    gamma: Param<Tensor<1>>,
    /// `[12, 4]`
    kernel_b: Param<Tensor<2>>,
}

fn read<const D: usize>(file: &SafeTensors<'_>, name: &str) -> Tensor<D> {
    let view = file.tensor(name).unwrap();
    let numbers: Vec<f32> =
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    Tensor::from_data(TensorData::new(numbers, view.shape().to_vec()), &device())
}

impl Net {
    fn load(file: &SafeTensors<'_>, at: &str) -> Self {
        let name = |rest: &str| format!("{at}/{rest}:0");
        let leaf2 =
            |rest| Param::from_tensor(read::<2>(file, &name(rest)).autodiff().require_grad());
        let leaf1 =
            |rest| Param::from_tensor(read::<1>(file, &name(rest)).autodiff().require_grad());
        Self {
            kernel_a: leaf2("a/kernel"),
            bias: leaf1("a/bias"),
            gamma: leaf1("layer_normalization/gamma"),
            kernel_b: leaf2("b/kernel"),
        }
    }

    /// `[rows, 8]` -> `[rows, 4]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = silu(x.matmul(self.kernel_a.val()) + self.bias.val().unsqueeze());
        let rms = (hidden.clone().square().mean_dim(1) + 1e-7).sqrt();
        (hidden / rms * self.gamma.val().unsqueeze()).matmul(self.kernel_b.val())
    }

    fn numbers(&self) -> Vec<Vec<f32>> {
        let flat = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
        vec![
            flat(self.kernel_a.val().without_autodiff().flatten(0, 1)),
            flat(self.bias.val().without_autodiff()),
            flat(self.gamma.val().without_autodiff()),
            flat(self.kernel_b.val().without_autodiff().flatten(0, 1)),
        ]
    }
}

fn assert_near(found: &[Vec<f32>], wanted: &[Vec<f32>], what: &str) {
    for (found, wanted) in found.iter().zip(wanted) {
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 2e-6, "{what}: {found}, wanted {wanted}");
        }
    }
}

#[test]
fn twenty_updates_agree_with_the_seed_authors_optimizer() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let (x, y) = (read::<2>(&file, "x"), read::<2>(&file, "y"));
    let losses = read::<1>(&file, "losses").into_data().try_to_vec::<f32>().unwrap();
    let recipe: Recipe = tiny(&[
        ("optimizer.kind", "lamb"),
        ("optimizer.betas", "[0.9, 0.999]"),
        ("optimizer.ema", "0.9"),
        ("optimizer.ema_start", "zero"),
        ("optimizer.lr", "1e-3"),
        ("optimizer.points", "[[4.0, 1.0], [10.0, 0.5], [16.0, 0.1]]"),
    ]);
    let mut net = Net::load(&file, "step0");
    let mut optimizer = optimizer(&recipe.optimizer);
    let mut average = Ema::new(&recipe.optimizer, &net);
    for update in 0..20 {
        let loss = (net.forward(x.clone()) - y.clone()).square().sum() / x.dims()[0] as f64;
        let grads = GradientsParams::from_grads(loss.backward(), &net);
        let loss = loss.into_scalar::<f32>();
        assert!((loss / losses[update as usize] - 1.0).abs() < 1e-5, "{update}: {loss}");
        net = optimizer.step(learning_rate(&recipe.optimizer, update, 20), net, grads);
        average.update(&net, update);
        let done = update + 1;
        if [1, 2, 5, 20].contains(&done) {
            let wanted = |kind: &str| Net::load(&file, &format!("{kind}{done}")).numbers();
            assert_near(&net.numbers(), &wanted("step"), "weights");
            assert_near(&average.model(&net).numbers(), &wanted("ema"), "averages");
        }
    }
}
