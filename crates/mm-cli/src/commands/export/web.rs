//! `mm export web`: a model as a site of plain files, which runs it in the visitor's browser.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use mm_import::hf::{WeightType, weights_file};
use mm_model::folder::write_atomic;
use mm_model::parameters::weights_of;
use mm_serve::{SiteFile, SiteModel, WASM_FILES, WEBGPU_FILES, site};

use crate::device;
use crate::files::{free, free_folder};
use crate::model::load;
use crate::terminal::{Failure, failed, say, tell, usage};

#[derive(Debug, Parser)]
pub struct WebArgs {
    /// Model folder.
    model: PathBuf,
    /// Folder to write the site into.
    #[arg(long, value_name = "SITE")]
    out: PathBuf,
    /// Name of the model on the page [default: that of the folder, or of the one around a folder
    /// that is called model].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of the compiled program, which `cargo xtask web` writes. The one for graphics devices
    /// is taken along if `cargo xtask web --webgpu` has added it [default: target/web].
    #[arg(long, value_name = "DIR")]
    wasm: Option<PathBuf>,
    /// Type of the weights that are written: f16 is half as large to load, f32 draws what `mm draw`
    /// draws.
    #[arg(long, value_enum, default_value = "f16")]
    weights: Weights,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// IEEE half precision.
    F16,
    /// 32-bit floats, as they are.
    F32,
}

impl From<Weights> for WeightType {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::F16 => Self::F16,
            Weights::F32 => Self::F32,
        }
    }
}

/// Where `cargo xtask web` puts the compiled program.
const WASM: &str = "target/web";

pub fn run(args: &WebArgs) -> Result<(), Failure> {
    let WebArgs { model, out, force, .. } = args;
    free_folder(out)?;
    free(&out.join("index.html"), *force)?;
    let wasm = wasm(args.wasm.as_deref().unwrap_or(Path::new(WASM)))?;
    let files = files(model, args.weights)?;
    let name = args.name.clone().unwrap_or_else(|| name_of(model));
    if name.trim().is_empty() {
        return Err(usage!("`--name` is empty, wanted the name that the page shows"));
    }
    let written = site(wasm, vec![SiteModel { name, files }]);
    let mut bytes = 0;
    for SiteFile { path, bytes: contents } in &written {
        let path = out.join(path);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        write_atomic(&path, contents)?;
        bytes += contents.len();
    }
    say!("{}", out.display());
    tell!(
        "{} files, {:.1} MB; any server of files can hold them, such as\n  \
         python3 -m http.server --directory {}",
        written.len(),
        bytes as f64 / 1e6,
        out.display()
    );
    Ok(())
}

/// Reads the compiled program, and the one for graphics devices where it is.
fn wasm(folder: &Path) -> Result<Vec<SiteFile>, Failure> {
    let read = |name: &&str| {
        let path = folder.join(name);
        let bytes = fs_err::read(&path).map_err(|why| {
            let what = format!("`{}` has no compiled program for browsers", folder.display());
            Failure::because(what, why)
                .hint("`cargo xtask web` in the source folder of mm makes it; --wasm DIR says where it is")
        })?;
        Ok(SiteFile::new(*name, bytes))
    };
    let has_webgpu = WEBGPU_FILES.iter().all(|name| folder.join(name).is_file());
    let webgpu = if has_webgpu { &WEBGPU_FILES[..] } else { &[] };
    WASM_FILES.iter().chain(webgpu).map(read).collect()
}

/// Returns the four files of a model, with weights of this type in one file.
fn files(folder: &Path, weights: Weights) -> Result<Vec<SiteFile>, Failure> {
    let loaded = load(folder, &device::open("flex")?)?;
    if loaded.config.network.codec().is_some() {
        return Err(usage!(
            "`{}` is a codec, wanted a model that reads or draws",
            folder.display()
        ));
    }
    let stored = weights_file(&weights_of(&loaded.model), weights.into());
    let stored = stored.map_err(|why| {
        let what = format!("cannot write the weights of `{}` with 16 bits", folder.display());
        Failure::because(what, why).hint("--weights f32 writes them as they are")
    })?;
    let mut files = vec![SiteFile::new("model.safetensors", stored)];
    for name in ["config.json", "generation_config.json", "tokenizer.json"] {
        files.push(SiteFile::new(name, fs_err::read(folder.join(name))?));
    }
    Ok(files)
}

/// Reads a site that was written, for a server to show.
pub fn read_site(folder: &Path) -> Result<Vec<SiteFile>, Failure> {
    if !folder.join("models.json").is_file() {
        return Err(failed!("`{}` is no site, it has no models.json", folder.display())
            .hint("`mm export web` writes one"));
    }
    let mut files = vec![];
    below(folder, "", &mut files)?;
    Ok(files)
}

/// Reads the files of a folder and of those in it, under paths with `/` between folders.
fn below(folder: &Path, path: &str, files: &mut Vec<SiteFile>) -> Result<(), Failure> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || name.contains(['{', '}']) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            below(&entry.path(), &format!("{path}{name}/"), files)?;
        } else if kind.is_file() {
            files.push(SiteFile::new(format!("{path}{name}"), fs_err::read(entry.path())?));
        }
    }
    Ok(())
}

/// Returns the name of a folder, or of the one around a folder that is called `model`.
pub fn name_of(folder: &Path) -> String {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let whole = fs_err::canonicalize(&whole).unwrap_or(whole); // `.` and `..` have names too
    let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    match name(&whole) {
        Some(own) if own == "model" => whole.parent().and_then(name).unwrap_or(own),
        Some(own) => own,
        None => "model".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_read_with_its_folders_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let why = read_site(root.path()).unwrap_err().chain();
        assert!(why.contains("is no site, it has no models.json"), "{why}");
        let write = |path: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "x").unwrap();
        };
        for path in ["models.json", "wasm/a.wasm", "models/0/w", ".hidden/b", "{c}"] {
            write(path);
        }
        let mut paths: Vec<String> =
            read_site(root.path()).unwrap().into_iter().map(|file| file.path).collect();
        paths.sort();
        assert_eq!(paths, ["models.json", "models/0/w", "wasm/a.wasm"]);
    }

    #[test]
    fn the_program_for_graphics_devices_is_taken_along_where_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str| fs_err::write(root.path().join(name), "x").unwrap();
        let names = || -> Vec<String> {
            wasm(root.path()).unwrap().into_iter().map(|file| file.path).collect()
        };
        WASM_FILES.iter().chain(&WEBGPU_FILES[..1]).for_each(|name| write(name));
        assert_eq!(names(), WASM_FILES);
        write(WEBGPU_FILES[1]);
        assert_eq!(names(), [WASM_FILES, WEBGPU_FILES].concat());
    }

    #[test]
    fn a_program_that_was_not_compiled_is_an_error_with_the_command_that_does() {
        let root = tempfile::tempdir().unwrap();
        let why = wasm(root.path()).unwrap_err();
        assert!(why.chain().contains("has no compiled program for browsers"), "{}", why.chain());
    }
}
