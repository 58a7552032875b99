"""The networks of the examples and experiments, by name.

A network maps inputs (batch, *shape) to scores (batch, classes), for a regression to (batch, 1); shapes
are of one input without its channel where there is one only: (28, 28) for a grey image, (3, 32, 32) for
a colour one.
"""

from collections.abc import Callable
from math import prod

from swarmdem.errors import ConfigError, SwarmError
from swarmdem.learning.loading import imported
from swarmdem.learning.torch_extra import torch

Network = Callable[[tuple[int, ...], int], torch.nn.Module]
"""Takes the shape of one input and the number of classes."""


def mlp(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return inputs-128-64-classes with ReLU (109,386 parameters for 28x28 and 10 classes).

    Takes inputs of any shape; sized for the demo, not from the paper.
    """
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(prod(shape), 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, classes),
    )


def cnn(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return the network of the DemLearn authors' code for images of 28x28.

    Twice 5x5 convolution to 32 maps (same size), ReLU, 2x2 pool, dropout .4; dense 512, ReLU,
    dense *classes*: 834,922 parameters for 28x28 and 10 classes. For FE-MNIST the authors leave the
    dropout out: `cnn-femnist`.

    Raises:
        ConfigError: *shape* is no image of at least 4x4, given as (height, width) or
            (channels, height, width).
    """
    return _two_convolutions("cnn", shape, classes, dropout=0.4)


def cnn_femnist(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return the authors' network for FE-MNIST: `cnn` without dropout (861,598 parameters, 62 classes).

    Raises:
        ConfigError: As `cnn`.
    """
    return _two_convolutions("cnn-femnist", shape, classes, dropout=0.0)


def cnn3(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return the network of the DemLearn authors' code for CIFAR-10, for colour images of 32x32.

    Three times 3x3 convolution (same size) to 16, 32, 64 maps, ReLU, 2x2 pool; dense 512 and 64, each
    with ReLU and dropout .5; dense *classes*: 581,866 parameters for 3x32x32 and 10 classes.

    Raises:
        ConfigError: *shape* is no image of at least 8x8, given as (height, width) or
            (channels, height, width).
    """
    return _three_convolutions("cnn3", shape, classes, normalised=False)


def cnn3bn(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return `cnn3` with batch norm after each convolution: what the strategy `fedbn` is for.

    Raises:
        ConfigError: As `cnn3`.
    """
    return _three_convolutions("cnn3bn", shape, classes, normalised=True)


def _two_convolutions(name: str, shape: tuple[int, ...], classes: int, *, dropout: float) -> torch.nn.Module:
    channels, height, width = _image(name, shape, least=4)
    layers: list[torch.nn.Module] = []
    for maps in (channels, 32):
        layers += [torch.nn.Conv2d(maps, 32, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        layers += [torch.nn.Dropout(dropout)] if dropout else []
    head = [
        torch.nn.Flatten(),
        torch.nn.Linear(32 * (height // 4) * (width // 4), 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, classes),
    ]
    return _for_images(shape, *layers, *head)


def _three_convolutions(
    name: str, shape: tuple[int, ...], classes: int, *, normalised: bool
) -> torch.nn.Module:
    channels, height, width = _image(name, shape, least=8)
    layers: list[torch.nn.Module] = []
    for before, maps in ((channels, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(before, maps, 3, padding=1)]
        layers += [torch.nn.BatchNorm2d(maps)] if normalised else []
        layers += [torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    layers += [torch.nn.Flatten()]
    for before, units in ((64 * (height // 8) * (width // 8), 512), (512, 64)):
        layers += [torch.nn.Linear(before, units), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    return _for_images(shape, *layers, torch.nn.Linear(64, classes))


def _image(name: str, shape: tuple[int, ...], *, least: int) -> tuple[int, int, int]:
    """Return channels, height and width of one input."""
    if len(shape) not in {2, 3} or min(shape[-2:]) < least:
        raise ConfigError(
            f"model = {name!r}: inputs of shape {list(shape)} are no images of at least {least}x{least}"
        )
    return (shape[0] if len(shape) == 3 else 1), shape[-2], shape[-1]


def _for_images(shape: tuple[int, ...], *layers: torch.nn.Module) -> torch.nn.Module:
    grey = len(shape) == 2
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, shape[0])) if grey else torch.nn.Identity(), *layers
    )
    # Channels-last kernels train a third and evaluate three times faster (measured, CPU, one thread).
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


NETWORKS: dict[str, Network] = {
    "mlp": mlp,
    "cnn": cnn,
    "cnn-femnist": cnn_femnist,
    "cnn3": cnn3,
    "cnn3bn": cnn3bn,
}


def build(name: str, shape: tuple[int, ...], classes: int, *, seed: int = 0) -> torch.nn.Module:
    """Return the network *name*, initialised by torch's defaults under *seed*.

    Args:
        name: One of `NETWORKS`, or `module:function` that takes (shape, classes).
        shape: Of one input.
        classes: Number of scores; 1 for a regression.
        seed: Of the first parameters; torch's own generator is left as it was.

    Raises:
        ConfigError: There is no such network, or it cannot take such inputs.
    """
    network = NETWORKS.get(name) or _imported(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            module = network(shape, classes)
        except SwarmError:
            raise
        except Exception as error:  # whatever a function of the user's raises is a mistake in a setting
            raise ConfigError(f"model = {name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(f"model = {name!r}: gave a {type(module).__name__}, not a torch.nn.Module")
    return module


def _imported(name: str) -> Network:
    network = imported("model", name, [*NETWORKS, "softmax"])
    if not callable(network):
        raise ConfigError(f"model = {name!r}: {name.partition(':')[2]!r} is not a function")
    return network  # type: ignore[no-any-return]
