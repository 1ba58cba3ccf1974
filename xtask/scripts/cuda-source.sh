#!/usr/bin/env bash
# Compiles the CUDA kernels of this program for two generations of NVIDIA's cards, on a machine that
# has neither a card nor a driver. A small library, `cuda-source/driver.c`, takes the place of the
# driver: it says that there is a card, keeps its memory in that of the process and starts no kernel.
# So `mm` trains, draws and runs every check of `mm compare-backends` on `cuda:0`, and Burn chooses,
# generates and compiles what it would on such a card. The numbers mean nothing.
#
#   xtask/scripts/cuda-source.sh OUT
#
# OUT is the folder for everything: a changed copy of the workspace, what is built (3 GB and some
# minutes of a processor at the first time), the modules, and `table.md`. Each kernel is compiled in
# both ways that Burn has: by LLVM to PTX, which the program uses by default, and as CUDA C++ by
# NVIDIA's run-time compiler. NVIDIA's assembler then makes machine code of all PTX. The script needs
# a C compiler, cargo and its registry, LLVM as docs/backends.md says, and a Python with these
# packages, which PYTHON may name:
#
#   pip install nvidia-cuda-{nvrtc,runtime,cccl,nvcc}-cu12
#
# CARDS names the compute capabilities [default: "80 90"], and WAYS the ways [default: "llvm cpp"]; the
# table holds those of earlier calls too.
# What it cannot show: whether a card accepts the machine code, whether numbers are right, and how
# fast it is.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: cuda-source.sh OUT, for instance cuda-source.sh target/cuda-source" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$1/tree"
out=$(realpath "$1") python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# NVIDIA's packages, laid out as a toolkit is.
packages=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])') ||
    { echo "no NVIDIA packages for $python; see the head of this script" >&2; exit 2; }
mkdir -p "$work/cuda/include/cccl" "$work/lib"
for part in cuda_runtime cuda_nvcc cuda_nvrtc cuda_cccl; do
    [ -d "$packages/$part/include" ] ||
        { echo "no folder $packages/$part/include: wanted the package nvidia-${part//_/-}-cu12" >&2; exit 2; }
done
for part in cuda_runtime cuda_nvcc cuda_nvrtc; do
    cp -rsn "$packages/$part/include/." "$work/cuda/include/"
done
cccl=$packages/cuda_cccl/include
if [ -d "$cccl/cccl" ]; then cccl=$cccl/cccl; fi
cp -rsn "$cccl/." "$work/cuda/include/cccl/"
ln -s "$packages/cuda_nvcc/nvvm" "$work/cuda/nvvm"
ptxas=$packages/cuda_nvcc/bin/ptxas
[ -x "$ptxas" ] || { echo "no assembler at $ptxas" >&2; exit 2; }
# The run-time compiler looks for `libcuda.so.1` and wants more of it than there is; Burn takes this too.
cc -O2 -shared -fPIC -o "$work/lib/libcuda.so" "$here/cuda-source/driver.c"

# A copy of the workspace in which the crate `cubecl-cuda` takes the way from a variable, and says
# which kernels it refuses.
git -C "$root" ls-files -z --cached --others --exclude-standard | (cd "$root" && xargs -0 cp -pu --parents -t "$out/tree")
cp "$root/Cargo.toml" "$root/Cargo.lock" "$out/tree/"
cd "$out/tree"
version=$(sed -n '/^name = "cubecl-cuda"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
if [ ! -e "cubecl-cuda/changed-$version" ]; then
    rm -rf cubecl-cuda
    cp -r "$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"cubecl-cuda-$version" | head -n 1)" cubecl-cuda
    sed -i 's/if cfg!(feature = "cpp") {/if std::env::var_os("CUDA_CPP").is_some() {/' cubecl-cuda/src/compiler.rs
    sed -i '/let Err(err) = self.ctx.compile_kernel(kernel_id, kernel, logger) else {/,/};/s/^        };$/&\n        crate::refused(\&err);/' \
        cubecl-cuda/src/compute/server.rs
    cat >> cubecl-cuda/src/lib.rs <<'RUST'

/// Writes why a kernel was refused, as `CARD_OUT/PROCESS-NUMBER.refused`.
pub(crate) fn refused(why: &dyn std::fmt::Debug) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let Ok(folder) = std::env::var("CARD_OUT") else { return };
    let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let _ = std::fs::write(format!("{folder}/{process}-{number:05}.refused"), format!("{why:?}"));
}
RUST
    grep -q CUDA_CPP cubecl-cuda/src/compiler.rs && grep -q crate::refused cubecl-cuda/src/compute/server.rs ||
        { echo "cubecl-cuda $version has another form, wanted that of 0.11.3" >&2; exit 1; }
    touch "cubecl-cuda/changed-$version"
