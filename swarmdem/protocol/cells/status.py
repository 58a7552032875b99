"""What a peer in cells says about itself at one moment: as in a flat swarm, of its cell."""

from dataclasses import replace

from swarmdem.identifiers import PeerId
from swarmdem.protocol.cells.part import Part
from swarmdem.protocol.cells.staying import Staying
from swarmdem.protocol.status import Phase, Status


def status_in_cells(
    me: PeerId, staying: Staying | None, region: Part | None, *, connected: bool, left: bool
) -> Status:
    """Return the status of peer *me*.

    Args:
        me: Whose.
        staying: Its time in its cell; None while it enters.
        region: Its core in the region; None while it does not speak for its cell.
        connected: The link is up; said of a peer that has no cell yet.
        left: It takes part no more.
    """
    if staying is None:
        phase = Phase.LEFT if left else Phase.JOINING
        return Status(
            peer=me, phase=phase, base=None, round=0, certified=False, connected=connected, peers=(me,),
            group=None, level=0, duties=(), idle=True,
        )  # fmt: skip
    number = region.base.round if region is not None else None
    return replace(staying.part.status(), cell=staying.cell, speaks=region is not None, region=number)
