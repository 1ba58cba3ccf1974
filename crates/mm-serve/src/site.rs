//! A site of plain files: the page with its model in the browser instead of on a server. Any server
//! of files can hold it, also below a folder of its own, since every address in it is relative.
//!
//! Nothing is read or written here; files come and go as bytes.

use serde_json::json;

use crate::page::{FILES, PageFile};

/// What the page may do when its model runs in the browser: compile WebAssembly and start its own
/// worker too. A page cannot forbid by itself that others frame it.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; worker-src 'self'; \
     base-uri 'none'; form-action 'none'";

/// The scripts that only a site has.
const SCRIPTS: &[PageFile] = &[
    PageFile::script("/gpu.js", include_str!("../page/gpu.js")),
    PageFile::script("/local.js", include_str!("../page/local.js")),
    PageFile::script("/worker.js", include_str!("../page/worker.js")),
];

/// The script that keeps the site in the browser; it begins with the list of files.
const KEEPER: &str = include_str!("../page/sw.js");

/// The files that `wasm-bindgen` makes of `mm-web`, which stand in the folder `wasm` of a site.
pub const WASM_FILES: [&str; 2] = ["mm_web.js", "mm_web_bg.wasm"];

/// The files of the program that computes by WebGPU. A site may do without them, and they are
/// loaded only where there is a graphics device.
pub const WEBGPU_FILES: [&str; 2] = ["mm_web_gpu.js", "mm_web_gpu_bg.wasm"];

/// A file of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// The path below the root of the site, with `/` between folders.
    pub path: String,
    /// The contents.
    pub bytes: Vec<u8>,
}

/// A model of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteModel {
    /// The name that the page shows.
    pub name: String,
    /// The four files of its folder, by their names in it.
    pub files: Vec<SiteFile>,
}

impl SiteFile {
    /// Makes a file of its path and contents.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }
}

/// Makes a site of the compiled programs (see [`WASM_FILES`] and [`WEBGPU_FILES`]) and of models;
/// the first of them is the one that the page begins with.
pub fn site(wasm: Vec<SiteFile>, models: Vec<SiteModel>) -> Vec<SiteFile> {
    let is_webgpu = |file: &&SiteFile| WEBGPU_FILES.contains(&&*file.path);
    let webgpu: usize = wasm.iter().filter(is_webgpu).map(|file| file.bytes.len()).sum();
    let shared: usize = wasm.iter().map(|file| file.bytes.len()).sum::<usize>() - webgpu;
    let (mut list, mut files) = (vec![], vec![]);
    files.push(SiteFile::new("index.html", page()));
    for file in FILES[1..].iter().chain(SCRIPTS) {
        files.push(SiteFile::new(&file.path[1..], file.text));
    }
    for file in wasm {
        files.push(SiteFile::new(format!("wasm/{}", file.path), file.bytes));
    }
    for (at, model) in models.into_iter().enumerate() {
        let folder = format!("models/{at}/");
        let own: usize = model.files.iter().map(|file| file.bytes.len()).sum();
        let bytes = own + shared;
        list.push(
            json!({ "id": model.name, "folder": folder, "bytes": bytes, "webgpu_bytes": webgpu }),
        );
        for file in model.files {
            files.push(SiteFile::new(format!("{folder}{}", file.path), file.bytes));
        }
    }
    files.push(SiteFile::new("models.json", json!(list).to_string()));
    let keeper = keeper(&files);
    files.push(SiteFile::new("sw.js", keeper));
    files
}

/// Returns the page with the engine in the browser, and with its policy, since a server of files
/// sends none.
fn page() -> String {
    let policy = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">");
    let charset = "<meta charset=\"utf-8\">";
    FILES[0]
        .text
        .replacen("<html lang=\"en\">", "<html lang=\"en\" data-engine=\"local\">", 1)
        .replacen(charset, &format!("{charset}\n    {policy}"), 1)
}

/// Returns the script that keeps these files. Its version is a function of their contents.
fn keeper(files: &[SiteFile]) -> String {
    let is_optional =
        |path: &&str| path.strip_prefix("wasm/").is_some_and(|name| WEBGPU_FILES.contains(&name));
    let paths = files.iter().map(|file| file.path.as_str());
    let (optional, kept): (Vec<&str>, Vec<&str>) =
        ["./"].into_iter().chain(paths).partition(is_optional);
    let version =
        files.iter().fold(SEED, |sum, file| fnv(fnv(sum, file.path.as_bytes()), &file.bytes));
    let (kept, optional) = (json!(kept), json!(optional));
    format!(
        "const VERSION = \"{version:016x}\";\nconst FILES = {kept};\n\
         const OPTIONAL = {optional};\n{KEEPER}"
    )
}

