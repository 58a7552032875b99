"""What a peer in cells keeps on disk: whose record is whose, and what goes along to another cell."""

from swarmdem.identifiers import CellId
from swarmdem.protocol.cells.charters import cell_charter, in_cells
from swarmdem.protocol.cells.records import Records
from swarmdem.protocol.cells.staying import FENCED_ROUNDS, Staying
from swarmdem.protocol.events import Persist
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.signing import Identity

SWARM = in_cells(Charter(swarm="s", genesis=bytes(32)), 8)
HERE, THERE = CellId(b"\x01" * 16), CellId(b"\x02" * 16)
OWN = f"cell-{'01' * 8}-"


def staying(records):
    sealer = FrameSealer(Identity.from_private_bytes(bytes(32)), SWARM, 1)
    return Staying(HERE, cell_charter(SWARM, HERE), sealer, records)


def test_each_core_has_the_records_under_its_own_name():
    records = Records({"cell-1-round": b"a", "region-round": b"b", "cell": b"c"})

    assert records.of("cell-1-") == {"round": b"a"}
    assert records.of("region-") == {"round": b"b"}


def test_doubt_is_the_region_s_for_longer_than_the_cell_s():
    records = Records({"doubt": b"\x01"})
    stay = staying(records)
    assert records.of("region-") == records.of(OWN) == {"doubt": b"\x01"}

    written = stay.written(records, Persist("doubt", b""))

    # in this order: a crash in between loses neither
    assert written == [Persist("region-doubt", b"\x01"), Persist("doubt", b"")]
    assert records.of(OWN) == {}
    assert records.of("region-") == Records({"region-doubt": b"\x01"}).of("region-") == {"doubt": b"\x01"}
    assert records.in_region("doubt", b"") == Persist("region-doubt", b"")
    assert records.of("region-") == {}


def test_where_the_region_s_core_is_reassured_first_no_doubt_is_left_with_the_cell_s():
    records = Records({"doubt": b"\x01"})
    stay = staying(records)

    assert records.in_region("doubt", b"") == Persist("region-doubt", b"")
    assert stay.written(records, Persist("doubt", b"")) == [Persist("doubt", b"")]
    assert records.of("region-") == records.of(OWN) == {}


def test_who_goes_to_another_cell_counts_rounds_on_and_leaves_nothing_behind():
    records = Records({"cell": HERE, OWN + "round": b"\x07", OWN + "applied": b"\x06", OWN + "digest": b"d"})
    stay = staying(records)
    stay.leave(THERE)

    written = [(order.key, order.value) for order in stay.moved(records)]

    origin = HERE + (0).to_bytes(4, "big") + bytes([FENCED_ROUNDS])
    there = f"cell-{'02' * 8}-"
    assert written[:4] == [
        (there + "round", b"\x07"),
        (there + "applied", b"\x06"),
        ("origin", origin),
        ("cell", THERE),
    ]
    assert written[4:] == [(OWN + "applied", b""), (OWN + "digest", b""), (OWN + "round", b"")]
    assert records.of(there) == {"round": b"\x07", "applied": b"\x06"}
    assert records.of(OWN) == {}
