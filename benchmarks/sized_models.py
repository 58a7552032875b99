"""Networks of a given size for `python -m benchmarks.growth size`: inputs of 28x28, 10 classes.

Named for `swarmdem swarm --model benchmarks.sized_models:NAME`; a megabyte is 1,000,000 bytes of float32.
"""

from math import prod

import torch


def mb044(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of .44 MB, that of the peer workload."""
    return _dense(shape, classes, 128, 64)


def mb3(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of 3.3 MB, as large as the paper's."""
    return _dense(shape, classes, 595, 595)


def mb10(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of 10 MB."""
    return _dense(shape, classes, 1240, 1240)


def mb50(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of 50 MB."""
    return _dense(shape, classes, 3160, 3160)


def mb100(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return a network of 100 MB."""
    return _dense(shape, classes, 4614, 4614)


def _dense(shape: tuple[int, ...], classes: int, *widths: int) -> torch.nn.Module:
    """Return dense layers with ReLU between them."""
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    inputs = prod(shape)
    for width in widths:
        layers += [torch.nn.Linear(inputs, width), torch.nn.ReLU()]
        inputs = width
    return torch.nn.Sequential(*layers, torch.nn.Linear(inputs, classes))