fi
printf '\n[patch.crates-io]\ncubecl-cuda = { path = "cubecl-cuda" }\n' >> Cargo.toml
sed -i 's|^exclude = \[|&"cubecl-cuda", |' Cargo.toml
# Nothing here is fast, and nothing needs to be.
CUDARC_CUDA_VERSION=12090 cargo build -p mm-cli --no-default-features --features cuda --target-dir "$out/target" \
    --config profile.dev.opt-level=0 --config 'profile.dev.package."*".opt-level=0' \
    --config profile.dev.debug=false --config profile.dev.incremental=false
mm=$out/target/debug/mm
cd "$work"

export LD_LIBRARY_PATH=$work/lib:$packages/cuda_nvrtc/lib CUDA_PATH=$work/cuda XDG_CACHE_HOME=$work/cache

# Runs all checks of the comparison; one that ends its process, because a number is zero that must
# not be, is told and left out.
checks() {
    local next=0 from
    while :; do
        from=$next
        if "$mm" compare-backends --worker cuda:0 --skip "$from" > "$work/checks" 2> "$work/said"; then return; fi
        next=$((from + $(wc -l < "$work/checks") + 1))
        [ "$next" -lt 100 ] || { echo "the checks do not end" >&2; exit 1; }
        echo "check $((next - 1)) ended early: $(grep -A 5 -m 1 'panicked\|^error' "$work/said" | tail -n 1 | cut -c 1-200)"
    done
}

# Trains two steps of a recipe in a small form, and draws with the model.
trains() {
    rm -rf "$work/run"
    "$mm" train "$@" --device cuda:0 --out "$work/run" --steps 2 --set run.batch=4 --set run.read_every=2 \
        --set sample.steps=2 --set sample.count=1 --set run.validate_every=0 > "$work/said" 2>&1 ||
        { echo "training ended early: $*: $(grep '^error' "$work/said" | cut -c 1-200)"; return 0; }
    rm -f "$work/drawn.png"
    "$mm" draw "$work/run/model" "a red A" --steps 2 --device cuda:0 --out "$work/drawn.png" > "$work/said" 2>&1 ||
        echo "drawing ended early: $*: $(grep '^error' "$work/said" | cut -c 1-200)"
}

gau='model.backbone.block={ kind = "gau", expansion = 2, key_size = 16, bias = true }'
for way in ${WAYS:-llvm cpp}; do
    if [ "$way" = cpp ]; then export CUDA_CPP=1; else unset CUDA_CPP; fi
    for card in ${CARDS:-80 90}; do
        export CARD=$card CARD_OUT=$out/sources/$way-$card
        rm -rf "$CARD_OUT" && mkdir -p "$CARD_OUT"
        echo "== $way, sm_$card" >&2
        checks
        for precision in f32 bf16 f16; do
            trains glyphs --set run.precision=$precision
            trains glyphs --set "$gau" --set run.precision=$precision --set run.activation_checkpointing=true
        done
    done
done

"$python" "$here/cuda-source/assemble.py" "$ptxas" "$out"
