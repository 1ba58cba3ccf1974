//! Folders of Fuyu in other forms, and folders that are refused. The golden folder has the names of
//! the Hub, in one file of 32-bit floats, and a configuration with a part for the text.

use std::path::Path;

use burn::tensor::bf16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::{folder, imported, new_name};
use crate::hf::WeightType;
use crate::kinds::open;
use crate::published::{Source, Tensors};

/// A tensor of a folder.
#[derive(Debug, Clone)]
struct Made {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Reads all tensors of the golden folder.
fn tensors() -> Vec<Made> {
    let mut set = Source::new(&folder()).unwrap().tensors("", "model").unwrap();
    let set: &mut dyn Tensors = &mut *set;
    let read = |name: String| {
        let (shape, dtype) = (set.shape(&name).unwrap(), set.dtype(&name).unwrap());
        Made { bytes: set.read(&name).unwrap(), name, dtype, shape }
    };
    set_names().into_iter().map(read).collect()
}

fn set_names() -> Vec<String> {
    Source::new(&folder()).unwrap().tensors("", "model").unwrap().names()
}

fn write(path: &Path, tensors: &[Made]) {
    let views = tensors
        .iter()
        .map(|one| (&one.name, TensorView::new(one.dtype, one.shape.clone(), &one.bytes).unwrap()));
    fs_err::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Copies the files of the golden folder but the weights.
fn copied() -> tempfile::TempDir {
    let made = tempfile::tempdir().unwrap();
    for name in
        ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"]
    {
        fs_err::copy(folder().join(name), made.path().join(name)).unwrap();
    }
    made
}

#[test]
fn new_names_shards_16_bits_and_a_flat_configuration_give_the_same_model() {
    let wanted = (imported().all_weights().unwrap(), imported().config);
    let made = copied();
    let mut all = tensors();
    for one in &mut all {
        one.name = new_name(&one.name);
        let numbers = one.bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
        one.bytes = numbers.flat_map(|number| bf16::from_f32(number).to_le_bytes()).collect();
        one.dtype = Dtype::BF16;
    }
    all.push(Made {
        name: "model.language_model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
        dtype: Dtype::F32,
        shape: vec![1],
        bytes: vec![0; 4],
    });
    let (first, second) = all.split_at(all.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, part) in [("a.safetensors", first), ("b.safetensors", second)] {
        write(&made.path().join(file), part);
        map.extend(part.iter().map(|one| (one.name.clone(), json!(file))));
    }
    let index = json!({ "metadata": {}, "weight_map": map }).to_string();
    fs_err::write(made.path().join("model.safetensors.index.json"), index).unwrap();
    let config = fs_err::read(made.path().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    let Value::Object(text) = config["text_config"].take() else { panic!("a table") };
    for (name, value) in text {
        if name != "model_type" && name != "rope_parameters" {
            config[&name] = value;
        }
    }
    config["rope_theta"] = json!(25000.0);
    config["partial_rotary_factor"] = json!(0.5);
    fs_err::write(made.path().join("config.json"), config.to_string()).unwrap();
    let mut found = open(&Source::new(made.path()).unwrap()).unwrap();
    assert_eq!((found.all_weights().unwrap(), found.config), wanted);
}

/// Imports a folder that was spoiled; returns the error with the folder's name taken out.
fn refused(spoil: impl FnOnce(&Path, Vec<Made>)) -> String {
    let made = copied();
    spoil(made.path(), tensors());
    let why = match open(&Source::new(made.path()).unwrap()) {
        Ok(_) => panic!("a spoiled folder was read"),
        Err(why) => why.to_string(),
    };
    let path = made.path().display().to_string();
    why.replace(&path, "M")
}

/// Spoils the tensors of a folder.
fn refused_tensors(spoil: impl FnOnce(&mut Vec<Made>)) -> String {
    refused(|path, mut all| {
        spoil(&mut all);
        write(&path.join("model.safetensors"), &all);
    })
}

const NORM: &str = "language_model.model.final_layernorm.bias";

#[test]
fn missing_misshaped_mistyped_and_unknown_tensors_are_named() {
    let norm = |all: &mut Vec<Made>| all.iter().position(|one| one.name == NORM).unwrap();
    let missing = refused_tensors(|all| all.retain(|one| one.name != NORM));
    let file = "`M/model.safetensors`: tensor `language_model.model.final_layernorm.bias`";
    assert_eq!(missing, format!("{file} is missing, wanted [32]"));
    let misshaped = refused_tensors(|all| {
        let at = norm(all);
        all[at].shape = vec![4, 8];
    });
    assert_eq!(misshaped, format!("{file} is [4, 8], wanted [32]"));
    let mistyped = refused_tensors(|all| {
        let at = norm(all);
        all[at].dtype = Dtype::I32;
    });
    let wanted = "is of type I32, which is none of F32, F16, BF16 and F64, wanted [32]";
    assert_eq!(mistyped, format!("{file} {wanted}"));
    let unknown = refused_tensors(|all| {
        let at = norm(all);
        let stray = Made { name: "stray".to_owned(), ..all[at].clone() };
        all.push(stray);
    });
    let wanted = "tensor `stray` is [32], wanted no tensor of this name in this architecture";
    assert_eq!(unknown, format!("`M/model.safetensors`: {wanted}"));
}

/// Writes the weights of a folder of which one number was replaced; returns the error.
fn written(number: f32, dtype: Option<WeightType>) -> String {
    let (made, mut all) = (copied(), tensors());
    let norm = all.iter().position(|one| one.name == NORM).unwrap();
    all[norm].bytes[12..16].copy_from_slice(&number.to_le_bytes());
    write(&made.path().join("model.safetensors"), &all);
    let mut found = open(&Source::new(made.path()).unwrap()).unwrap();
    let why = found.write_weights(dtype, &mut vec![], &mut |_| ()).unwrap_err().to_string();
    why.replace(&made.path().display().to_string(), "M")
}

#[test]
fn numbers_that_are_not_finite_or_too_large_for_the_type_are_refused_by_tensor() {
    let file = "`M/model.safetensors`: tensor `language_model.model.final_layernorm.bias`";
    let infinite = format!("{file} is inf at number 3, wanted finite numbers");
    assert_eq!(written(f32::INFINITY, None), infinite);
    let none = format!("{file} is NaN at number 3, wanted finite numbers");
    assert_eq!(written(f32::NAN, Some(WeightType::Bf16)), none);
    let large = format!("{file} is 70000 at number 3, wanted numbers that F16 holds");
    assert_eq!(written(70000.0, Some(WeightType::F16)), large);
}

#[test]
fn files_that_are_no_weights_are_refused_by_what_they_are() {
    let check = |file: &'static str, bytes: &'static [u8], wanted: &str| {
        let why = refused(|path, _| fs_err::write(path.join(file), bytes).unwrap());
        assert_eq!(why, wanted);
    };
    check(
        "model.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 18000000\n",
        "`M/model.safetensors`: a Git LFS pointer of 70 bytes, wanted the file of 18000000 bytes that it stands for, which `git lfs pull` fetches",
    );
    let numbers = "wanted safetensors, which hold numbers alone";
    for (file, bytes, found) in [
        ("fuyu.gguf", b"GGUF\x03\0\0\0" as &[u8], "a GGUF file"),
        ("model.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("pytorch_model.bin", b"\x80\x02cos\nsystem\n", "a Python pickle, which can hold code"),
        (
            "pytorch_model.bin",
            b"PK\x03\x04archive",
            "a zip archive, as PyTorch writes, whose pickle can hold code",
        ),
        ("model.safetensors", b"GGUF\x03\0\0\0", "a GGUF file"),
    ] {
        check(file, bytes, &format!("`M/{file}` is {found}, {numbers}"));
    }
}

#[test]
fn an_index_that_is_wrong_is_refused() {
    let with_index = |map: &'static str| {
        refused(move |path, all| {
            write(&path.join("a.safetensors"), &all);
            let index = format!(r#"{{ "weight_map": {map} }}"#);
            fs_err::write(path.join("model.safetensors.index.json"), index).unwrap();
        })
    };
    assert_eq!(
        with_index(r#"{ "lm_head.weight": "a.safetensors", "lm_head.weight": "b.safetensors" }"#),
        "`M/model.safetensors.index.json`: tensor `lm_head.weight` is named twice, in `a.safetensors` and in `b.safetensors`, wanted once",
    );
    assert_eq!(
        with_index(r#"{ "lm_head.weight": "b.safetensors" }"#),
        "`M/model.safetensors.index.json`: tensor `lm_head.weight` is in `b.safetensors`, which does not exist, wanted a file of this folder",
    );
    assert_eq!(
        with_index(r#"{ "lm_tail": "a.safetensors" }"#),
        "`M/a.safetensors`: tensor `lm_tail` is missing, which the index has here",
    );
}

#[test]
fn an_architecture_that_is_not_known_is_refused_with_those_that_are() {
    let why = refused(|path, _| {
        fs_err::write(path.join("config.json"), r#"{ "architectures": ["LlamaForCausalLM"] }"#)
            .unwrap();
    });
    assert!(
        why.starts_with("`M/config.json`: the architecture is `LlamaForCausalLM`, wanted one of `FuyuForCausalLM`"),
        "{why}"
    );
    let why = refused(|path, _| {
        fs_err::remove_file(path.join("config.json")).unwrap();
        fs_err::remove_file(path.join("generation_config.json")).unwrap();
    });
    assert!(
        why.starts_with("`M` holds `preprocessor_config.json`, `tokenizer.json`, wanted"),
        "{why}"
    );
}
