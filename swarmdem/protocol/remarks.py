"""What results say beside their models, in their `ext`: informative, for who checks or uses them.

A `Mean` names the mean of the round before that went into it (eq. 3), so that it can be recomputed.
A `Final` whose model carries the sum of w^(k) / N_k over the groups above (`pull_to = all`, Dem-AI eq. 2)
names those N, its own group's first: after a cut they are fewer than the tree has levels, and the
sum alone does not tell. A group that averaged nothing is missing among them: it hands on what it got;
where that is another group's model and no sum, one N says whose. A remark that cannot be read counts
as none.
"""

import struct

from swarmdem.identifiers import ModelHash
from swarmdem.wire.extensions import ABOVE, PREVIOUS, SUMMED, entry
from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import LISTED_MAX, Final, Mean

LEVELS_MAX = 255
"""Groups on the way from a peer to the root: levels are one byte on the wire."""


def previous_ext(previous: ModelHash | None) -> Extensions:
    """Return the `ext` of a mean into which *previous* went."""
    return ((PREVIOUS, previous),) if previous is not None else ()


def previous_of(mean: Mean) -> ModelHash | None:
    """Return the model of the round before that a mean names; None when it names none."""
    content = entry(mean.ext, PREVIOUS)
    return ModelHash(content) if content is not None and len(content) == 32 else None


def above_ext(above: ModelHash, below: ModelHash) -> Extensions:
    """Return the `ext` of a cell's root model: *above* was mixed into the mean *below* (eq. 10)."""
    return ((ABOVE, above + below),)


def above_of(mean: Mean) -> ModelHash | None:
    """Return the region's result that went into a cell's root model; None when none did."""
    content = entry(mean.ext, ABOVE)
    return ModelHash(content[:32]) if content is not None and len(content) == 64 else None


def below_of(mean: Mean) -> ModelHash:
    """Return the mean of a cell's root before the region's result went in."""
    content = entry(mean.ext, ABOVE)
    return ModelHash(content[32:] if content is not None and len(content) == 64 else mean.model)


def summed_ext(summed: tuple[int, ...]) -> Extensions:
    """Return the `ext` of a result that sums up the models of groups of so many peers each, or is one."""
    return ((SUMMED, struct.pack(f">{len(summed)}H", *summed)),) if summed else ()


def summed_of(message: Mean | Final) -> tuple[int, ...]:
    """Return N of the groups whose models a result sums up; empty when it is its own group's model."""
    content = entry(message.ext, SUMMED) if isinstance(message, Final) else None
    if not content or len(content) % 2 or len(content) > 2 * LEVELS_MAX:
        return ()
    summed = struct.unpack(f">{len(content) // 2}H", content)
    return summed if all(1 <= agents <= LISTED_MAX for agents in summed) else ()
