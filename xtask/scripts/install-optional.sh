#!/usr/bin/env bash
# Installs system packages that some checks use and none needs: a Vulkan loader and Mesa's lavapipe, a
# Vulkan device in software, so that the wgpu backend is checked where there is no graphics card; and
# Open MPI and libclang, which the feature `mpi` is built with. It works on Debian and its relatives, as
# root; elsewhere it says in one line why it does nothing. It never fails: a check skips what is missing.
set -uo pipefail

packages=(libvulkan1 mesa-vulkan-drivers libopenmpi-dev openmpi-bin libclang-dev)

missing=()
if command -v dpkg-query > /dev/null; then
    for package in "${packages[@]}"; do
        state=$(dpkg-query --show --showformat '${Status}' "$package" 2> /dev/null)
        [ "$state" = "install ok installed" ] || missing+=("$package")
    done
else
    echo "not a Debian-like system: install a Vulkan driver, Open MPI and libclang yourself to check the wgpu backend and MPI"
    exit 0
fi

if [ "${#missing[@]}" -eq 0 ]; then
    echo "there already: ${packages[*]}"
    exit 0
fi
if ! command -v apt-get > /dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "not root: to check the wgpu backend in software and MPI, run: apt-get install ${missing[*]}"
    exit 0
fi

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install --yes --no-install-recommends -qq "${missing[@]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing: ${missing[*]}"
if "${install[@]}" > "$log" 2>&1; then
    echo "installed: ${missing[*]}"
elif apt-get update -qq > "$log" 2>&1 && "${install[@]}" > "$log" 2>&1; then # the lists were old or not there
    echo "installed: ${missing[*]}, after apt-get update"
else
    echo "could not install ${missing[*]}, going on without them: $(tail -n 1 "$log")"
fi
exit 0
