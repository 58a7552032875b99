"""How samples that belong to nobody are dealt to devices, deterministically.

Not bit for bit the authors' splits: `label_skew` follows their procedure under another generator.
"""

import numpy as np
from numpy.typing import NDArray

from swarmdem.errors import ConfigError, DataError
from swarmdem.learning.samples import DEVICES_MAX, Samples

HELD_OUT = 5
"""One of five samples of a device is for testing (the paper holds out 20 %)."""
LABELS_PER_DEVICE = 2
"""From the paper."""
BASE = 10
"""Samples of each of its labels that every device has (the authors' code)."""
SPREAD_SHARE = 0.4 / (100 * np.exp(0.5))
"""Median number of further samples, per sample of the label beyond 100: the authors' code scales
log-normal draws (sigma 1) to .4 of a label over 50 devices times 2 labels; here the expectation
stands for the sum of those 100 draws, so that sizes do not depend on the number of devices."""
SPREAD_OFFSET = 100


def label_skew(
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    *,
    devices: int,
    labels_per_device: int = LABELS_PER_DEVICE,
    seed: int = 0,
    where: str = "data",
) -> Samples:
    """Deal samples as the DemLearn authors did: few labels a device, log-normal sizes, a fifth held out.

    Device d holds the labels d, d + 1, ... modulo their number; of each 10 samples and a log-normal
    number more (median 17 of 7,000: with two labels the median device has about 60 samples, the
    paper's MNIST 64), as far as the label lasts. Of each label of a device a fifth is for testing.
    Which samples, and how many, follow from *seed*.

    Args:
        x: Inputs (n, ...).
        y: Classes from 0, (n,).
        devices: How many devices.
        labels_per_device: How many labels each holds.
        seed: Of numpy's PCG64.
        where: What to call the data when it does not suffice.

    Raises:
        ConfigError: A number is out of range.
        DataError: A label does not suffice for the 10 samples of each of its devices.
    """
    classes = int(y.max()) + 1
    if not 1 <= devices <= DEVICES_MAX:
        raise ConfigError(f"devices = {devices}: 1 to {DEVICES_MAX}")
    if not 1 <= labels_per_device <= classes:
        raise ConfigError(f"labels_per_device = {labels_per_device}: 1 to {classes}, the labels of {where}")
    if seed < 0:
        raise ConfigError(f"split_seed = {seed}: not negative")
    chance = np.random.Generator(np.random.PCG64(seed))
    left = [chance.permutation(np.flatnonzero(y == label)) for label in range(classes)]
    available = np.array([len(members) for members in left])
    labels = [[(number + turn) % classes for turn in range(labels_per_device)] for number in range(devices)]
    holders = np.bincount(np.concatenate(labels), minlength=classes)
    spare = available - BASE * holders
    if spare.min() < 0:
        label = int(np.argmin(spare))
        raise DataError(
            f"{where}: {available[label]} samples of label {label}, {holders[label]} devices want {BASE} each"
        )
    draws = chance.lognormal(0.0, 1.0, (devices, labels_per_device))
    scale = SPREAD_SHARE * np.maximum(available - SPREAD_OFFSET, 0)
    chosen, device, train = [], [], []
    for number, held in enumerate(labels):
        for turn, label in enumerate(held):
            more = min(int(scale[label] * draws[number, turn]), int(spare[label]))
            spare[label] -= more
            own, left[label] = np.split(left[label], [BASE + more])
            chosen.append(own)
            device.append(np.full(len(own), number))
            train.append(np.arange(len(own)) >= round(len(own) / HELD_OUT))
    order = np.concatenate(chosen)
    return Samples(x[order], y[order], np.concatenate(device), np.concatenate(train))


def pairs_of_ten(x: NDArray[np.uint8], y: NDArray[np.int64], *, devices: int) -> Samples:
    """Deal ten labels over *devices* devices, two each, all sizes alike; every fifth is for testing.

    Five devices hold all ten labels; the next five pair them anew, and so on. The samples of a
    label are dealt in file order to its holders. Samples of labels that nobody holds are left out. The
    pairing is ours; two labels a device and a fifth held out are the paper's.

    Args:
        x: Inputs (n, ...).
        y: Classes 0 to 9, (n,).
        devices: How many; five or more hold every label.
    """
    holders: list[list[int]] = [[] for _ in range(10)]
    for number in range(devices):
        again, turn = divmod(number, 5)
        holders[2 * turn].append(number)
        holders[(2 * turn + 2 * again + 1) % 10].append(number)
    device = np.full(len(y), -1, np.int64)
    for label, those in enumerate(holders):
        members = np.flatnonzero(y == label)
        if those:
            device[members] = np.resize(those, len(members))
    train = np.ones(len(y), np.bool_)
    for number in range(devices):
        train[np.flatnonzero(device == number)[HELD_OUT - 1 :: HELD_OUT]] = False
    held = device >= 0
    return Samples(x[held], y[held], device[held], train[held])
