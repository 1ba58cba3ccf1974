//! Operations that bring their own gradient, on every backend.
//!
//! Burn records the gradient of each device operation, and keeps what that needs. Here a whole
//! computation is done without being recorded, and its result is then given one gradient, which is
//! a function over plain tensors. Two things are made of this: attention that keeps no
//! probabilities, and [`checkpointed`] computations that keep nothing but their inputs.
//!
//! The gradient runs inside Burn's backward pass, which holds the lock of the recorded graph. So it
//! must not touch tensors of that graph: all that it is given is plain, and what it records itself
//! is a graph of its own.

use std::fmt;
use std::sync::{Arc, Mutex};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTensor, DispatchKindConversion, DispatchTensor,
    TensorMetadata,
};
use burn::prelude::*;

/// The most inputs that an operation with its own gradient can have.
const MOST_INPUTS: usize = 32;

/// A tensor of floats of any number of axes.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::AnyTensor;
///
/// let x = Tensor::<2>::ones([3, 4], &Device::flex());
/// let any = AnyTensor::from(x);
/// assert_eq!(any.into_tensor::<2>().dims(), [3, 4]);
/// ```
#[derive(Debug, Clone)]
pub struct AnyTensor(DispatchTensor);

impl<const D: usize> From<Tensor<D>> for AnyTensor {
    fn from(tensor: Tensor<D>) -> Self {
        Self(tensor.into_dispatch())
    }
}

impl AnyTensor {
    /// Returns the tensor with its axes, `[…]`.
    ///
    /// # Panics
    ///
    /// Panics if the tensor has another number of axes.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        assert_eq!(self.0.shape().num_dims(), D, "the axes of a tensor");
        Tensor::from_dispatch(self.0)
    }

    /// Says whether gradients are recorded for the tensor.
    pub fn is_tracked(&self) -> bool {
        self.clone().axisless().is_tracked()
    }

    /// Returns the tensor without autodiff.
    #[must_use]
    fn plain(self) -> Self {
        self.axisless().without_autodiff().into()
    }

    /// Returns a plain tensor as a new leaf of a graph.
    #[must_use]
    fn leaf(self) -> Self {
        self.axisless().autodiff().require_grad().into()
    }

    /// Returns the tensor under a wrong number of axes, for calls that look at none.
    fn axisless(self) -> Tensor<1> {
        Tensor::from_dispatch(self.0)
    }
}

/// The gradient of an operation: from that of its output to those of its inputs, in order. An input
/// whose gradient is not known has none.
type Gradient = Box<dyn FnOnce(AnyTensor) -> Vec<Option<AnyTensor>> + Send>;

/// Returns `output`, which was computed without autodiff, as a tensor that passes gradients on to
/// `inputs` through `gradient`. Where no input is tracked, that is the output as it is.
///
/// Returns nothing on backends that this crate was not built for, or if there are more inputs than
/// an operation can have: then the caller must compute in recorded operations.
pub(crate) fn with_gradient(
    inputs: &[AnyTensor],
    output: AnyTensor,
    gradient: Gradient,
) -> Option<AnyTensor> {
    if !inputs.iter().any(AnyTensor::is_tracked) {
        return Some(output);
    }
    if inputs.len() > MOST_INPUTS {
        return None;
    }
    let state = State(Arc::new(Mutex::new(Some(gradient))));
    let found: Option<AnyTensor> = None;
    #[cfg(feature = "flex")]
    let found = found.or_else(|| attach::<burn::backend::Flex>(inputs, &output, &state));
    #[cfg(feature = "cube")]
    let found = found.or_else(|| attach::<burn::backend::Cube>(inputs, &output, &state));
    #[cfg(not(any(feature = "flex", feature = "cube")))]
    let _ = state;
    found
}

/// Computes `forward` of `inputs`, and keeps for the backward pass nothing but the inputs: there
/// `forward` is computed again (Chen et al. 2016, arXiv:1604.06174). The numbers are those of
/// `forward` itself. It must be a function of its inputs alone, and may not hold tensors with
/// autodiff.
pub fn checkpointed(
    inputs: Vec<AnyTensor>,
    forward: impl Fn(Vec<AnyTensor>) -> AnyTensor + Send + 'static,
) -> AnyTensor {
    if !inputs.iter().any(AnyTensor::is_tracked) {
        return forward(inputs);
    }
    let plain: Vec<AnyTensor> = inputs.iter().cloned().map(AnyTensor::plain).collect();
    let forward = Arc::new(Mutex::new(forward));
    let again = forward.clone();
    let compute = |inputs| forward.lock().expect("no holder panics")(inputs);
    let output = compute(plain.clone());
    let gradient = Box::new(move |dy: AnyTensor| {
        let leaves: Vec<AnyTensor> = plain.into_iter().map(AnyTensor::leaf).collect();
        let y = again.lock().expect("no holder panics")(leaves.clone()).flat();
        if !y.is_tracked() {
            return leaves.iter().map(|_| None).collect();
        }
        let mut grads = (y * dy.flat()).sum().backward();
        let grad = |leaf: AnyTensor| leaf.axisless().grad_remove(&mut grads).map(AnyTensor::from);
        leaves.into_iter().map(grad).collect()
    });
    match with_gradient(&inputs, output, gradient) {
        Some(output) => output,
        None => compute(inputs),
    }
}

