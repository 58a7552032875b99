"""torch, or one plain sentence when it is not installed."""

from swarmdem.errors import MissingExtraError

try:
    import torch
except ImportError as error:
    raise MissingExtraError("training with torch", "torch") from error

__all__ = ["torch"]
