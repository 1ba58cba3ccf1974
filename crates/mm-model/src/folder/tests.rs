//! A file of weights with any stretch of it replaced is read or refused; weights of other types and
//! in several files are read, or refused by file and tensor.

use std::sync::LazyLock;

use burn::tensor::f16;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::fuzz::splices;
use crate::image_only;
use crate::parameters::with_weights;

fn config() -> ModelConfig {
    let config = serde_json::from_str(
        r#"{ "patch": 2, "vocab": 0, "patch_bias": false, "patch_pos_embed": 0, "time": { "kind": "table", "steps": 5 },
        "schedule": { "kind": "su2024", "steps": 5 }, "prediction": "noise", "backbone": { "width": 8, "depth": 1, "block":
        { "kind": "gau", "expansion": 2, "key_size": 4, "bias": true }, "positions": "halves", "rotary_base": 1000.0,
        "norm_epsilon": 1e-7 } }"#,
    );
    config.unwrap()
}

fn model() -> Model {
    Model::new(&config(), 7, &Device::flex()).unwrap()
}

static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.safetensors");
    save_weights(&path, &weights_of(&model())).unwrap();
    fs_err::read(path).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_spliced_file_of_weights_is_read_or_refused(splice in splices()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spliced.safetensors");
        fs_err::write(&path, splice.of(&WHOLE)).unwrap();
        let model = model();
        if let Ok(weights) = load_weights(&path, &model) {
            with_weights(model, &weights);
        }
    }
}

/// The files of a model, to be written in another way.
struct Files {
    folder: tempfile::TempDir,
    weights: Weights,
}

impl Files {
    fn new() -> Self {
        let (folder, model) = (tempfile::tempdir().unwrap(), model());
        let weights = weights_of(&model);
        let generation = GenerationConfig::of_size(4, 4);
        save(folder.path(), &config(), &image_only::tokenizer(), &weights, &generation).unwrap();
        Self { folder, weights }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes tensors of another type, each number turned into the bytes of one.
    fn write(
        &self,
        file: &str,
        names: &[&String],
        dtype: Dtype,
        bytes_of: &dyn Fn(f32) -> Vec<u8>,
    ) {
        let tensor = |name: &&String| {
            let weight = &self.weights[*name];
            let bytes: Vec<u8> = weight.values.iter().flat_map(|value| bytes_of(*value)).collect();
            ((*name).clone(), weight.shape.clone(), bytes)
        };
        let tensors: Vec<_> = names.iter().map(tensor).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
        });
        fs_err::write(self.path(file), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn names(&self) -> Vec<&String> {
        self.weights.keys().collect()
    }

    /// Splits the weights into two files with an index, as other libraries do.
    fn split(&self) {
        let names = self.names();
        let (first, second) = names.split_at(3);
        let mut map = serde_json::Map::new();
        for (file, names) in [("1.safetensors", first), ("2.safetensors", second)] {
            self.write(file, names, Dtype::F32, &|value| value.to_le_bytes().to_vec());
            map.extend(names.iter().map(|name| ((*name).clone(), file.into())));
        }
        fs_err::remove_file(self.path(WEIGHTS)).unwrap();
        let index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": map });
        fs_err::write(self.path(INDEX), index.to_string()).unwrap();
    }

    fn load(&self) -> Result<Weights, String> {
        match LoadedModel::load(self.folder.path(), &Device::flex()) {
            Ok(loaded) => Ok(weights_of(&loaded.model)),
            Err(why) => {
                let folder = self.folder.path().display().to_string();
                Err(why.to_string().replace(&folder, "M").replace('\\', "/"))
            }
        }
    }

    fn check_refused(&self, wanted: &str) {
        assert_eq!(self.load().unwrap_err(), wanted);
    }
}

#[test]
fn settings_that_no_image_can_be_drawn_with_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let check = |change: fn(&mut GenerationConfig), wanted: &str| {
        let mut config = GenerationConfig::of_size(8, 8);
        change(&mut config);
        let path = folder.path().join(GENERATION);
        fs_err::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        let said = load_generation_config(folder.path()).map_err(|why| why.to_string());
        assert_eq!(said.err(), Some(format!("`{}`: {wanted}", path.display())));
    };
    check(|c| c.steps = 0, "`steps` is 0, wanted 1 to 1000000");
    check(|c| c.steps = usize::MAX, &format!("`steps` is {}, wanted 1 to 1000000", usize::MAX));
    check(|c| c.height = 0, "`height` is 0, wanted 1 to 2147483647");
    check(|c| c.width = 1 << 40, "`width` is 1099511627776, wanted 1 to 2147483647");
    check(|c| c.guidance.scale = -1.0, "`scale` is -1, wanted a finite number from 0");
}

