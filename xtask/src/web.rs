//! `cargo xtask web` compiles `mm-web` for browsers into `target/web` and tests it in Node and,
//! where there is one, in a headless Chromium. With `--webgpu` it adds a second program, which
//! computes by WebGPU, and tests that on the graphics device in software of Chromium.
//!
//! The standard library of wasm comes from rustup where it is installed there; elsewhere Debian's
//! `rustc-web`, `cargo-web` and `rust-web-src` build it, which leave rustup's toolchain alone. See
//! `xtask/scripts/install-web.sh`.

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

use crate::{flags, mm};

/// Names the script that installs the tools on Debian and its relatives.
const SCRIPT: &str = "xtask/scripts/install-web.sh";
/// The target of browsers.
const TARGET: &str = "wasm32-unknown-unknown";
/// Where Debian's packages put the compiler, Cargo and the source of the standard library.
const DEBIAN: [&str; 3] = ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/rustlib/src/rust/library"];
/// The oldest compiler that builds the workspace, as `rust-version` says.
const OLDEST: (u32, u32) = (1, 95);
/// Names the variable that says when `cargo xtask ci` began, in seconds since 1970.
pub const BEGAN: &str = "MM_CI_BEGAN";
/// The longest that `cargo xtask ci` may have run when this still begins.
const LATEST: Duration = Duration::from_secs(50 * 60);

/// A program for browsers: what computes there, and the name of its files.
struct Program {
    feature: &'static str,
    name: &'static str,
}

/// The program that computes on the processor, which runs everywhere.
const PROCESSOR: Program = Program { feature: "flex", name: "mm_web" };
/// The program that computes by WebGPU.
const WEBGPU: Program = Program { feature: "webgpu", name: "mm_web_gpu" };

/// What compiles for browsers here.
struct Tools {
    /// Debian's compiler builds the standard library too; rustup has it.
    linker_for_debian: Option<PathBuf>,
    bindgen: PathBuf,
}

impl flags::Web {
    /// Compiles and tests; with `--if-there` only where the tools are there and time is left.
    pub fn run(&self, sh: &Shell) -> Result<()> {
        let target = mm::target(sh)?;
        if self.if_there {
            if is_late() {
                println!("left out: the run is older than {} minutes", LATEST.as_secs() / 60);
                return Ok(());
            }
            install(sh, &target)?;
        }
        let tools = match Tools::find(sh, &target) {
            Ok(tools) => tools,
            Err(why) if self.if_there => {
                println!("left out: {why:#}");
                return Ok(());
            }
            Err(why) => return Err(why),
        };
        let out = target.join("web");
        tools.build(sh, &target, &out, &PROCESSOR)?;
        if self.webgpu {
            tools.build(sh, &target, &out, &WEBGPU)?;
        }
        if !self.no_tests {
            self.test(sh, &target, &out)?;
        }
        println!("{} holds what `mm export web --wasm DIR` takes", out.display());
        Ok(())
    }

    /// Tests what was made in Node and in Chromium, against the program `mm` of the processor here.
    fn test(&self, sh: &Shell, target: &Path, wasm: &Path) -> Result<()> {
        ensure!(
            cmd!(sh, "node --version").quiet().ignore_stdout().run().is_ok(),
            "there is no node"
        );
        if !self.as_tested {
            cmd!(sh, "cargo build -p mm-cli").run()?;
        }
        let mm = target.join("debug").join(format!("mm{}", env::consts::EXE_SUFFIX));
        let folder = target.join("web-test");
        sh.remove_path(&folder)?;
        sh.create_dir(&folder)?;
        let run = folder.join("run");
        // A few steps are enough for a model whose drawings differ from noise and from each other.
        cmd!(sh, "{mm} train glyphs --steps 12 --out {run} --seed 5 --device flex")
            .ignore_stdout()
            .run()?;
        let model = run.join("model");
        cmd!(sh, "node tests/reference/web_node.mjs {wasm} {model} {mm}").run()?;
        let Some(page_tools) = page_tools() else {
            println!(
                "not run: the page in Chromium; xtask/scripts/install-clients.sh DIR --browser and MM_CLIENTS=DIR"
            );
            return Ok(());
        };
        let shots = folder.join("screenshots");
        let gpu = if self.webgpu { &["web_gpu.mjs"][..] } else { &[] };
        for flows in ["web_flows.mjs"].iter().chain(gpu) {
            cmd!(sh, "node tests/reference/{flows} http://127.0.0.1:8797/a/folder {shots}")
                .env("MM_PAGE_TOOLS", &page_tools)
                .env("MM_WASM", wasm)
                .env("MM_MODEL", &model)
                .env("MM", &mm)
                .run()?;
        }
        Ok(())
    }
}

/// Installs what is missing into a folder of the target, as far as the system lets it.
fn install(sh: &Shell, target: &Path) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let folder = env::var_os("MM_WEB_TOOLS").map_or(target.join("web-tools"), PathBuf::from);
    println!("== what compiles for browsers: bash {SCRIPT} {}", folder.display());
    if let Err(error) = cmd!(sh, "bash {SCRIPT} {folder}").quiet().run() {
        println!("going on without it: {error}");
    }
    Ok(())
}

