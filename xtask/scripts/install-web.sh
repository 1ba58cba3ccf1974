#!/usr/bin/env bash
# Installs what `cargo xtask web` builds with, where rustup cannot fetch the standard library of wasm: Debian's
# `rustc-web`, `cargo-web` and `rust-web-src`, which leave rustup's toolchain alone, a linker for wasm, and
# `wasm-bindgen` in the version of Cargo.lock: `install-web.sh DIR`, then run with MM_WEB_TOOLS=DIR.
# It works on Debian and its relatives, as root; elsewhere it says in one line why it does nothing. It never
# fails: `cargo xtask web` says what is missing. With rustup on the network, use `rustup target add
# wasm32-unknown-unknown` and `cargo install wasm-bindgen-cli --version VERSION` instead.
set -uo pipefail

if [ $# -ne 1 ]; then
    echo "usage: install-web.sh DIR"
    exit 2
fi
folder=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$folder"
log=$folder/install.log
: > "$log"

packages=(rustc-web cargo-web rust-web-src lld-19)
missing=()
if command -v dpkg-query > /dev/null; then
    for package in "${packages[@]}"; do
        state=$(dpkg-query --show --showformat '${Status}' "$package" 2> /dev/null)
        [ "$state" = "install ok installed" ] || missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        echo "there already: ${packages[*]}"
    elif [ "$(id -u)" -ne 0 ]; then
        echo "not root: to build the browser's wasm with Debian's compiler, run: apt-get install ${missing[*]}"
    else
        export DEBIAN_FRONTEND=noninteractive
        install=(apt-get install --yes --no-install-recommends -qq "${missing[@]}")
        echo "installing: ${missing[*]}"
        if { apt-get update -qq && "${install[@]}"; } >> "$log" 2>&1; then
            echo "installed: ${missing[*]}"
        else
            echo "could not install ${missing[*]}, going on without them: $(tail -n 1 "$log")"
        fi
    fi
else
    echo "not a Debian-like system: run rustup target add wasm32-unknown-unknown"
fi

# The program and the crate `wasm-bindgen` must have one version.
version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p}' "$root/Cargo.lock")
if [ "$("$folder/bin/wasm-bindgen" --version 2> /dev/null)" = "wasm-bindgen $version" ] \
    || [ "$(wasm-bindgen --version 2> /dev/null)" = "wasm-bindgen $version" ]; then
    echo "there already: wasm-bindgen $version"
elif (cd "$folder" && CARGO_TARGET_DIR=$folder/target cargo install wasm-bindgen-cli --version "$version" --root "$folder") >> "$log" 2>&1; then
    rm -rf "$folder/target"
    echo "installed: wasm-bindgen $version"
else
    echo "could not install wasm-bindgen-cli $version, going on without it: $(tail -n 1 "$log")"
fi
exit 0
