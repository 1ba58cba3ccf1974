//! The autoencoder against diffusers and PyTorch: `tests/reference/kl_golden.py`.

use burn::module::{ModuleVisitor, Param};
use burn::tensor::Gradients;
use safetensors::SafeTensors;

use super::*;

const TINY: &[u8] = include_bytes!("../../../../tests/golden/kl_tiny.safetensors");
const PLAIN: &[u8] = include_bytes!("../../../../tests/golden/kl_tiny_plain.safetensors");

fn numbers(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = file.tensor(name).unwrap();
    view.data().as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn tensor<const D: usize>(file: &SafeTensors<'_>, name: &str, device: &Device) -> Tensor<D> {
    let shape = file.tensor(name).unwrap().shape().to_vec();
    Tensor::from_data(TensorData::new(numbers(file, name), shape), device)
}

fn config_of(bytes: &[u8]) -> KlConfig {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let text = &metadata.metadata().as_ref().unwrap()["config"];
    KlConfig::from_diffusers(text.as_bytes()).unwrap()
}

/// Loads a network whose names and shapes must be exactly those of the file.
fn load(bytes: &[u8], file: &SafeTensors<'_>, device: &Device) -> KlAutoencoder {
    let mut read = 0;
    let mut get = |name: &str, shape: &[usize]| -> Result<Vec<f32>, CodecError> {
        let name = format!("weights.{name}");
        assert_eq!(file.tensor(&name).unwrap().shape(), shape, "{name}");
        read += 1;
        Ok(numbers(file, &name))
    };
    let codec = KlAutoencoder::from_weights(&config_of(bytes), device, &mut get).unwrap();
    let there = file.names().iter().filter(|name| name.starts_with("weights.")).count();
    assert_eq!(read, there, "every weight of the file has its place");
    codec
}

fn check_close<const D: usize>(found: Tensor<D>, wanted: Tensor<D>, most: f32, what: &str) {
    assert_eq!(found.dims(), wanted.dims(), "{what}");
    let error = (found.without_autodiff() - wanted).abs().max().into_scalar::<f32>();
    assert!(error <= most, "{what}: {error}");
}

#[test]
fn published_weights_encode_and_decode_as_in_diffusers() {
    for bytes in [TINY, PLAIN] {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let device = Device::flex();
        let codec = load(bytes, &file, &device);
        let posterior = codec.encode(tensor(&file, "images", &device));
        check_close(posterior.mean.clone(), tensor(&file, "mean", &device), 1e-4, "mean");
        let log_variance = posterior.log_variance.clone();
        check_close(log_variance, tensor(&file, "logvar", &device), 1e-4, "log variance");
        check_close(posterior.divergence(), tensor(&file, "kl", &device), 1e-3, "divergence");
        let decoded = codec.decode(posterior.mean.clone());
        check_close(decoded, tensor(&file, "decoded", &device), 1e-4, "decoded");
        let back = codec.unscaled(codec.scaled(posterior.mean.clone()));
        check_close(back, posterior.mean, 1e-5, "scaled and back");
    }
}

/// Compares the gradient of every weight.
struct Compare<'a> {
    path: Vec<String>,
    grads: &'a Gradients,
    file: &'a SafeTensors<'a>,
    seen: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("grads.{}", self.path.join("."));
        let found = param.val().grad(self.grads).expect("every weight has a gradient");
        let wanted: Tensor<D> = tensor(self.file, &name, &Device::flex());
        let most = 1e-4 * wanted.clone().abs().max().into_scalar::<f32>().max(0.01);
        check_close(found, wanted, most, &name);
        self.seen += 1;
    }
}

#[test]
fn loss_and_gradients_are_those_of_pytorch() {
    for bytes in [TINY, PLAIN] {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let device = Device::flex().autodiff();
        let codec = load(bytes, &file, &device);
        let images: Tensor<4> = tensor(&file, "images", &device);
        let posterior = codec.encode(images.clone());
        let drawn = codec.decode(posterior.sample(tensor(&file, "noise", &device)));
        let loss = (drawn - images).square().mean() + posterior.divergence().mean() * 0.01;
        let plain = Device::flex();
        check_close(loss.clone(), tensor(&file, "loss", &plain), 1e-5, "loss");
        let grads = loss.backward();
        let mut compare = Compare { path: vec![], grads: &grads, file: &file, seen: 0 };
        codec.visit(&mut compare);
        assert!(compare.seen > 50, "{}", compare.seen);
    }
}

#[test]
fn a_configuration_of_another_network_is_refused_by_field() {
    let said = |text: &str| KlConfig::from_diffusers(text.as_bytes()).unwrap_err().to_string();
    let start = "not a configuration of diffusers' AutoencoderKL: ";
    assert_eq!(
        said(r#"{"_class_name": "VQModel", "block_out_channels": [8]}"#),
        format!("{start}`_class_name` is Some(\"VQModel\"), wanted AutoencoderKL"),
    );
    assert_eq!(
        said(r#"{"block_out_channels": [8], "down_block_types": ["AttnDownEncoderBlock2D"]}"#),
        format!(
            "{start}`down_block_types` is [\"AttnDownEncoderBlock2D\"], wanted only \
             DownEncoderBlock2D"
        ),
    );
    assert_eq!(
        said(r#"{"block_out_channels": [8, 12], "norm_num_groups": 8}"#),
        "`norm_num_groups` is 8, wanted a divisor of the channels of every level",
    );
    assert!(said("[").starts_with(start));
}

#[test]
fn an_image_that_is_not_of_whole_cells_is_refused_with_the_side_of_one() {
    let sizes = config_of(TINY).network;
    assert_eq!(sizes.cells(8, 12), Ok([4, 6]));
    let said = sizes.cells(7, 12).unwrap_err().to_string();
    let wanted = "an image of 12 x 7 pixels, wanted sides that are multiples of 2 pixels, one cell \
                  of the codec";
    assert_eq!(said, wanted);
}

#[test]
fn older_names_of_attention_are_known() {
    let new = "decoder.mid_block.attentions.0.to_out.0.weight";
    let old = "decoder.mid_block.attentions.0.proj_attn.weight";
    assert_eq!(KlAutoencoder::old_name(new).as_deref(), Some(old));
    assert_eq!(KlAutoencoder::old_name("decoder.conv_in.weight"), None);
}