/// The start of the hash FNV-1a (Fowler, Noll and Vo, draft-eastlake-fnv) of 64 bits.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn small() -> Vec<SiteFile> {
        with_programs(&WASM_FILES)
    }

    fn with_programs(names: &[&str]) -> Vec<SiteFile> {
        let wasm = names.iter().map(|name| SiteFile::new(*name, *name)).collect();
        let files =
            vec![SiteFile::new("config.json", "{}"), SiteFile::new("model.safetensors", "w")];
        site(wasm, vec![SiteModel { name: "tiny \"1\"".to_owned(), files }])
    }

    fn text(files: &[SiteFile], path: &str) -> String {
        let file = files.iter().find(|file| file.path == path).unwrap();
        String::from_utf8(file.bytes.clone()).unwrap()
    }

    #[test]
    fn the_page_of_a_site_has_the_engine_of_the_browser_and_a_policy() {
        let page = text(&small(), "index.html");
        assert!(page.contains("<html lang=\"en\" data-engine=\"local\">"));
        let head = page.find("Content-Security-Policy").unwrap();
        assert!(head < page.find("<script").unwrap(), "the policy comes after a script");
        assert!(page.contains("script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"));
        assert_eq!(page.matches("unsafe").count(), 1);
        assert!(!FILES[0].text.contains("data-engine"), "the page of a server asks the server");
    }

    #[test]
    fn every_address_in_a_site_is_relative_and_there() {
        let files = small();
        let there: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(there.len(), files.len(), "two files have one path");
        for file in files.iter().filter(|file| file.path.ends_with(".js")) {
            let text = String::from_utf8(file.bytes.clone()).unwrap();
            assert!(!text.contains("https://") && !text.contains("http://"), "{}", file.path);
            for before in ["from \"./", "import(\"./", "new URL(\"", "fetched(\"", "loaded(\""] {
                for rest in text.split(before).skip(1) {
                    let name = rest.split('"').next().unwrap();
                    assert!(there.contains(name), "`{name}` of {} is not there", file.path);
                }
            }
        }
        let list: serde_json::Value = serde_json::from_str(&text(&files, "models.json")).unwrap();
        assert_eq!(list[0]["id"], "tiny \"1\"");
        assert_eq!(list[0]["bytes"], 3 + 9 + 14);
        let folder = list[0]["folder"].as_str().unwrap();
        assert!(there.contains(format!("{folder}model.safetensors").as_str()));
    }

    #[test]
    fn the_program_for_graphics_devices_is_told_apart_and_kept_only_where_it_is_loaded() {
        let list = |files: &[SiteFile]| -> serde_json::Value {
            serde_json::from_str(&text(files, "models.json")).unwrap()
        };
        let (plain, files) = (small(), with_programs(&[WASM_FILES, WEBGPU_FILES].concat()));
        let (before, after) = (&list(&plain)[0], &list(&files)[0]);
        assert_eq!(after["bytes"], before["bytes"], "who has no device loads no more");
        assert_eq!((&before["webgpu_bytes"], &after["webgpu_bytes"]), (&json!(0), &json!(13 + 18)));
        let keeper = text(&files, "sw.js");
        let line = |name: &str| keeper.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(
            line("const OPTIONAL"),
            r#"const OPTIONAL = ["wasm/mm_web_gpu.js","wasm/mm_web_gpu_bg.wasm"];"#
        );
        assert!(
            !line("const FILES").contains("gpu_bg") && !line("const FILES").contains("web_gpu")
        );
        assert!(text(&plain, "sw.js").contains("const OPTIONAL = [];"));
        assert_ne!(line("const VERSION"), text(&plain, "sw.js").lines().next().unwrap());
    }

    #[test]
    fn the_keeper_keeps_every_file_and_changes_with_any() {
        let files = small();
        let before = text(&files, "sw.js");
        for file in files.iter().filter(|file| file.path != "sw.js") {
            assert!(before.contains(&format!("\"{}\"", file.path)), "{} is not kept", file.path);
        }
        let mut rest = files[..files.len() - 1].to_vec();
        for at in 0..rest.len() {
            rest[at].bytes.push(b' ');
            assert_ne!(keeper(&rest), before, "{} may change unseen", rest[at].path);
            rest[at].bytes.pop();
        }
        assert_eq!(keeper(&rest), before);
    }
}