#[test]
fn weights_of_every_type_of_float_are_read_as_32_bit_floats() {
    let check = |dtype, bytes_of: &dyn Fn(f32) -> Vec<u8>, rounded: &dyn Fn(f32) -> f32| {
        let files = Files::new();
        files.write(WEIGHTS, &files.names(), dtype, bytes_of);
        let mut wanted = files.weights.clone();
        let numbers = wanted.values_mut().flat_map(|weight| &mut weight.values);
        numbers.for_each(|value| *value = rounded(*value));
        assert_eq!(files.load().unwrap(), wanted, "{dtype:?}");
    };
    check(Dtype::F32, &|value| value.to_le_bytes().to_vec(), &|value| value);
    check(Dtype::F64, &|value| f64::from(value).to_le_bytes().to_vec(), &|value| value);
    check(Dtype::F16, &|value| f16::from_f32(value).to_le_bytes().to_vec(), &|value| {
        f16::from_f32(value).to_f32()
    });
    // The upper half of a 32-bit float.
    check(Dtype::BF16, &|value| value.to_le_bytes()[2..].to_vec(), &|value| {
        f32::from_bits(value.to_bits() >> 16 << 16)
    });
}

#[test]
fn weights_of_another_type_or_past_32_bit_floats_are_refused_by_tensor() {
    let files = Files::new();
    files.write(WEIGHTS, &files.names(), Dtype::I32, &|_| vec![0; 4]);
    files.check_refused(
        "`M/model.safetensors`: tensor `backbone.blocks.0.in_proj.bias` has type I32, wanted F32, F16, BF16 or F64",
    );
    files.write(WEIGHTS, &files.names(), Dtype::F64, &|_| 1e300f64.to_le_bytes().to_vec());
    let said = files.load().unwrap_err();
    assert!(said.ends_with("holds 1e300, wanted numbers that 32-bit floats have"), "{said}");
}

#[test]
fn weights_in_several_files_are_those_of_one() {
    let files = Files::new();
    files.split();
    assert_eq!(files.load().unwrap(), files.weights);
    let listed = weight_files(files.folder.path()).unwrap();
    assert_eq!(listed, ["1.safetensors", "2.safetensors"].map(|file| files.path(file)));
}

#[test]
fn reading_tells_of_every_weight_how_many_of_the_bytes_are_read() {
    let files = Files::new();
    files.split();
    let sizes: Vec<u64> =
        files.weights.values().map(|weight| 4 * weight.values.len() as u64).collect();
    let mut told = vec![];
    let device = Device::flex();
    LoadedModel::load_telling(files.folder.path(), &device, &mut |now| told.push(now)).unwrap();
    assert_eq!(told.len(), sizes.len());
    assert!(told.iter().all(|now| now.all == sizes.iter().sum::<u64>()), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].done < pair[1].done), "{told:?}");
    assert_eq!(told[told.len() - 1].done, told[0].all);
}

#[test]
fn what_is_wrong_with_several_files_is_said_once_by_file_and_tensor() {
    let files = Files::new();
    files.split();
    let index = fs_err::read_to_string(files.path(INDEX)).unwrap();
    let names = files.names();
    let float = |value: f32| value.to_le_bytes().to_vec();
    let last = names[names.len() - 1];

    files.write("2.safetensors", &names[2..], Dtype::F32, &float);
    files.check_refused(&format!(
        "`M/2.safetensors`: tensor `{}` is also in `1.safetensors`, wanted in one file",
        names[2]
    ));
    files.write("2.safetensors", &names[3..names.len() - 1], Dtype::F32, &float);
    files.check_refused(&format!(
        "`M/2.safetensors`: tensor `{last}` is missing, which the index has here"
    ));
    fs_err::remove_file(files.path("2.safetensors")).unwrap();
    files.check_refused(&format!(
        "`M/model.safetensors.index.json`: tensor `{}` is in `2.safetensors`, which does not exist, wanted a file of this folder",
        names[3]
    ));
    fs_err::write(files.path(INDEX), index.replace("2.safetensors", "../2.safetensors")).unwrap();
    files.check_refused(&format!(
        "`M/model.safetensors.index.json`: tensor `{}` is in `../2.safetensors`, wanted a file of this folder",
        names[3]
    ));
    // The second file belongs to another model.
    let files = Files::new();
    files.split();
    let index = format!(r#"{{ "weight_map": {{ "{}": "1.safetensors" }} }}"#, names[0]);
    fs_err::write(files.path(INDEX), index).unwrap();
    let said = files.load().unwrap_err();
    assert!(said.starts_with("`M/model.safetensors.index.json`: "), "{said}");
    assert!(said.contains(" numbers, the config asks for at least "), "{said}");
}

#[test]
fn a_pointer_to_large_file_storage_is_named() {
    let files = Files::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 203536\n";
    fs_err::write(files.path(WEIGHTS), pointer).unwrap();
    files.check_refused(
        "`M/model.safetensors`: a Git LFS pointer of 68 bytes, wanted the file of 203536 bytes that it stands for, which `git lfs pull` fetches",
    );
}
