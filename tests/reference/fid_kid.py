"""FID and KID by NumPy and SciPy, to compare `mm_train::quality` with.

    pip install numpy scipy safetensors
    python tests/reference/fid_kid.py KEPT SAID...     FIDs and KIDs of the features and subsets in KEPT, compared with SAID to 1e-6
    python tests/reference/fid_kid.py                  writes tests/golden/features_fid_kid.safetensors (needs onnx too)

KEPT is what `mm eval --task fid --keep-features KEPT`, or kid, wrote, SAID what it said with `--json`; SAID may be left out. The exit code is
1 where a number differs.

Formulas: FID, Heusel et al. 2017 (arXiv:1706.08500) with the root by `scipy.linalg.sqrtm`; KID, Bińkowski et al. 2018
(arXiv:1801.01401), unbiased, kernel (x.y / d + 1)^3.
"""

import json
import pathlib
import sys

import numpy as np
import scipy.linalg
from safetensors.numpy import load_file, save_file

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def fid(x, y):
    sx, sy = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    apart = np.sum((x.mean(0) - y.mean(0)) ** 2)
    return apart + np.trace(sx) + np.trace(sy) - 2 * np.trace(scipy.linalg.sqrtm(sx @ sy)).real


def fid_by_singular_values(x, y):
    """tr (Sx Sy)^(1/2) is the sum of the singular values of Xc Yc' / sqrt((n-1)(m-1)), also where Sx and Sy are singular."""
    xc, yc = x - x.mean(0), y - y.mean(0)
    scale = np.sqrt((len(x) - 1) * (len(y) - 1))
    shared = np.linalg.svd(xc @ yc.T / scale, compute_uv=False).sum()
    spread = lambda c: (c**2).sum() / (len(c) - 1)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + spread(xc) + spread(yc) - 2 * shared


def kid(x, y):
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    within = lambda a: (k(a, a).sum() - np.trace(k(a, a))) / (len(a) * (len(a) - 1))
    return within(x) + within(y) - 2 * k(x, y).mean()


def kid_variance(x, y):
    """Variance of the estimate over all images, from the first thousand of each set; mm-eval/src/quality/kid/variance.rs has the sources."""
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    n, m = len(x), len(y)
    x, y = x[:1000], y[:1000]

    def within(kernel):
        kernel, count = kernel * (1 - np.eye(len(kernel))), len(kernel)
        means = kernel.sum(1) / (count - 2)
        rest = kernel - means[:, None] - means[None] + kernel.sum() / ((count - 1) * (count - 2))
        return means, ((rest * (1 - np.eye(count))) ** 2).sum() / (count * (count - 3))

    (of_x, rest_x), (of_y, rest_y), across = within(k(x, x)), within(k(y, y)), k(x, y)
    rest = across - across.mean(0)[None] - across.mean(1)[:, None] + across.mean()
    rest = (rest**2).sum() / ((len(x) - 1) * (len(y) - 1))
    witness_x = np.var(of_x - across.mean(1), ddof=1) - rest_x / (len(x) - 2) - rest / len(y)
    witness_y = np.var(of_y - across.mean(0), ddof=1) - rest_y / (len(y) - 2) - rest / len(x)
    quadratic = 2 * rest_x / (n * (n - 1)) + 2 * rest_y / (m * (m - 1)) + 4 * rest / (n * m)
    return max(4 * (witness_x / n + witness_y / m), 0) + quadratic


def full_rank(*sets):
    return all(len(features) > features.shape[1] for features in sets)


def repeated(kept):
    """What `mm eval --json` says of both tasks, from a file of `--keep-features`."""
    kept = load_file(kept)
    reference = kept["reference"].astype(np.float64)
    found = {"fid": {}, "kid": {}}
    for mark, name in {"drawn": "drawn", "real": "fresh", "shuffled": "shuffled"}.items():
        x = kept[name].astype(np.float64)
        found["fid"][mark] = (fid if full_rank(x, reference) else fid_by_singular_values)(x, reference)
        if f"{name}/subsets" in kept:
            subsets = kept[f"{name}/subsets"]
            values = [kid(x[i], reference[j]) for i, j in subsets]
            size, spread = subsets.shape[2], np.std(values, ddof=1)
            # Over other images, and over other subsets of the same.
            error = (kid_variance(x, reference) + spread**2 / len(values)) ** 0.5
            found["kid"][mark] = {"value": np.mean(values), "standard_error": error, "spread": spread, "subset": size}
    return found


def numbers(tree, name=""):
    """Every number of an object of objects by its path."""
    if not isinstance(tree, dict):
        return {name: tree}
    return {path: number for key, below in tree.items() for path, number in numbers(below, f"{name}.{key}".strip(".")).items()}


def compare(kept, said):
    """Prints every number; the exit code says whether those that the program said are the same to one part in a million."""
    said_by = {}
    for path in said:
        told = json.loads(pathlib.Path(path).read_text())
        of = {task: told[task] for task in ("fid", "kid") if task in told}
        if not of:
            sys.exit(f"{path} holds neither a fid nor a kid")
        said_by |= numbers(of)
    found = numbers(repeated(kept))
    wrong = [path for path in said_by if path not in found]
    for path, number in found.items():
        word = ""
        if path in said_by:
            near = said_by[path] is not None and np.isclose(number, said_by[path], rtol=1e-6, atol=1e-12)
            word = f"  said {said_by[path]}: {'the same' if near else 'OTHER'}"
            wrong += [] if near else [path]
        print(f"{path} {number:.9g}{word}")
    sys.exit(f"{len(wrong)} of {len(said_by)} numbers differ: {', '.join(wrong)}" if wrong else 0)


def golden():
    from tiny_onnx import matrix

    rng = np.random.default_rng(0)
    features = lambda n, d, shift: (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / d**0.5 + shift).astype(np.float32)
    out = {}
    for name, (n, m, d) in {"many": (90, 70, 12), "few": (9, 11, 12)}.items():
        x, y = features(n, d, 0.3), features(m, d, -0.2)
        x64, y64 = x.astype(np.float64), y.astype(np.float64)
        by_values = fid_by_singular_values(x64, y64)
        if name == "many":
            assert abs(fid(x64, y64) / by_values - 1) < 1e-9
        chosen = np.array([[rng.permutation(n)[:8], rng.permutation(m)[:8]] for _ in range(5)])
        out |= {f"{name}/x": x, f"{name}/y": y, f"{name}/chosen": chosen.astype(np.int64),
                f"{name}/fid": np.array([fid(x64, y64) if name == "many" else by_values]),
                f"{name}/kid": np.array([kid(x64[i], y64[j]) for i, j in chosen])}
    images = rng.integers(0, 256, size=(6, 8, 8, 3), dtype=np.uint8)
    numbers = (images.astype(np.float64) - [100, 127, 150]) / [128, 64, 32]
    blocks = numbers.reshape(6, 2, 4, 2, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(6, 12)
    out |= {"images": images, "images/blocks": blocks, "images/feat": blocks @ matrix().astype(np.float64)}
    save_file(out, GOLDEN / "features_fid_kid.safetensors")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(sys.argv[1], sys.argv[2:])
    else:
        golden()
