"""The entries of `ext` that this version knows, by the kind of body that carries them.

An even id may be ignored by whoever does not know it; an odd one must be understood, so a body that
has it is refused by versions that do not. What an entry's bytes mean is said where it is read.
"""

from swarmdem.wire.fields import Extensions
from swarmdem.wire.messages import Digest, Plan

BROKERS = 2
"""`Hello`: URLs of brokers that the sender hosts (`node/announcements.py`)."""

STANDING = 2
"""`Ping`: frame id of the digest its sender stands by on the base (`protocol/agreement.py`)."""

LOSS = 2
"""`Digest`: the mean training loss (`protocol/state.py`)."""

CONDUCT_REPORT = 4
"""`Digest`: capability claimed, slow transfers and failed aggregators seen (`protocol/conduct.py`)."""

CELL, ORIGIN = 1, 3
"""`Digest`: the cell whose root model it is, in the region; the cell that its sender came from
(`protocol/cells/entries.py`)."""

CLOCK, PLACEMENT, REFERENCE_SKETCH, ABSENT = 1, 3, 5, 7
"""`Plan`: schedules' clock, standing of the listed, sketch of the reference, standing of peers that were far
from all groups when they were last listed (`protocol/state.py`)."""

PREVIOUS = 2
"""`Mean`: the group's mean of the round before that went into it (`protocol/remarks.py`)."""

ABOVE = 4
"""`Mean`: the region's result that went into a cell's root model (`protocol/remarks.py`)."""

DOWN = 4
"""`Final`: that it is the region's result for a cell, told there (`protocol/cells/entries.py`)."""

SUMMED = 2
"""`Final`: N of the groups whose models its model sums up (`protocol/remarks.py`)."""

CONDUCT = 9
"""`Plan`: what elections and deadlines follow from beside the charter (`protocol/conduct.py`)."""

LISTENING = 2
"""`BlobWant`: the asker hears what is published to all who fetch the blob; one byte: 1 when it has waited in
vain for what it asks for here, else 0 (`node/casting.py`)."""

INVITATION = 2
"""`BlobOffer`: the sender will publish the blob for all who fetch it: listen there, and ask again; empty."""

UNDERSTOOD: dict[type, frozenset[int]] = {
    Digest: frozenset({CELL, ORIGIN}),
    Plan: frozenset({CLOCK, PLACEMENT, REFERENCE_SKETCH, ABSENT, CONDUCT}),
}
"""The odd ids of each kind that are understood; of kinds not named here none are."""


def entry(ext: Extensions, number: int) -> bytes | None:
    """Return the content of entry *number*; None when there is none."""
    return next((content for found, content in ext if found == number), None)
