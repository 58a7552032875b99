"""The pull to *all* groups above a peer, for one extra tensor (Dem-AI, arXiv 2003.09301, eq. 2).

With N_k agents in the group of level k above the peer and w^(k) its model, the term beta sum_k
|w - w^(k)|^2 / N_k has the gradient

    2 beta (c w - a),     c = sum_k 1 / N_k,     a = sum_k w^(k) / N_k

which is a pull of weight mu = 2 beta c towards the one model a / c. The aggregators add up `a` from the
root downward; a member gets it beside its parent's result and never K models.

A result with its sum is one model of twice the schema, the sum under `pull/NAME`; a plain result stands
for the root's, above which there is nothing. Integer arrays are 0 in a sum: nothing pulls at them.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from swarmdem.errors import MisuseError, SchemaError
from swarmdem.learning.learner import MutableParameters, Parameters
from swarmdem.wire.charter import TensorSpec

PREFIX = "pull/"


def with_sums(schema: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return the schema of a result of *schema* that carries its sum, sorted by name."""
    sums = (TensorSpec(PREFIX + spec.name, spec.shape, spec.dtype) for spec in schema)
    return tuple(sorted((*schema, *sums), key=lambda spec: spec.name.encode()))


def joined(result: Parameters, sums: Parameters) -> MutableParameters:
    """Return *result* and its *sums* as the one model that travels.

    Raises:
        SchemaError: They do not have the same names.
    """
    if result.keys() != sums.keys():
        raise SchemaError(f"sums of {len(sums)} arrays beside a result of {len(result)}")
    return {**result, **{PREFIX + name: array for name, array in sums.items()}}


def split(model: Parameters) -> tuple[MutableParameters, MutableParameters]:
    """Return the result and the sums of what `joined` made; two empty ones of a plain result."""
    sums = {
        name.removeprefix(PREFIX): array
        for name, array in model.items()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) in model
    }
    return {name: model[name] for name in sums}, sums


def accumulated(above: Parameters | None, model: Parameters, agents: int) -> MutableParameters:
    """Return a + w / N: the sum that a group hands down, its own share added to what it got.

    Args:
        above: The sum its parent handed down; None at the root.
        model: The group's result, w.
        agents: N, peers below the group; from 1.

    Returns:
        The sum in the dtypes of *model*; integer arrays are 0.

    Raises:
        MisuseError: A group without peers.
    """
    if agents < 1:
        raise MisuseError(f"a group of {agents} agents")
    sums: MutableParameters = {}
    for name, array in model.items():
        share = np.zeros_like(array)
        if array.dtype.kind == "f":
            total = np.divide(array, agents, dtype=np.float64)
            share[...] = total if above is None else total + above[name]
        sums[name] = share
    return sums


def pull_target(sums: Parameters, agents: Sequence[int]) -> tuple[MutableParameters, float]:
    """Return the model a / c that all groups above together pull towards, and c.

    The weight of that pull is mu = 2 beta c, beta being the charter's `pull` times its schedule.

    Args:
        sums: a, as the parent handed it down.
        agents: N of the parent and of every group above it, up to the root.

    Raises:
        MisuseError: There is no group, or one without peers.
    """
    if not agents or min(agents) < 1:
        raise MisuseError(f"groups of {list(agents)} agents")
    share = float(sum(Fraction(1, count) for count in agents))  # exact: the order does not matter
    return {name: (array / share).astype(array.dtype) for name, array in sums.items()}, share
