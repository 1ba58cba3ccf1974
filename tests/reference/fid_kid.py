"""FID and KID by NumPy and SciPy, to compare `mm_train::quality` with.

    pip install numpy scipy safetensors
    python tests/reference/fid_kid.py          writes tests/golden/features_fid_kid.safetensors
    python tests/reference/fid_kid.py A B      FID and KID of two files that `mm eval --task fid --cache` kept

Formulas: FID, Heusel et al. 2017 (arXiv:1706.08500) with the root by `scipy.linalg.sqrtm`; KID, Bińkowski et al. 2018
(arXiv:1801.01401), unbiased, kernel (x.y / d + 1)^3.
"""

import pathlib
import sys

import numpy as np
import scipy.linalg
from safetensors.numpy import load_file, save_file

from tiny_onnx import matrix

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


def golden():
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
    pictures = rng.integers(0, 256, size=(6, 8, 8, 3), dtype=np.uint8)
    numbers = (pictures.astype(np.float64) - [100, 127, 150]) / [128, 64, 32]
    blocks = numbers.reshape(6, 2, 4, 2, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(6, 12)
    out |= {"pictures": pictures, "pictures/blocks": blocks, "pictures/feat": blocks @ matrix().astype(np.float64)}
    save_file(out, GOLDEN / "features_fid_kid.safetensors")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        x, y = (load_file(path)["features"].astype(np.float64) for path in sys.argv[1:])
        print("fid", fid(x, y), "kid of all pictures", kid(x, y))
    else:
        golden()
