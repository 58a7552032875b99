"""Events and a status as people see them when they are printed."""

from swarmdem.identifiers import GroupId, ModelHash, PeerId, PlanId
from swarmdem.node.explaining import Explained
from swarmdem.node.troubles import PeerStatus, Trouble
from swarmdem.protocol.events import Certified, NeighboursAveraged, RoundFinished
from swarmdem.protocol.status import Phase

PLAN = PlanId(b"\x11" * 32)


def test_a_printed_event_has_short_ids_and_no_raw_bytes():
    event = RoundFinished(PLAN, 7, True, True, ModelHash(b"\x55" * 32), GroupId(b"\x66" * 16), "")

    assert str(event) == (
        "RoundFinished(plan=11111111, round=7, certified=True, applied=True, model=55555555, "
        "group=66666666, reason='')"
    )
    assert "b'UUUU" in repr(event), "repr keeps every byte"


def test_a_long_list_is_cut_and_counted():
    peers = tuple(PeerId(bytes([number]) * 16) for number in range(1, 21))
    event = Certified(PLAN, b"\x22" * 32, 7, 0, 1, peers, b"")

    assert "peers=(01010101, 02020202, 03030303, 04040404, 16 more)" in str(event)


def test_pairs_within_a_list_are_read_too():
    event = NeighboursAveraged(PLAN, 1, ModelHash(b"\x55" * 32), (), ((ModelHash(b"\x77" * 32), 1),), (), 0)

    assert "inputs=((77777777, 1))" in str(event)


def test_a_printed_status_has_short_ids_and_its_troubles_in_words():
    me = PeerId(b"\x01" * 16)
    trouble = Trouble("no echo", 1_000_000_000.0, 3)
    status = PeerStatus(
        me, Phase.TRAINING, PLAN, 4, True, True, (me,), None, 0, (), True, troubles=(trouble,)
    )

    assert str(status) == (
        "PeerStatus(peer=01010101, phase=training, base=11111111, round=4, certified=True, connected=True, "
        "peers=(01010101), group=None, level=0, duties=(), idle=True, cell=None, speaks=False, region=None, "
        "troubles=(no echo (since 2001-09-09T01:46:40Z, after round 3)))"
    )


def test_a_nodes_own_event_reads_alike():
    assert str(Explained(7, "late", "it was slow")) == "Explained(round=7, about='late', why='it was slow')"