/// Says whether `cargo xtask ci` has run for so long that this may not end in time.
fn is_late() -> bool {
    let began = env::var(BEGAN).ok().and_then(|began| began.parse().ok()).map(Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    began.is_some_and(|began| now.saturating_sub(began) > LATEST)
}

impl Tools {
    /// Finds the tools; an error says what is missing and what installs it.
    fn find(sh: &Shell, target: &Path) -> Result<Self> {
        let installs = "`bash xtask/scripts/install-web.sh DIR` and MM_WEB_TOOLS=DIR";
        let wanted = bindgen_version(&sh.read_file("Cargo.lock")?)?;
        let own = env::var_os("MM_WEB_TOOLS").map_or(target.join("web-tools"), PathBuf::from);
        let program = format!("wasm-bindgen{}", env::consts::EXE_SUFFIX);
        let is_right = |program: &PathBuf| {
            let said = cmd!(sh, "{program} --version").quiet().ignore_stderr().read();
            said.is_ok_and(|said| said.trim() == format!("wasm-bindgen {wanted}"))
        };
        let bindgen = [own.join("bin").join(&program), PathBuf::from(&program)];
        let bindgen = bindgen.into_iter().find(is_right).with_context(|| {
            format!(
                "there is no wasm-bindgen {wanted}: {installs}, or \
                 `cargo install wasm-bindgen-cli --version {wanted}`"
            )
        })?;
        if has_rustup_target(sh) {
            return Ok(Self { linker_for_debian: None, bindgen });
        }
        let lacks = || {
            format!(
                "there is no standard library for {TARGET}: `rustup target add {TARGET}`, or {installs}"
            )
        };
        ensure!(DEBIAN.iter().all(|path| sh.path_exists(path)), lacks());
        let said = cmd!(sh, "/usr/bin/rustc --version").quiet().read()?;
        let found = version_of(&said).with_context(|| format!("rustc says {said:?}"))?;
        let (major, minor) = OLDEST;
        ensure!(found >= OLDEST, "{said} is too old, wanted {major}.{minor} or newer");
        let linker = linker(sh).context("there is no linker for wasm: install lld-19")?;
        Ok(Self { linker_for_debian: Some(linker), bindgen })
    }

    /// Compiles the library, with the flags of `.cargo/config.toml`, and makes of it what
    /// JavaScript imports.
    fn build(&self, sh: &Shell, target: &Path, out: &Path, program: &Program) -> Result<()> {
        let Program { feature, name } = program;
        let folder = target.join("wasm");
        let _folder = sh.push_env("CARGO_TARGET_DIR", &folder);
        // `wasm-bindgen` reads sections that are stripped with the names of functions.
        let _strip = sh.push_env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
        let args = ["rustc", "--release", "-p", "mm-web", "--features", feature];
        let args = [&args[..], &["--lib", "--crate-type", "cdylib"]].concat();
        if let Some(linker) = &self.linker_for_debian {
            let variable = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER";
            cmd!(sh, "/usr/bin/cargo {args...} --target {TARGET} -Zbuild-std=std,panic_abort")
                .env("RUSTC_BOOTSTRAP", "1") // Debian's stable compiler may build the library
                .env("RUSTC", "/usr/bin/rustc")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env(variable, linker)
                .run()?;
        } else {
            cmd!(sh, "cargo {args...} --target {TARGET}").run()?;
        }
        let made = folder.join(TARGET).join("release/mm_web.wasm");
        let bindgen = &self.bindgen;
        sh.create_dir(out)?;
        cmd!(sh, "{bindgen} {made} --target web --out-dir {out} --out-name {name}")
            .args(["--remove-name-section", "--remove-producers-section"])
            .run()?;
        Ok(())
    }
}

/// Returns the folder with what drives a browser, where there is a browser too.
fn page_tools() -> Option<PathBuf> {
    let folder = env::var_os("MM_PAGE_TOOLS").or_else(|| env::var_os("MM_CLIENTS"))?;
    let folder = PathBuf::from(folder);
    let browser = env::var_os("CHROMIUM").map_or("/usr/bin/chromium".into(), PathBuf::from);
    let is_there = folder.join("node_modules/playwright-core").is_dir() && browser.is_file();
    is_there.then_some(folder)
}

/// Says whether rustup's compiler has the standard library of the target.
fn has_rustup_target(sh: &Shell) -> bool {
    let folder = cmd!(sh, "rustc --print target-libdir --target {TARGET}").quiet().ignore_stderr();
    folder.read().is_ok_and(|folder| {
        let files = sh.read_dir(folder.trim()).unwrap_or_default();
        files.iter().any(|file| file.extension().is_some_and(|ending| ending == "rlib"))
    })
}

/// Finds a linker for wasm: LLVM's, or the one of rustup's compiler.
fn linker(sh: &Shell) -> Option<PathBuf> {
    let llvm = (19..30).rev().map(|number| PathBuf::from(format!("/usr/bin/wasm-ld-{number}")));
    let mut all: Vec<PathBuf> = llvm.chain([PathBuf::from("/usr/bin/wasm-ld")]).collect();
    if let Ok(root) = cmd!(sh, "rustc --print sysroot").quiet().read() {
        let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        all.push(Path::new(root.trim()).join("lib/rustlib").join(host).join("bin/rust-lld"));
    }
    all.into_iter().find(|path| path.is_file())
}

/// Returns major and minor number of what `rustc --version` says.
fn version_of(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split_whitespace().nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Returns the version of the crate `wasm-bindgen` in a lock file.
fn bindgen_version(lock: &str) -> Result<String> {
    let after = lock.split("name = \"wasm-bindgen\"\nversion = \"").nth(1);
    match after.and_then(|after| after.split('"').next()) {
        Some(version) => Ok(version.to_owned()),
        None => bail!("Cargo.lock has no `wasm-bindgen`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_and_lock_files_say() {
        assert_eq!(version_of("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some((1, 96)));
        assert_eq!(version_of("rustc 2.0.0-nightly"), Some((2, 0)));
        assert_eq!(version_of("none"), None);
        let lock = "[[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.1\"\nsource = \"x\"\n";
        assert_eq!(bindgen_version(lock).unwrap(), "0.2.1");
        assert!(bindgen_version("").is_err());
    }
}
