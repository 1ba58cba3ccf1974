//! Enums of modules that leave no trace in the names of weights.

/// Implements Burn's `Module` for an enum whose variants hold one module each, as the module in
/// use: a path such as `blocks.0.norm.gamma` does not say which variant it is in. (Burn's own
/// derive would put the variant's name into every path, as in `blocks.0.Gau.norm.gamma`.)
///
/// ```
/// use burn::module::Module;
/// use burn::prelude::*;
/// use mm_backbone::{Init, Linear, RmsNorm, transparent_module};
///
/// #[derive(Debug, Clone)]
/// enum Layer {
///     Map(Linear),
///     Norm(RmsNorm),
/// }
///
/// transparent_module!(Layer { Map, Norm });
///
/// let mut init = Init::new(0, &Device::flex());
/// let map = Layer::Map(Linear::new(&mut init, 4, 6, true));
/// let layers = [map, Layer::Norm(RmsNorm::new(&mut init, 6, 1e-6))];
/// assert_eq!(layers.map(|layer| layer.num_params()), [4 * 6 + 6, 6]);
/// ```
#[macro_export]
macro_rules! transparent_module {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl ::burn::module::Module for $name {
            fn collect_devices(&self, devices: ::burn::module::Devices) -> ::burn::module::Devices {
                match self {
                    $(Self::$variant(module) => module.collect_devices(devices),)+
                }
            }

            fn fork(self, device: &::burn::prelude::Device) -> Self {
                match self {
                    $(Self::$variant(module) => Self::$variant(module.fork(device)),)+
                }
            }

            fn to_device(self, device: &::burn::prelude::Device) -> Self {
                match self {
                    $(Self::$variant(module) => Self::$variant(module.to_device(device)),)+
                }
            }

            fn train(self) -> Self {
                match self {
                    $(Self::$variant(module) => Self::$variant(module.train()),)+
                }
            }

            fn valid(&self) -> Self {
                match self {
                    $(Self::$variant(module) => Self::$variant(module.valid()),)+
                }
            }

            fn materialize(self) -> Self {
                match self {
                    $(Self::$variant(module) => Self::$variant(module.materialize()),)+
                }
            }

            fn visit<Visitor: ::burn::module::ModuleVisitor>(&self, visitor: &mut Visitor) {
                match self {
                    $(Self::$variant(module) => module.visit(visitor),)+
                }
            }

            fn map<Mapper: ::burn::module::ModuleMapper>(self, mapper: &mut Mapper) -> Self {
                match self {
                    $(Self::$variant(module) => Self::$variant(module.map(mapper)),)+
                }
            }
        }

        impl ::burn::module::ModuleDisplayDefault for $name {
            fn content(&self, content: ::burn::module::Content) -> Option<::burn::module::Content> {
                match self {
                    $(Self::$variant(module) => module.content(content),)+
                }
            }

            fn num_params(&self) -> usize {
                ::burn::module::Module::num_params(self)
            }
        }

        impl ::burn::module::ModuleDisplay for $name {}
    };
}
