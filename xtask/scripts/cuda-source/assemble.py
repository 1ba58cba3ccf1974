"""Makes machine code of all PTX below a folder, and writes a table: `assemble.py PTXAS OUT`."""
import collections
import concurrent.futures
import glob
import os
import subprocess
import sys

ptxas, out = sys.argv[1:]
WAYS = {"llvm": "LLVM", "cpp": "CUDA C++"}


def refusal(text, card):
    """Returns the words of the assembler if it refuses, and otherwise nothing."""
    architecture = f"sm_{card}a" if int(card) >= 90 else f"sm_{card}"
    command = [ptxas, "-arch", architecture, "-o", "/dev/null", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout + done.stderr


def told(folder):
    """Returns the sums of the counts of calls of all processes."""
    counts = collections.Counter()
    for path in glob.glob(f"{folder}/counts-*"):
        for line in open(path):
            name, count = line.split()
            counts[name] += int(count)
    return counts


lines = ["| compiler | card | kernels | refused | tensor cores | machine code | launches |", "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
failed = []
for folder in sorted(glob.glob(f"{out}/sources/*-*")):
    way, card = os.path.basename(folder).split("-")
    modules = {}
    for path in sorted(glob.glob(f"{folder}/*.ptx")):
        modules.setdefault(open(path).read(), path)
    refused = {open(path).read() for path in glob.glob(f"{folder}/*.refused")}
    failed += [f"{way}, sm_{card}, not compiled: {why[:2000]}" for why in sorted(refused)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(lambda text: refusal(text, card), modules))
    bad = [(path, words) for path, words in zip(modules.values(), answers) if words]
    failed += [f"{path}: no machine code: {words[:2000]}" for path, words in bad]
    tensor = sum("mma" in text for text in modules)
    launches = told(folder)["launches"]
    lines.append(
        f"| {WAYS[way]} | sm_{card} | {len(modules) + len(refused)} | {len(refused)} | {tensor} "
        f"| {len(modules) - len(bad)} | {launches} |"
    )
    if not modules:
        failed.append(f"{folder}: no kernels")
with open(f"{out}/table.md", "w") as table:
    table.write("\n".join(lines + [""] + failed) + "\n")
print("\n".join(lines))
print(f"{len(failed)} failures; see {out}/table.md")
sys.exit(bool(failed) or len(lines) == 2)
