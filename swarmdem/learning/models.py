"""The networks of the examples and experiments, by name.

A network maps inputs (batch, *shape) to scores (batch, classes); shapes are of one input without
its channel where there is one only: (28, 28) for a grey image.
"""

from collections.abc import Callable
from math import prod

from swarmdem.errors import ConfigError, SwarmError
from swarmdem.learning.loading import imported
from swarmdem.learning.torch_extra import torch

Network = Callable[[tuple[int, ...], int], torch.nn.Module]
"""Takes the shape of one input and the number of classes."""


def mlp(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return inputs-128-64-classes with ReLU (109,386 parameters for 28x28 and 10 classes)."""
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(prod(shape), 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, classes),
    )


def cnn(shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return the network of the DemLearn authors' code for images.

    Twice 5x5 convolution to 32 maps (same size), ReLU, 2x2 pool, dropout .4; dense 512, ReLU,
    dense *classes*: 834,922 parameters for 28x28 and 10 classes.

    Raises:
        ConfigError: *shape* is no image of at least 4x4, given as (height, width) or
            (channels, height, width).
    """
    if len(shape) not in {2, 3} or min(shape[-2:]) < 4:
        raise ConfigError(f"model = 'cnn': inputs of shape {list(shape)} are no images of at least 4x4")
    channels = shape[0] if len(shape) == 3 else 1
    height, width = shape[-2:]
    network = torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, height)) if len(shape) == 2 else torch.nn.Identity(),
        torch.nn.Conv2d(channels, 32, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.4),
        torch.nn.Conv2d(32, 32, 5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Dropout(0.4),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * (height // 4) * (width // 4), 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, classes),
    )
    # Channels-last kernels train a third and evaluate three times faster (measured, CPU, one thread).
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


NETWORKS: dict[str, Network] = {"mlp": mlp, "cnn": cnn}


def build(name: str, shape: tuple[int, ...], classes: int, *, seed: int = 0) -> torch.nn.Module:
    """Return the network *name*, initialised by torch's defaults under *seed*.

    Args:
        name: One of `NETWORKS`, or `module:function` that takes (shape, classes).
        shape: Of one input.
        classes: Number of scores.
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
