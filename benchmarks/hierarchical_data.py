"""Data with a true hierarchy of devices, to ask whether grouping by similarity finds and uses it.

    python benchmarks/hierarchical_data.py writers femnist-50.npz kinds.npz
    python benchmarks/hierarchical_data.py writers femnist-50.npz halves.npz --halves
    python benchmarks/hierarchical_data.py rotations MNIST-FOLDER rotated.npz

`writers`: 48 writers of FE-MNIST, a third of them write digits only, a third capitals only, a third
both (36 classes); with `--halves` half of each kind writes the lower half of its characters (0-4,
A-M), the other half the rest. Training and test parts are the writers' own; small letters are left
out. `rotations`: 48 devices, each with images of all ten labels, turned by 0, 90, 180 or 270 degrees
and half of each kind by 20 degrees more: groups differ in what the images look like, never in labels.

Besides the arrays that every data file has, `groups` (devices, 2) holds the truth: the group of each
device and its sub-group (numbered throughout). Everything follows from `--seed`.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from swarmdem.errors import SwarmError
from swarmdem.learning.data_files import read_idx_folder, read_npz
from swarmdem.learning.samples import Samples

DIGITS = range(10)
CAPITALS = range(10, 36)
KINDS = ((DIGITS,), (CAPITALS,), (DIGITS, CAPITALS))
"""What the writers of a group write, as classes of FE-MNIST."""
WRITERS = 48
TURNS = 4
TILT_DEGREES = 20
"""Of the second half of the devices of each turn."""
DEVICES = 48
PER_LABEL = 5
"""Images of each label on each device, the last of them for testing."""


def writers(source, *, halves, seed):
    """Return (samples, groups) of writers who write digits, capitals or both.

    Writers with the fewest capitals are left out, because any of the rest may get any kind.
    """
    capitals = np.isin(source.y, CAPITALS)
    most = np.argsort(-np.bincount(source.device[capitals], minlength=source.devices), kind="stable")
    chosen = np.random.default_rng(seed).permutation(np.sort(most[:WRITERS]))
    parts, groups = [], []
    for number, writer in enumerate(chosen):
        kind, turn = number * len(KINDS) // len(chosen), number % 2
        written = [_half(part, turn) if halves else part for part in KINDS[kind]]
        classes = np.concatenate(written)
        parts.append(np.flatnonzero((source.device == writer) & np.isin(source.y, classes)))
        groups.append((kind, 2 * kind + turn if halves else kind))
    return _dealt(source.x, source.y, parts, lambda own: source.train[own]), np.array(groups)


def rotations(images, labels, *, seed, devices=DEVICES, per_label=PER_LABEL):
    """Return (samples, groups) of devices whose images are turned alike within a group."""
    chance = np.random.default_rng(seed)
    shuffled = [chance.permutation(np.flatnonzero(labels == label)) for label in range(labels.max() + 1)]
    parts, groups, turned = [], [], []
    for number in range(devices):
        turn, tilted = number * TURNS // devices, number % 2
        own = np.concatenate([s[number * per_label : (number + 1) * per_label] for s in shuffled])
        x = np.rot90(images[own], turn, axes=(1, 2))
        if tilted:
            x = ndimage.rotate(x, TILT_DEGREES, axes=(1, 2), reshape=False, order=1)
        parts.append(own)
        groups.append((turn, 2 * turn + tilted))
        turned.append(x)
    tested = np.arange(per_label) == per_label - 1
    samples = _dealt(images, labels, parts, lambda own: ~np.tile(tested, len(own) // per_label))
    return Samples(np.concatenate(turned), samples.y, samples.device, samples.train), np.array(groups)


def _half(part, turn):
    middle = len(part) // 2
    return part[middle:] if turn else part[:middle]


def _dealt(x, y, parts, trained):
    """Return the samples of *parts*, one list of places per device."""
    order = np.concatenate(parts)
    device = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Samples(x[order], y[order], device, np.concatenate([trained(part) for part in parts]))


def write(path, samples, groups):
    """Write a data file and the truth about it."""
    np.savez_compressed(
        path, x=samples.x, y=samples.y.astype(np.uint8), device=samples.device.astype(np.uint8),
        train=samples.train, groups=groups.astype(np.uint8),
    )  # fmt: skip


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("writers", "rotations"))
    parser.add_argument("source", type=Path, help="femnist-50.npz, or a folder like MNIST's")
    parser.add_argument("out", type=Path, help="data file to write")
    parser.add_argument("--halves", action="store_true", help="writers: halves of characters within kinds")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    try:
        if asked.kind == "writers":
            samples, groups = writers(read_npz(asked.source), halves=asked.halves, seed=asked.seed)
        else:
            samples, groups = rotations(*read_idx_folder(asked.source), seed=asked.seed)
    except SwarmError as error:
        parser.exit(2, f"{error}\n")
    write(asked.out, samples, groups)
    sizes = np.bincount(samples.device)
    print(f"{asked.out}: {len(sizes)} devices of {sizes.min()} to {sizes.max()} samples")


if __name__ == "__main__":
    main()