impl AnyTensor {
    /// Returns all numbers in one row, `[numbers]`.
    fn flat(self) -> Tensor<1> {
        let numbers = self.0.shape().num_elements();
        self.axisless().reshape([numbers])
    }
}

/// What the backward pass of an operation is given; it is taken once.
#[derive(Clone)]
struct State(Arc<Mutex<Option<Gradient>>>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

/// The step of the backward pass.
#[derive(Debug)]
struct Back;

impl<B: Backend> Backward<B, MOST_INPUTS> for Back
where
    DispatchTensor: DispatchKindConversion<B>,
{
    type State = State;

    fn backward(self, ops: Ops<State, MOST_INPUTS>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = BackendTensor::Float(grads.consume::<B>(&ops.node));
        let dy = AnyTensor(<DispatchTensor as DispatchKindConversion<B>>::from_backend(dy));
        let gradient = ops.state.0.lock().expect("no holder panics").take();
        let found = gradient.expect("a graph is walked once")(dy);
        for (parent, grad) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                let grad = plain_primitive::<B>(grad).expect("of the same backend");
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

/// Gives an output its gradient if it is a tensor of this backend.
#[cfg_attr(not(any(feature = "flex", feature = "cube")), allow(dead_code))]
fn attach<B: Backend>(inputs: &[AnyTensor], output: &AnyTensor, state: &State) -> Option<AnyTensor>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B>>,
{
    let output = plain_primitive::<B>(output.clone())?;
    let tracked: Option<Vec<_>> = inputs.iter().cloned().map(tracked_primitive::<B>).collect();
    let tracked = tracked?;
    let none = <Autodiff<B> as AutodiffBackend>::from_inner(output.clone());
    let node = |index: usize| tracked.get(index).unwrap_or(&none).node();
    let nodes = std::array::from_fn::<_, MOST_INPUTS, _>(node);
    let prepared = Backward::<B, MOST_INPUTS>::prepare::<NoCheckpointing>(Back, nodes);
    let output = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state.clone(), output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    let output = BackendTensor::Float(output);
    Some(AnyTensor(<DispatchTensor as DispatchKindConversion<Autodiff<B>>>::from_backend(output)))
}

/// Returns the primitive of a tensor without autodiff, if it is of this backend.
fn plain_primitive<B: Backend>(tensor: AnyTensor) -> Option<FloatTensor<B>>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    let found = <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor.0);
    found.ok().map(BackendTensor::float)
}

/// Returns the primitive of a tensor with autodiff, which a plain tensor gets as a constant.
fn tracked_primitive<B: Backend>(tensor: AnyTensor) -> Option<FloatTensor<Autodiff<B>>>
where
    DispatchTensor: DispatchKindConversion<Autodiff<B>>,
{
    let tensor = AnyTensor::from(tensor.axisless().autodiff());
    let found = <DispatchTensor as DispatchKindConversion<Autodiff<B>>>::try_into_backend(tensor.0);
    found.ok().map(BackendTensor::float)
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::normal;

    #[test]
    fn a_checkpointed_computation_gives_the_same_bits_and_gradients() {
        let forward = |inputs: Vec<AnyTensor>| {
            let [x, weight]: [AnyTensor; 2] = inputs.try_into().unwrap();
            let (x, weight) = (x.into_tensor::<3>(), weight.into_tensor::<2>());
            AnyTensor::from(x.matmul(weight.unsqueeze()).tanh().sum_dim(2))
        };
        let of = |run: &dyn Fn(Vec<AnyTensor>) -> AnyTensor| {
            let x = normal(1, [2, 3, 4], 1.0).autodiff().require_grad();
            let weight = normal(2, [4, 5], 1.0).autodiff().require_grad();
            let y = run(vec![x.clone().into(), weight.clone().into()]).into_tensor::<3>();
            let mut grads = y.clone().exp().sum().backward();
            let [dx, dw] = [
                x.grad_remove(&mut grads).unwrap().into_data(),
                weight.grad_remove(&mut grads).unwrap().into_data(),
            ];
            [y.into_data(), dx, dw]
        };
        assert_eq!(of(&|inputs| checkpointed(inputs, forward)), of(&forward));
    }

    #[test]
    fn a_constant_gets_no_gradient_and_the_rest_gets_its_own() {
        let x = normal(1, [3], 1.0).autodiff().require_grad();
        let factor = normal(2, [3], 1.0);
        let y = checkpointed(vec![x.clone().into(), factor.clone().into()], |inputs| {
            let [x, factor]: [AnyTensor; 2] = inputs.try_into().unwrap();
            (x.into_tensor::<1>() * factor.into_tensor()).into()
        });
        let grads = y.into_tensor::<1>().sum().backward();
        assert_eq!(x.grad(&grads).unwrap().into_data(), factor.into_data());
    }

    #[test]
    fn what_nothing_is_recorded_for_stays_plain() {
        let y = checkpointed(vec![normal(1, [3], 1.0).into()], |inputs| inputs[0].clone());
        assert!(!y.is_tracked());
    }
}
