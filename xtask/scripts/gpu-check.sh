#!/usr/bin/env bash
# Checks and measures one graphics device in about ten minutes, without a network and without a
# compiler: a program `mm` that was built with the device's backend is all that it needs. It compares
# the device with flex, measures memory against the number of tokens, times training steps in every
# type of number, and writes everything to one Markdown file. A part that fails or takes too long is
# named there, and the next part runs. Where PyTorch is installed, its version of the same networks is
# timed too.
#
#   xtask/scripts/gpu-check.sh [--quick] PROGRAM DEVICE OUT.md [STEPS]
#   xtask/scripts/gpu-check.sh target/release/mm cuda:0 cuda.md
#   xtask/scripts/gpu-check.sh --quick target/debug/mm wgpu:cpu lavapipe.md
#
# STEPS is the number of steps of the trainings, 200 unless it is given. --quick is for a device in
# software: every part runs, but on the smallest sizes, for 3 steps, and with three times as long to
# do it. Its times say nothing.
set -uo pipefail

quick=
if [ "${1:-}" = --quick ]; then
    quick=1
    shift
fi
if [ $# -lt 3 ]; then
    echo "usage: gpu-check.sh [--quick] PROGRAM DEVICE OUT.md [STEPS], for instance gpu-check.sh target/release/mm cuda:0 cuda.md" >&2
    exit 2
fi
mm=$(realpath "$1") device=$2 out=$(realpath -m "$3") steps=${4:-${quick:+3}}
steps=${steps:-200}
patience=${quick:+3}
here=$(cd "$(dirname "$0")" && pwd)
[ -x "$mm" ] || { echo "$1 is not a program, wanted mm built with the backend of $device" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# Prints a heading, then what a command prints, cut after so many seconds.
part() {
    local title=$1 seconds=$2
    shift 2
    echo "== $title: $*" >&2
    local start=$SECONDS
    printf '\n## %s\n\n```text\n$ %s\n' "$title" "$(basename "$1") ${*:2}" >> "$out"
    seconds=$((seconds * ${patience:-1}))
    timeout --kill-after=10 "$seconds" "$@" > "$work/part" 2> "$work/messages"
    local status=$?
    cat "$work/part" >> "$out"
    if [ $status -ne 0 ] && grep -q 'does not calculate in' "$work/messages"; then
        grep 'does not calculate in' "$work/messages" >> "$out" # which is no fault of the device
    elif [ $status -ne 0 ]; then
        failed=$((failed + 1))
        tail -n 5 "$work/messages" >> "$out"
        [ $status -eq 124 ] && echo "stopped after $seconds s" >> "$out"
        echo "exit code $status" >> "$out"
    fi
    printf '```\n\n%s s\n' $((SECONDS - start)) >> "$out"
    return $status
}

# Trains for some steps and prints the first and last loss and the median time of a step.
training() {
    local title=$1
    shift
    rm -rf "$work/run"
    part "$title" 180 "$mm" train "$@" --device "$device" --out "$work/run" \
        --set run.steps="$steps" --set run.checkpoint_every="$steps" --set run.sample_every="$steps" \
        --set run.validate_every=0 || return
    sed -n 's/^{"step":\([0-9]*\),"loss":\([^,]*\),.*/\1 \2/p' "$work/run/metrics.jsonl" |
        awk 'NR == 1 { first = $2; at = $1 } { last = $2; n = $1 }
             END { printf "\n%s: loss %s at step %s, %s at step %s\n", title, first, at, last, n }' \
            title="$title" >> "$out"
}

printf '# %s, %s\n' "$device" "$(date -u +%Y-%m-%d)" > "$out"
part "Devices" 60 "$mm" devices
command -v nvidia-smi > /dev/null && part "Card" 30 nvidia-smi
part "The same numbers as on flex" 300 "$mm" compare-backends --devices "$device" --json "$work/differences.json"
[ -n "$quick" ] && printf '\nMemory against tokens is not measured with --quick.\n' >> "$out"
[ -z "$quick" ] && part "Memory against tokens" 180 "$mm" compare-backends --devices "$device" --memory
part "Losses of $steps steps on flex and here" 240 "$mm" compare-backends --devices "flex,$device" --losses "$steps" &&
    awk -F, 'NR > 1 { apart = ($3 - $2) / $2; if (apart < 0) apart = -apart; if (apart > most) most = apart }
             END { printf "\nLargest relative difference of the losses: %.1e\n", most }' "$work/part" >> "$out"
shapes=${quick:+recipe}
turns=${quick:+2}
for shape in ${shapes:-gau-256 gau-768 packed recipe sampling}; do
    part "Speed: $shape" 120 "$mm" bench --shape "$shape" --device "$device" --steps "${turns:-10}"
done

# Recipes of the program, and in their place a small network for a device in software.
small=(glyphs --set image.width=16 --set image.height=16 --set model.backbone.depth=2 --set model.backbone.width=64
    --set run.batch=4 --set sample.steps=2 --set sample.count=1)
middle=(emoji-64) large=(su2024-128 --set 'data={ source = "emoji" }') # its own images are not part of the program
if [ -n "$quick" ]; then
    middle=("${small[@]}") large=("${small[@]}")
fi
training "${middle[0]}, f32" "${middle[@]}"
training "${middle[0]}, f32, losses read at every step" "${middle[@]}" --set run.read_every=1
training "${middle[0]}, f32, blocks computed again" "${middle[@]}" --activation-checkpointing
training "${middle[0]}, bf16" "${middle[@]}" --set run.precision=bf16
training "${middle[0]}, f16" "${middle[@]}" --set run.precision=f16
training "${large[0]}, f32" "${large[@]}"
training "${large[0]}, bf16, blocks computed again" "${large[@]}" --set run.precision=bf16 --activation-checkpointing

if python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    for shape in gau-256 gau-768 packed; do
        for mode in eager compile-sdpa; do
            part "PyTorch: $shape, $mode" 120 python3 "$here/../bench/torch/bench.py" "$shape" --device cuda --steps 10 --mode "$mode"
        done
    done
else
    printf '\nPyTorch with CUDA is not installed here, so it was not timed.\n' >> "$out"
fi

printf '\n%s parts failed.\n' "$failed" >> "$out"
echo "$failed parts failed; the table is in $out" >&2
[ "$failed" -eq 0 ]
