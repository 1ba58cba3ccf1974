//! The way from Burn's tensors to slices and back: runs an [`Op`] on the flex backend, with or
//! without autodiff.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, DType, Flex, TensorMetadata};
use burn::prelude::*;

use super::buffer::Buffer;
use super::{Forward, Op};

/// A flex tensor that gradients are recorded for.
type TrackedTensor = FloatTensor<Autodiff<Flex>>;

/// A 32-bit tensor on the flex backend.
#[derive(Debug, Clone)]
pub(crate) enum Primitive {
    /// A tensor without autodiff.
    Plain(FlexTensor),
    /// A tensor with autodiff.
    Tracked(TrackedTensor),
}

/// Returns the tensor `[…]` as a flex primitive, or nothing if it lives elsewhere or does not hold
/// 32-bit floats.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> Option<Primitive> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    let found = match tensor.clone().try_into_primitive::<Flex>() {
        Ok(plain) => Primitive::Plain(plain),
        Err(_) => Primitive::Tracked(tensor.try_into_primitive::<Autodiff<Flex>>().ok()?),
    };
    Some(found)
}

/// Runs an operation, whose result `[…]` has the shape that it says.
pub(crate) fn apply<const N: usize, const D: usize>(
    op: impl Op,
    inputs: [Primitive; N],
) -> Tensor<D> {
    if inputs.iter().any(|input| matches!(input, Primitive::Tracked(_))) {
        let inputs = inputs.map(|input| match input {
            Primitive::Plain(plain) => <Autodiff<Flex> as AutodiffBackend>::from_inner(plain),
            Primitive::Tracked(tracked) => tracked,
        });
        return Tensor::from_primitive::<Autodiff<Flex>>(tracked(Arc::new(op), inputs));
    }
    let inputs = inputs.map(plain);
    let output = op.forward(&slices(&inputs)).output;
    Tensor::from_primitive::<Flex>(tensor_of(output, op.shape(inputs[0].shape())))
}

/// Runs `work` on the inputs without autodiff and makes tensors of what it returns.
pub(crate) fn on_slices<const N: usize>(
    inputs: Vec<Primitive>,
    work: impl FnOnce(&[&[f32]]) -> [(Vec<f32>, Vec<usize>); N],
) -> [FlexTensor; N] {
    let inputs: Vec<_> = inputs.into_iter().map(plain).collect();
    work(&slices(&inputs))
        .map(|(numbers, shape)| FlexTensor::from_data(TensorData::new(numbers, shape)))
}

/// Changes the first tensors in place, or copies of them where they are shared, given the last.
pub(crate) fn in_place<const W: usize, const R: usize>(
    write: [Primitive; W],
    read: [Primitive; R],
    work: impl FnOnce([&mut [f32]; W], [&[f32]; R]),
) -> [FlexTensor; W] {
    let mut write = write.map(plain);
    let read = read.map(plain);
    let slices = write.each_mut().map(|tensor| {
        let (start, end) = tensor.layout().contiguous_offsets().expect("contiguous");
        &mut tensor.storage_mut::<f32>()[start..end]
    });
    work(slices, read.each_ref().map(|tensor| tensor.as_slice::<f32>().expect("contiguous")));
    write
}

/// Makes a tensor contiguous and takes it out of autodiff.
fn plain(input: Primitive) -> FlexTensor {
    let tensor = match input {
        Primitive::Plain(plain) => plain,
        Primitive::Tracked(tracked) => tracked.into_primitive(),
    };
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

fn slices(inputs: &[FlexTensor]) -> Vec<&[f32]> {
    inputs.iter().map(|input| input.as_slice::<f32>().expect("contiguous 32-bit floats")).collect()
}

fn tensor_of(numbers: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(numbers, shape))
}

/// What the backward pass of an operation needs.
#[derive(Debug, Clone)]
struct State {
    op: Arc<dyn Op>,
    inputs: Vec<FlexTensor>,
    kept: Arc<Vec<Buffer>>,
}

#[derive(Debug)]
struct Back;

impl<const N: usize> Backward<Flex, N> for Back {
    type State = State;

    fn backward(self, ops: Ops<State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let State { op, inputs, kept } = ops.state;
        let kept = Arc::try_unwrap(kept).unwrap_or_else(|shared| shared.to_vec());
        let found = op.backward(&slices(&inputs), kept, slices(std::slice::from_ref(&dy))[0]);
        for ((parent, grad), input) in ops.parents.into_iter().zip(found).zip(&inputs) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, tensor_of(grad, input.shape()));
            }
        }
    }
}

fn tracked<const N: usize>(op: Arc<dyn Op>, inputs: [TrackedTensor; N]) -> TrackedTensor {
    let nodes = inputs.each_ref().map(TrackedTensor::node);
    let primitives = inputs.map(|input| plain(Primitive::Tracked(input)));
    let Forward { output, kept } = op.forward(&slices(&primitives));
    let output = tensor_of(output, op.shape(primitives[0].shape()));
    match Back.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            prep.finish(State { op, inputs: primitives.into(), kept: Arc::new(kept) }, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}
