"""The data of a comparison: devices of 64 training and 25 test images of 28x28, two labels each.

Drawn from a seed, so that nothing has to be fetched: each of ten classes is a few smooth blobs, an image
its class's, shifted, with noise. Learning from it takes what learning from MNIST takes; accuracies say
only that a system learned. Real images: `--data FILE.npz` with `x`, `y`, `device` and `train`.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

CLASSES, SIDE = 10, 28
TRAINING, TESTING = 64, 25
NOISE = 60.0
SHIFT = 3
"""Pixels that an image is moved at most."""


def write(path: Path, devices: int = 20, seed: int = 0) -> None:
    """Write a workload to *path* in the format `swarmdem swarm --data` reads."""
    rng = np.random.default_rng(seed)
    shapes = np.stack([_shape(rng) for _ in range(CLASSES)])
    size = TRAINING + TESTING
    labels = np.concatenate(
        [rng.permutation(np.resize(rng.choice(CLASSES, 2, replace=False), size)) for _ in range(devices)]
    )
    images = np.stack(
        [np.roll(shapes[label], rng.integers(-SHIFT, SHIFT + 1, 2), (0, 1)) for label in labels]
    )
    images = np.clip(images + rng.normal(0.0, NOISE, images.shape), 0, 255)
    np.savez_compressed(
        path,
        x=images.astype(np.uint8),
        y=labels.astype(np.uint8),
        device=np.repeat(np.arange(devices, dtype=np.uint16), size),
        train=np.tile(np.arange(size) < TRAINING, devices),
    )


def _shape(rng: np.random.Generator) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    points = np.zeros((SIDE, SIDE))
    points[tuple(rng.integers(5, SIDE - 5, (2, 6)))] = 1.0
    smooth = gaussian_filter(points, 2.0)
    return 255.0 * smooth / smooth.max()
