"""K copies of one network side by side, each with parameters of its own: `Stack`.

A chain (`torch.nn.Sequential`) of well-known layers is taken apart: a dense layer becomes one batched
product, a convolution one with K groups, layers without parameters see K batches as one. Any other network
goes through `torch.vmap`, whose first use imports torch's compiler: 1 s of CPU (measured, torch 2.13).

Every copy drops out the same units as it would alone: masks are drawn copy by copy from generators of
their own, and only on CUDA, where that would cost more than it is worth, all at once from one.

Limits: networks with buffers (batch norm) or a normalisation over the batch are refused, and so is chance
in any layer but `torch.nn.Dropout`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

from swarmdem.errors import ConfigError
from swarmdem.learning.torch_extra import torch

PLAIN: frozenset[type[torch.nn.Module]] = frozenset(
    {
        torch.nn.AdaptiveAvgPool2d, torch.nn.AvgPool2d, torch.nn.ELU, torch.nn.Flatten, torch.nn.GELU,
        torch.nn.Identity, torch.nn.LeakyReLU, torch.nn.MaxPool2d, torch.nn.ReLU, torch.nn.Sigmoid,
        torch.nn.SiLU, torch.nn.Softplus, torch.nn.Tanh, torch.nn.Unflatten,
    }
)  # fmt: skip
"""Layers without parameters that treat every sample by itself: K batches of them are one."""

Named = Mapping[str, torch.Tensor]


class Masked(torch.nn.Module):
    """A dropout layer that multiplies by masks drawn before.

    Args:
        p: Share that is dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.tape: Iterator[torch.Tensor] = iter(())
        self.seen: list[tuple[float, torch.Tensor]] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return *x* under the next mask; while a network is looked over, note what is asked for."""
        if self.seen is not None:
            self.seen.append((self.p, torch.empty_like(x, device="meta")))
            return x
        return x * next(self.tape)


class Stack:
    """K copies of a network, in training mode.

    Args:
        module: Copied; its parameters are not used.

    Raises:
        ConfigError: It cannot be trained in this way; says why.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        if any(True for _ in module.buffers()):
            raise ConfigError("the network has buffers (a batch norm keeps its statistics in them)")
        if len(list(module.parameters())) < len(module.state_dict()):
            raise ConfigError("the network uses parameters twice")
        for layer in module.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                raise ConfigError("the network normalises over the batch")
        self._skeleton = _with_masks(copy.deepcopy(module)).train()
        self._layers = _layers_of("", self._skeleton)
        self._dropouts = [m for m in self._skeleton.modules() if isinstance(m, Masked)]
        self._known: dict[tuple[int, ...], tuple[tuple[float, torch.Tensor], ...]] = {}

    @property
    def layered(self) -> bool:
        """Whether the network is a chain of layers that is known here."""
        return self._layers is not None

    def asked(self, x: torch.Tensor) -> tuple[tuple[float, torch.Tensor], ...]:
        """Return share and shape of every mask that a batch *x* of one copy needs, in the order of use."""
        shape = tuple(x.shape)
        if shape not in self._known:
            seen: list[tuple[float, torch.Tensor]] = []
            for dropout in self._dropouts:
                dropout.seen = seen
            try:
                with torch.no_grad():
                    self._skeleton(torch.zeros_like(x))
            finally:
                for dropout in self._dropouts:
                    dropout.seen = None
            self._known[shape] = tuple(seen)
        return self._known[shape]

    def look_over(self, x: torch.Tensor) -> tuple[int, int]:
        """Return the number of scores and the bytes of all layers' outputs for a batch *x* of one copy."""
        total = 0

        def count(_layer: object, _inputs: object, output: object) -> None:
            nonlocal total
            total += output.nbytes if isinstance(output, torch.Tensor) else 0

        hooks = [m.register_forward_hook(count) for m in self._skeleton.modules() if not list(m.children())]
        for dropout in self._dropouts:
            dropout.seen = []
        try:
            with torch.no_grad():
                scores = self._skeleton(x)
        finally:
            for hook in hooks:
                hook.remove()
            for dropout in self._dropouts:
                dropout.seen = None
        return scores.shape[1], total

    def scores(self, parameters: Named, x: torch.Tensor, masks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the scores (K, batch, classes) of every copy.

        Args:
            parameters: Of all copies: (K, ...) each.
            x: Inputs (K, batch, ...).
            masks: One (K, batch, ...) for each dropout, in the order of use.
        """
        if self._layers is None:
            return self._mapped(parameters, x, masks)
        copies, batch = x.shape[:2]
        self._play([mask.flatten(0, 1) for mask in masks])
        for prefix, layer in self._layers:
            if isinstance(layer, torch.nn.Linear):
                x = _dense(x, parameters[prefix + "weight"], parameters.get(prefix + "bias"))
            elif isinstance(layer, torch.nn.Conv2d):
                x = _convolution(layer, x, parameters[prefix + "weight"], parameters.get(prefix + "bias"))
            else:
                x = layer(x.flatten(0, 1)).unflatten(0, (copies, batch))
        return x

    def _mapped(self, parameters: Named, x: torch.Tensor, masks: Sequence[torch.Tensor]) -> torch.Tensor:
        def one(own: dict[str, torch.Tensor], x: torch.Tensor, masks: list[torch.Tensor]) -> torch.Tensor:
            self._play(masks)
            scores: torch.Tensor = torch.func.functional_call(self._skeleton, own, (x,))
            return scores

        scores: torch.Tensor = torch.vmap(one)(dict(parameters), x, list(masks))
        return scores

    def _play(self, masks: Sequence[torch.Tensor]) -> None:
        tape = iter(masks)
        for dropout in self._dropouts:
            dropout.tape = tape


def _with_masks(module: torch.nn.Module) -> torch.nn.Module:
    """Put `Masked` in the place of every dropout layer of *module*."""
    if type(module) is torch.nn.Dropout and module.p > 0:
        return Masked(module.p)
    for name, child in list(module._modules.items()):  # a layer that is used twice is there twice
        if child is not None:
            module._modules[name] = _with_masks(child)
    return module


def _layers_of(prefix: str, module: torch.nn.Module) -> list[tuple[str, torch.nn.Module]] | None:
    """Return the layers of a chain with the prefix of their parameters' names; None for any other network."""
    if type(module) is torch.nn.Sequential:
        layers: list[tuple[str, torch.nn.Module]] = []
        for name, child in module._modules.items():
            assert child is not None
            inner = _layers_of(f"{prefix}{name}.", child)
            if inner is None:
                return None
            layers += inner
        return layers
    known = type(module) in PLAIN or type(module) in {torch.nn.Linear, Masked} or _simple_convolution(module)
    return [(prefix, module)] if known else None


def _simple_convolution(module: torch.nn.Module) -> bool:
    return type(module) is torch.nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"


def _dense(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return x W^T + b of every copy: (K, batch, ..., in) to (K, batch, ..., out)."""
    flat, turned = x.flatten(1, -2), weight.transpose(1, 2)
    out = torch.bmm(flat, turned) if bias is None else torch.baddbmm(bias[:, None], flat, turned)
    return out.view(*x.shape[:-1], out.shape[-1])


def _convolution(
    layer: torch.nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Return the convolution of every copy: (K, batch, C, H, W) to (K, batch, O, H', W')."""
    copies = len(x)
    out = torch.nn.functional.conv2d(
        x.transpose(0, 1).flatten(1, 2),
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        layer.stride,
        layer.padding,
        layer.dilation,
        copies,
    )
    return out.reshape(len(out), copies, -1, *out.shape[2:]).transpose(0, 1)
