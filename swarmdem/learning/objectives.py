"""What a peer minimises: its own loss plus a pull towards generalised knowledge (eq. 7 and 8).

DemLearn, arXiv 2007.03278. The pull enters as a gradient, never as a term of the loss: the
reported loss stays comparable between strategies and the pull costs one pass over the parameters.
"""

from swarmdem.learning.torch_extra import torch

Tensors = tuple[torch.Tensor, ...]


def local_loss(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over a batch: F_n of eq. 7. *scores* (batch, classes), *targets* (batch,)."""
    return torch.nn.functional.cross_entropy(scores, targets)


def pulled(gradients: Tensors, parameters: Tensors, anchor: Tensors, pull: float) -> Tensors:
    r"""Return the gradients of eq. 8, given those of the local loss.

    .. math:: \nabla [ F_n(w) + \mu/2 \|w - w^{(1)}\|^2 ] = \nabla F_n(w) + \mu (w - w^{(1)})

    Deviation from eq. 7, which sums the pulls of all levels: as eq. 8 and the authors' code, only
    the model of the peer's parent group pulls.

    Args:
        gradients: Of the local loss; not changed, since autograd may hand out one tensor twice.
        parameters: w, in the order of *gradients*.
        anchor: w^(1), the parent group's model; constant.
        pull: mu.
    """
    away = torch._foreach_sub(parameters, anchor)
    return torch._foreach_add(gradients, away, alpha=pull)
