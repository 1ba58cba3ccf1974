#!/usr/bin/env bash
# Writes the CUDA C++ of every kernel that a training step and a drawing launch, and compiles it with
# NVIDIA's run-time compiler for two generations of cards. It needs no card and no driver: the kernels
# are captured while they run on a Vulkan device in software, because Burn describes a kernel in the
# same way for every backend. A copy of the crate `cubecl-wgpu` is changed to hand each description to
# the compiler for CUDA as well.
#
#   xtask/scripts/cuda-source.sh OUT [TARGET]
#
# OUT is the folder for the sources and for `table.md`; TARGET is the folder for what is built, about
# 4 GB and ten minutes of a processor at the first time [default: OUT/target]. It needs cargo and its
# registry, lavapipe, and a Python with NVRTC and its headers, which PYTHON may name:
#
#   pip install nvidia-cuda-{nvrtc,runtime,cccl,nvcc}-cu12
#
# What it cannot show: kernels that Burn chooses on a card alone, because that one has tensor cores or
# warps, and whether the numbers are right.
set -euo pipefail

if [ $# -lt 1 ]; then
    echo "usage: cuda-source.sh OUT [TARGET], for instance cuda-source.sh target/cuda-source" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
out=$(realpath "$1") python=${PYTHON:-python3}
target=$(realpath -m "${2:-$out/target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A copy of the workspace, whose lock file may change.
mkdir "$work/tree"
git -C "$root" ls-files -z | (cd "$root" && xargs -0 cp --parents -t "$work/tree")
version=$(sed -n '/^name = "cubecl-wgpu"$/{n;s/version = "\(.*\)"/\1/p}' "$root/Cargo.lock")
crate=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"cubecl-wgpu-$version" | head -n 1)
cp -r "$crate" "$work/tree/cubecl-wgpu"

cd "$work/tree/cubecl-wgpu"
sed -i 's/^    "cubecl-cpp?\/std",$/    "cubecl-cpp\/std",/' Cargo.toml
sed -i '/^\[dependencies.cubecl-cpp\]$/,/^$/s/^features = .*/features = ["cuda"]/' Cargo.toml
sed -i 's/^mod compute;$/mod compute;\nmod cuda_source;/' src/lib.rs
sed -i 's/^\( *\)recording.defined(&definition);$/&\n\1crate::cuda_source::write(\&*kernel);/' src/compute/server.rs
grep -q cuda_source src/compute/server.rs || { echo "cubecl-wgpu $version has another form, wanted that of 0.11.3" >&2; exit 1; }
cat > src/cuda_source.rs <<'RUST'
//! Writes what the compiler for CUDA makes of a kernel, as `CUDA_SOURCE/NUMBER.cu` or `.error`.

use std::sync::atomic::{AtomicUsize, Ordering};

use cubecl_core::Compiler;
use cubecl_core::prelude::CubeKernel;
use cubecl_cpp::shared::{CompilationOptions, CppCompiler, CppSupportedFeatures};
use cubecl_cpp::target::Cuda;

static NUMBER: AtomicUsize = AtomicUsize::new(0);

pub fn write(kernel: &dyn CubeKernel) {
    let Ok(folder) = std::env::var("CUDA_SOURCE") else { return };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let features =
        CppSupportedFeatures { fast_math: true, dp4a: true, grid_constants: true, ..Default::default() };
    let options = CompilationOptions { supports_features: features, ..Default::default() };
    let made = cubecl_core::define_kernel(kernel)
        .map_err(|why| format!("{why:?}"))
        .and_then(|definition| {
            let made = CppCompiler::<Cuda>::default().compile(definition, &options);
            made.map(|made| made.to_string()).map_err(|why| format!("{why:?}"))
        });
    let (text, ending) = match made {
        Ok(text) => (text, "cu"),
        Err(why) => (why, "error"),
    };
    let text = format!("// {}\n{text}", kernel.name());
    let process = std::process::id();
    let _ = std::fs::write(format!("{folder}/{process}-{number:04}.{ending}"), text);
}
RUST

cd "$work/tree"
printf '\n[patch.crates-io]\ncubecl-wgpu = { path = "cubecl-wgpu" }\n' >> Cargo.toml
sed -i 's|^exclude = \[|&"cubecl-wgpu", |' Cargo.toml
# Nothing here is fast, and nothing needs to be.
settings=(--config profile.dev.opt-level=0 --config 'profile.dev.package."*".opt-level=0' --config profile.dev.debug=false)
cargo build -p mm-cli --no-default-features --features wgpu --target-dir "$target" "${settings[@]}"

mm=$target/debug/mm
rm -rf "$out/sources" && mkdir "$out/sources"
export CUDA_SOURCE=$out/sources CUBECL_WGPU_DEFAULT_DEVICE=Cpu XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$work}
small=(--set image.width=16 --set image.height=16 --set model.backbone.depth=1 --set model.backbone.width=32
    --set run.batch=4 --set run.steps=1 --set run.micro_batches=1 --set sample.steps=2 --set sample.count=1)
gau='model.backbone.block={ kind = "gau", expansion = 2, key_size = 16, bias = true }'
for precision in f32 f16; do
    for block in "seed=0" "$gau"; do
        rm -rf "$work/run"
        "$mm" train glyphs --device wgpu:cpu --out "$work/run" "${small[@]}" \
            --set "$block" --set run.precision=$precision > /dev/null
    done
done
"$mm" draw "$work/run/model" "a red A" --steps 2 --device wgpu:cpu --out "$work/drawn.png" > /dev/null

"$python" - "$out" <<'PYTHON'
"""Compiles all sources and writes a table."""
import collections, ctypes, glob, os, re, sys
import importlib.util

out = sys.argv[1]
folder = list(importlib.util.find_spec("nvidia").submodule_search_locations)[0]
nvrtc = ctypes.CDLL(os.path.join(folder, "cuda_nvrtc/lib/libnvrtc.so.12"))
includes = [os.path.join(folder, part, "include") for part in ("cuda_runtime", "cuda_cccl", "cuda_nvcc")]
includes += [os.path.join(folder, "cuda_cccl/include/cccl"), os.path.join(folder, "cuda_nvrtc/include")]


def compiled(source, architecture):
    """Returns the words of the compiler if it refuses, and otherwise nothing."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    options = [f"--gpu-architecture={architecture}"] + [f"--include-path={path}" for path in includes]
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(max(size.value, 1))
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() if status else None


sources = {}
for path in sorted(glob.glob(out + "/sources/*.cu")):
    name, text = open(path).read().split("\n", 1)
    sources.setdefault(text, (name, path))
failed = []
for path in sorted(glob.glob(out + "/sources/*.error")):
    failed.append(f"{path}: no CUDA source: {open(path).read()[:300]}")
counts = collections.Counter()
for text, (name, path) in sources.items():
    for architecture in ("sm_80", "sm_90"):
        words = compiled(text, architecture)
        counts[architecture, words is None] += 1
        if words:
            failed.append(f"{path}, {architecture}: {words[:600]}")
lines = ["| card | kernels | compiled |", "| --- | ---: | ---: |"]
for architecture in ("sm_80", "sm_90"):
    good, bad = counts[architecture, True], counts[architecture, False]
    lines.append(f"| {architecture} | {good + bad} | {good} |")
open(out + "/table.md", "w").write("\n".join(lines + [""] + failed) + "\n")
print("\n".join(lines))
print(f"{len(failed)} failures; see {out}/table.md")
sys.exit(bool(failed) or not sources)
PYTHON
