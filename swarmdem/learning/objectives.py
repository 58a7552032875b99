"""What a peer minimises, as gradients: its own loss and the pull towards generalised knowledge.

DemLearn, arXiv 2007.03278, eq. 7 and 8; the other terms are those of `learner.Objective`. Pull and
correction enter as gradients, never as terms of the loss: the reported loss stays comparable between
strategies, and each costs one pass over the parameters.
"""

from collections.abc import Callable, Mapping

from swarmdem.errors import ConfigError
from swarmdem.learning.learner import ABSENT_SHARE, Objective, Parameters
from swarmdem.learning.torch_extra import torch

Tensors = tuple[torch.Tensor, ...]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Mean over a batch: outputs (batch, classes), targets (batch,) to a number."""


def local_loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over a batch: F_n of eq. 7. *scores* (batch, classes), *targets* (batch,)."""
    return torch.nn.functional.cross_entropy(scores, targets)


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared error over a batch: F_n of a regression. *outputs* (batch, 1), *targets* (batch,).

    Raises:
        ConfigError: The model has more than one output.
    """
    if outputs.shape[1:] != (1,):
        raise ConfigError(f"a regression needs a model with one output, not {list(outputs.shape[1:])}")
    return torch.nn.functional.mse_loss(outputs[:, 0], targets)


def calibrated_loss(labels: torch.Tensor, tau: float) -> Loss:
    r"""Return the cross entropy of scores adjusted by the peer's own label shares.

    .. math:: F_n = -\log \mathrm{softmax}_y(f(x) + \tau \log \pi), \quad \pi_c = n_c / n

    arXiv 2007.07314, eq. 10, with the shares of one peer (FedLC, arXiv 2209.00189). What is learned is a
    model for balanced classes: nothing is gained by pushing classes down that this peer never sees.

    Args:
        labels: Every training target of the peer, (n,).
        tau: Strength; 1 is the Bayes-consistent one.
    """
    offset: torch.Tensor | None = None

    def loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal offset
        if offset is None:  # only the scores tell how many classes there are
            shares = torch.bincount(labels, minlength=scores.shape[1]) / len(labels)
            offset = tau * shares.clamp(min=ABSENT_SHARE).log().to(scores.dtype)
        return local_loss(scores + offset, targets)

    return loss


def pulled(gradients: Tensors, parameters: Tensors, anchor: Tensors, pull: float) -> Tensors:
    r"""Return the gradients of eq. 8, given those of the local loss.

    .. math:: \nabla [ F_n(w) + \mu/2 \|w - w^{(1)}\|^2 ] = \nabla F_n(w) + \mu (w - w^{(1)})

    Deviation from eq. 7, which sums the pulls of all levels: as eq. 8 and the authors' code, only
    the model of the peer's parent group pulls (unless the charter says `pull_to = all`: then the
    anchor is the weighted mean of all of them).

    Args:
        gradients: Of the local loss; not changed, since autograd may hand out one tensor twice.
        parameters: w, in the order of *gradients*.
        anchor: w^(1), the parent group's model; constant.
        pull: mu.
    """
    away = torch._foreach_sub(parameters, anchor)
    return torch._foreach_add(gradients, away, alpha=pull)


class Terms:
    """Everything of an `Objective` beside the own loss, as tensors of one module.

    Args:
        objective: What to minimise.
        named: The parameters that are trained.
    """

    def __init__(self, objective: Objective, named: Mapping[str, torch.Tensor]) -> None:
        self._pull = objective.pull
        self._moving = objective.moving
        self._own = objective.own
        anchor = objective.anchor if objective.pull > 0 else None
        self._names = tuple(name for name in named if anchor is not None and name in anchor)
        self._pulls = tuple(index for index, name in enumerate(named) if name in self._names)
        self._all = len(self._pulls) == len(named)
        self._anchor = _like(named, anchor or {}, self._names)
        corrected = tuple(name for name in named if name in (objective.correction or {}))
        self._corrects = tuple(index for index, name in enumerate(named) if name in corrected)
        self._correction = _like(named, objective.correction or {}, corrected)

    @property
    def inner(self) -> int:
        """Steps on each batch (K of pFedMe)."""
        return self._moving.steps if self._moving is not None else 1

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return what is differentiated: alpha_t of Dem-AI eq. 2 times the own loss."""
        return loss if self._own == 1.0 else loss * self._own

    def added_to(self, gradients: Tensors, parameters: Tensors) -> Tensors:
        """Return the gradients of the whole objective, given those of the scaled own loss."""
        if self._all and self._pulls:
            gradients = pulled(gradients, parameters, self._anchor, self._pull)
        elif self._pulls:
            chosen = pulled(
                _at(gradients, self._pulls), _at(parameters, self._pulls), self._anchor, self._pull
            )
            gradients = _replaced(gradients, self._pulls, chosen)
        if self._corrects:
            chosen = torch._foreach_add(_at(gradients, self._corrects), self._correction)
            gradients = _replaced(gradients, self._corrects, chosen)
        return gradients

    def batch_done(self, parameters: Tensors) -> None:
        """Move a moving anchor: w <- w - eta lambda (w - theta) (pFedMe, Algorithm 1, line 8)."""
        if self._moving is not None and self._pulls:
            share = self._moving.rate * self._pull
            torch._foreach_lerp_(self._anchor, _at(parameters, self._pulls), share)

    def finish(self, model: Parameters) -> None:
        """Tell a moving anchor where it ended; *model* is the trained one, whole."""
        if self._moving is not None:
            ended = {
                name: tensor.cpu().contiguous().numpy()
                for name, tensor in zip(self._names, self._anchor, strict=True)
            }
            self._moving.parameters = {name: ended.get(name, array) for name, array in model.items()}


def _like(named: Mapping[str, torch.Tensor], arrays: Parameters, names: tuple[str, ...]) -> Tensors:
    """Return copies of *arrays* in the memory layout of the parameters they belong to."""
    with torch.no_grad():
        return tuple(torch.empty_like(named[name]).copy_(torch.tensor(arrays[name])) for name in names)


def _at(tensors: Tensors, indices: tuple[int, ...]) -> Tensors:
    return tensors if len(indices) == len(tensors) else tuple(tensors[index] for index in indices)


def _replaced(tensors: Tensors, indices: tuple[int, ...], chosen: Tensors) -> Tensors:
    if len(indices) == len(tensors):
        return chosen
    whole = list(tensors)
    for index, tensor in zip(indices, chosen, strict=True):
        whole[index] = tensor
    return tuple(whole)
