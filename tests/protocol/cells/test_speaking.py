"""Who speaks for a cell, and what it takes up to the region."""

from types import SimpleNamespace

from swarmdem.identifiers import CellId, GroupId, PeerId, PlanId
from swarmdem.protocol.cells.charters import cell_charter, in_cells
from swarmdem.protocol.cells.records import Records
from swarmdem.protocol.cells.speaking import Speaker
from swarmdem.protocol.cells.staying import Staying
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import PARAMETERS, Digest, Mean
from swarmdem.wire.signing import Identity

GENESIS, PLAN = b"g" * 32, PlanId(b"p" * 32)
A, B = PeerId(b"a" * 16), PeerId(b"b" * 16)


def digest(*buckets, seed=7, reference=GENESIS):
    sketch = bytes(value & 0xFF for value in buckets)
    return Digest(b"b" * 32, 1, PARAMETERS, seed, reference, 1, b"m" * 32, 32, 0, 0, 1.0, sketch)


def taken_up(*digests):
    """Return what a speaker takes up of a root mean of two peers with these digests."""
    base = SimpleNamespace(seed=7, reference=GENESIS, electorate=(A, B), round=4)
    cell = SimpleNamespace(
        base=base, listed=lambda: dict(zip((A, B), digests, strict=True)), root_leaders=lambda: (A, B)
    )
    speaker = Speaker(CellId(b"c" * 16), cell, SimpleNamespace(peer=A), b"")
    speaker.root_announced(Mean(PLAN, 0, GroupId(b"r" * 16), 0, 2, (A, B), b"m" * 32, 32, ()), A, cell)
    return speaker.root


def test_the_cell_s_digest_is_the_mean_of_its_peers_sketches():
    root = taken_up(digest(0, 100), digest(100, 0))

    assert [round(root.scale * value) for value in root.sketch] == [50, 50]


def test_a_kept_tree_s_round_is_not_taken_up_by_the_sketches_of_the_late_alone():
    assert taken_up(digest(0, 100), digest(seed=0, reference=b"")) is None


def test_a_sketch_against_another_reference_is_not_in_the_mean():
    root = taken_up(digest(0, 100), digest(100, 0, reference=b"o" * 32))

    assert [round(root.scale * value) for value in root.sketch] == [0, 100]


def test_nobody_speaks_for_a_cell_before_its_first_round():
    swarm, cell = in_cells(Charter(swarm="s", genesis=bytes(32)), 8), CellId(b"c" * 16)
    sealer = FrameSealer(Identity.from_private_bytes(bytes(32)), swarm, 1)
    stay = Staying(cell, cell_charter(swarm, cell), sealer, Records({}))

    stay.part = SimpleNamespace(base=SimpleNamespace(id=b"founding", hierarchy=None, electorate=(A, B)))
    assert stay.speakers() == ()
    stay.part = SimpleNamespace(base=SimpleNamespace(id=b"round 1", hierarchy="a tree", electorate=(A, B)))
    assert sorted(stay.speakers()) == [A, B]
