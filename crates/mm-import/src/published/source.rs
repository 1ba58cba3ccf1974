//! The files of a published model: JSON files and sets of tensors. A source is a folder, or a file
//! of weights. Nothing that a file holds is ever run.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err::File;
use mm_model::folder::open_tensors;
use mm_model::stored::Stored;
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::ImportError;

/// The most bytes of a file that is read whole, such as a configuration or a tokenizer.
const MOST_BYTES: u64 = 1 << 28;

/// The files that say what a folder holds.
const CONFIGS: [&str; 2] = ["model_index.json", "config.json"];

/// How files begin that are no safetensors, and what they are.
const FORMS: [(&[u8], &str); 5] = [
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive, as PyTorch writes, whose pickle can hold code"),
    (b"\x80\x02", "a Python pickle, which can hold code"),
    (b"\x80\x04", "a Python pickle, which can hold code"),
];

/// A published model on disk.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
}

/// A set of tensors by name, which are read one at a time.
pub trait Tensors: fmt::Debug + Send {
    /// Returns the file or the folder that an error of the whole set names.
    fn home(&self) -> &Path;

    /// Returns all names.
    fn names(&self) -> Vec<String>;

    /// Returns the shape of a tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// Returns the type of a tensor.
    fn dtype(&self, name: &str) -> Option<Dtype>;

    /// Reads the bytes of a tensor, little-endian, last axis fastest.
    fn read(&mut self, name: &str) -> Result<Vec<u8>, ImportError>;
}

/// A set of tensors of safetensors files.
#[derive(Debug)]
struct SafeTensorFiles(Stored<File>);

impl Tensors for SafeTensorFiles {
    fn home(&self) -> &Path {
        self.0.home()
    }

    fn names(&self) -> Vec<String> {
        self.0.names().map(str::to_owned).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.info(name).map(|info| info.shape.clone())
    }

    fn dtype(&self, name: &str) -> Option<Dtype> {
        self.0.info(name).map(|info| info.dtype)
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        Ok(self.0.read_bytes(name)?)
    }
}

impl Source {
    /// Names a folder or a file, which must be there.
    pub fn new(path: &Path) -> Result<Self, ImportError> {
        if !path.exists() {
            let why = format!("`{}` does not exist", path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why).into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Returns the folder or the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Says whether the folder has a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file(name).is_file()
    }

    /// Reads a file of the folder whole.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let path = self.file(name);
        let found = fs_err::File::open(&path)?.metadata()?.len();
        if found > MOST_BYTES {
            let found = format!("of {found} bytes");
            return Err(ImportError::Form { path, found, wanted: "at most 268435456 bytes" });
        }
        Ok(fs_err::read(&path)?)
    }

    /// Reads a JSON file of the folder.
    pub fn json(&self, name: &str) -> Result<Value, ImportError> {
        let malformed = |why: serde_json::Error| {
            let why = why.to_string();
            ImportError::Malformed { path: self.file(name), format: "JSON", why }
        };
        serde_json::from_slice(&self.read(name)?).map_err(malformed)
    }

    /// Reads a JSON file that may be absent.
    pub fn json_if_there(&self, name: &str) -> Result<Option<Value>, ImportError> {
        if self.has(name) { self.json(name).map(Some) } else { Ok(None) }
    }

    /// Returns the file that names the architecture, and the architecture.
    pub fn architecture(&self) -> Result<Option<(PathBuf, String)>, ImportError> {
        for name in CONFIGS {
            let Some(config) = self.json_if_there(name)? else { continue };
            let named = [&config["architectures"][0], &config["_class_name"]];
            let named = named.into_iter().find_map(Value::as_str);
            let model_type = config["model_type"].as_str();
            if let Some(found) = named.or(model_type) {
                return Ok(Some((self.file(name), found.to_owned())));
            }
        }
        Ok(None)
    }

    /// Opens the safetensors of a folder below this one (`""` for this one): `STEM.safetensors`, or
    /// the files that `STEM.safetensors.index.json` names.
    pub fn tensors(&self, below: &str, stem: &str) -> Result<Box<dyn Tensors>, ImportError> {
        let folder = if below.is_empty() { self.path.clone() } else { self.path.join(below) };
        let there = |ending: &str| folder.join(format!("{stem}.{ending}")).exists();
        if !there("safetensors") && !there("safetensors.index.json") {
            refuse_other_forms(&folder)?;
            let wanted = "a folder with weights as safetensors, one file or several with an index";
            let found = summary(&folder);
            return Err(ImportError::Form { path: folder, found, wanted });
        }
        let whole = folder.join(format!("{stem}.safetensors"));
        if whole.exists() {
            refuse_other_form(&whole)?;
        }
        Ok(Box::new(SafeTensorFiles(open_tensors(&folder, stem)?)))
    }

    /// Fails if the source holds weights in a form that is not read, and says which.
    pub fn refuse_other_forms(&self) -> Result<(), ImportError> {
        refuse_other_forms(&self.path)
    }

    /// Says what the folder holds, for an error.
    pub fn summary(&self) -> String {
        summary(&self.path)
    }
}

/// Lists the files of a folder; one file is itself.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs_err::read_dir(path).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}

fn summary(path: &Path) -> String {
    let files = files(path);
    let name =
        |file: &PathBuf| format!("`{}`", file.file_name().unwrap_or_default().to_string_lossy());
    let shown: Vec<String> = files.iter().take(8).map(name).collect();
    match shown.len() {
        0 => "no file".to_owned(),
        _ if files.len() > shown.len() => format!("{} and others", shown.join(", ")),
        _ => shown.join(", "),
    }
}

fn refuse_other_forms(path: &Path) -> Result<(), ImportError> {
    files(path).iter().try_for_each(|file| refuse_other_form(file))
}

/// Fails if a file is of a form that is known and not read.
fn refuse_other_form(path: &Path) -> Result<(), ImportError> {
    let mut head = vec![];
    File::open(path)?.take(16).read_to_end(&mut head)?;
    match FORMS.iter().find(|(start, _)| head.starts_with(start)) {
        Some((_, found)) => Err(ImportError::Form {
            path: path.to_owned(),
            found: (*found).to_owned(),
            wanted: "safetensors, which hold numbers alone",
        }),
        None => Ok(()),
    }
}
