//! Parts of a network that keep nothing for the backward pass but their input and are computed
//! again there (Chen et al. 2016, arXiv:1604.06174), on every backend.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use mm_kernels::AnyTensor;

/// Computes `forward` of a module and of `inputs`, and computes it again in the backward pass
/// instead of keeping what it needs: `[…]` of the same numbers, and the same gradients of inputs
/// and parameters. `forward` must be a function of what it is given alone; a tensor that it holds
/// is a constant and must be plain.
///
/// ```
/// use burn::prelude::*;
/// use mm_backbone::{Init, Linear, checkpointed};
///
/// let device = Device::flex();
/// let map = Linear::new(&mut Init::new(0, &device), 4, 6, true);
/// let x = Tensor::<2>::ones([3, 4], &device);
/// let y = checkpointed(&map, vec![x.clone().into()], |map, inputs| {
///     let [x] = inputs.try_into().expect("one input");
///     map.forward(x.into_tensor::<2>())
/// });
/// assert_eq!(y.into_data(), map.forward(x).into_data());
/// ```
pub fn checkpointed<M: Module + 'static, const D: usize>(
    module: &M,
    inputs: Vec<AnyTensor>,
    forward: impl Fn(&M, Vec<AnyTensor>) -> Tensor<D> + Send + 'static,
) -> Tensor<D> {
    let mut parameters = Parameters(vec![]);
    module.visit(&mut parameters);
    let own = inputs.len();
    let mut all = inputs;
    all.extend(parameters.0);
    if !all.iter().any(AnyTensor::is_tracked) {
        all.truncate(own);
        return forward(module, all);
    }
    let plain = module.valid();
    let forward = move |mut all: Vec<AnyTensor>| {
        let parameters = all.split_off(own);
        let module = plain.clone().map(&mut Replace(parameters.into_iter()));
        AnyTensor::from(forward(&module, all))
    };
    mm_kernels::checkpointed(all, forward).into_tensor()
}

/// All parameters of a module, in the order of a visit; adapters are parameters of their own.
struct Parameters(Vec<AnyTensor>);

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into());
    }
}

/// Puts tensors in place of parameters, in the order of a visit.
struct Replace(std::vec::IntoIter<AnyTensor>);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tensor = self.0.next().expect("a tensor for every parameter");
        param.map(|_| tensor.into_tensor())
    }
}
