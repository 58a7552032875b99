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

    arXiv 2007.07314, eq. 10, with the shares of one peer. That each peer calibrates by its own labels is
    FedLC's idea (arXiv 2209.00189), whose margin is another: tau n_c^(-1/4) off the score. What is learned
    is a model for balanced classes: nothing is gained by pushing classes down that this peer never sees.

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


def pulled(
    gradients: Tensors, parameters: Tensors, anchor: Tensors, pull: float, out: Tensors | None = None
) -> Tensors:
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
        out: Memory to put the outcome in. Fresh memory of a model's size costs more than the sums:
            the operating system hands it out page by page (measured, CPU).
    """
    out = tuple(torch.empty_like(w) for w in parameters) if out is None else out
    for gradient, w, towards, target in zip(gradients, parameters, anchor, out, strict=True):
        torch.sub(w, towards, out=target)
        torch.add(gradient, target, alpha=pull, out=target)
    return out


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
        anchor = objective.anchor if objective.anchor is not None and objective.pull > 0 else {}
        self._pulls = _places(named, anchor)
        self._anchor = _like(named, anchor)
        self._corrects = _places(named, objective.correction or {})
        self._correction = _like(named, objective.correction or {})
        self._memory = {
            index: torch.empty_like(parameter)
            for index, parameter in enumerate(named.values())
            if index in {*self._pulls, *self._corrects}
        }
        self._names = tuple(named)

    @property
    def inner(self) -> int:
        """Steps on each batch (K of pFedMe)."""
        return self._moving.steps if self._moving is not None else 1

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return what is differentiated: alpha_t of Dem-AI eq. 2 times the own loss."""
        return loss if self._own == 1.0 else loss * self._own

    def added_to(self, gradients: Tensors, parameters: Tensors) -> Tensors:
        """Return the gradients of the whole objective, given those of the scaled own loss.

        The outcome shares memory with that of the next call.
        """
        if not self._memory:
            return gradients
        whole = dict(enumerate(gradients))
        towards = pulled(
            _at(gradients, self._pulls),
            _at(parameters, self._pulls),
            self._anchor,
            self._pull,
            tuple(self._memory[index] for index in self._pulls),
        )
        whole.update(zip(self._pulls, towards, strict=True))
        for index, constant in zip(self._corrects, self._correction, strict=True):
            whole[index] = torch.add(whole[index], constant, out=self._memory[index])
        return tuple(whole.values())

    def batch_done(self, parameters: Tensors) -> None:
        """Move a moving anchor: w <- w - eta lambda (w - theta) (pFedMe, Algorithm 1, line 8)."""
        if self._moving is not None and self._pulls:
            share = self._moving.rate * self._pull
            torch._foreach_lerp_(self._anchor, _at(parameters, self._pulls), share)

    def finish(self, model: Parameters) -> None:
        """Tell a moving anchor where it ended; *model* is the trained one, whole."""
        if self._moving is not None:
            ended = {
                self._names[index]: tensor.cpu().contiguous().numpy()
                for index, tensor in zip(self._pulls, self._anchor, strict=True)
            }
            self._moving.parameters = {name: ended.get(name, array) for name, array in model.items()}


def _places(named: Mapping[str, torch.Tensor], arrays: Parameters) -> tuple[int, ...]:
    return tuple(index for index, name in enumerate(named) if name in arrays)


def _like(named: Mapping[str, torch.Tensor], arrays: Parameters) -> Tensors:
    """Return copies of *arrays* in the memory layout of the parameters they belong to."""
    with torch.no_grad():
        return tuple(
            torch.empty_like(parameter).copy_(torch.tensor(arrays[name]))
            for name, parameter in named.items()
            if name in arrays
        )


def _at(tensors: Tensors, places: tuple[int, ...]) -> Tensors:
    return tuple(tensors[place] for place in places)
