"""PSNR and SSIM of two small images, by scikit-image.

    pip install scikit-image
    python tests/reference/ssim.py        prints the two numbers of crates/mm-eval/src/fidelity.rs
"""

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

y, x, c = np.meshgrid(np.arange(13), np.arange(16), np.arange(3), indexing="ij")
one = (x * 17 + y * 29 + c * 53 + x * y * 3) % 256
other = one // 2 + (x * 7 + y * 5) % 40
luma = lambda image: image @ np.array([0.299, 0.587, 0.114])
print(repr(peak_signal_noise_ratio(one.astype(np.uint8), other.astype(np.uint8))))
print(repr(structural_similarity(luma(one), luma(other), data_range=255, gaussian_weights=True, sigma=1.5,
                                 use_sample_covariance=False)))
