import pytest
from msgspec import structs

from swarmdem.errors import ConfigError
from swarmdem.identifiers import CellId, PeerId
from swarmdem.protocol.cells.charters import (
    cell_charter,
    first_cell,
    founding_cell,
    founding_cells,
    in_cells,
    limit_of,
    patterns_between_sites,
    region_charter,
    scopes_of,
)
from swarmdem.protocol.cells.entries import NO_SITE, site_of
from swarmdem.protocol.plans import founding_base
from swarmdem.wire import charter as charters
from swarmdem.wire.cells import CELL, REGION, SWARM, cell_settings
from swarmdem.wire.charter import Charter, charter_hash

FLAT = Charter(swarm="plant-7", genesis=bytes(range(32)), founders=100)
WHOLE = in_cells(FLAT, 16)
CELL_ID = CellId(b"c" * 16)


def test_cells_are_an_entry_of_ext_and_a_flat_charter_stays_as_it_was():
    assert WHOLE.ext == ((1, bytes([SWARM, 0, 16])),)
    assert charters.decode(charters.encode(WHOLE)) == WHOLE
    assert structs.replace(WHOLE, ext=()) == FLAT
    assert (limit_of(WHOLE), limit_of(FLAT)) == (16, 0)


def test_charters_of_cells_and_region_name_the_swarm_they_belong_to():
    cell, region = cell_settings(cell_charter(WHOLE, CELL_ID).ext), cell_settings(region_charter(WHOLE).ext)

    assert (cell.kind, cell.swarm, cell.cell) == (CELL, charter_hash(WHOLE), CELL_ID)
    assert (region.kind, region.swarm, region.cell) == (REGION, charter_hash(WHOLE), b"")


def test_sketches_have_one_seed_in_all_cells_and_the_region():
    parts = [
        WHOLE,
        cell_charter(WHOLE, CELL_ID),
        cell_charter(WHOLE, CellId(bytes(16))),
        region_charter(WHOLE),
    ]

    assert len({founding_base(charter).seed for charter in parts}) == 1
    assert len({charter_hash(charter) for charter in parts}) == 4


def test_a_region_counts_peers_and_makes_no_schedules_of_its_own():
    tables = (("gain", (2.0,)), ("gamma", (1.0, 0.5)), ("mixing", (0.5,)))
    region = region_charter(in_cells(structs.replace(FLAT, schedules=tables), 16))

    assert region.weights == "samples"
    assert region.schedules == (("mixing", (0.5,)),)


def test_founders_fill_their_cells_to_three_quarters_by_lot():
    assert founding_cells(WHOLE) == 9  # 100 founders, 12 to a cell

    lots = [founding_cell(WHOLE, PeerId(number.to_bytes(16, "big"))) for number in range(900)]

    assert len(set(lots)) == 9
    assert min(lots.count(cell) for cell in set(lots)) > 70


def test_the_cells_of_a_site_are_of_no_other():
    north, south = site_of("north"), site_of("south")
    peers = [PeerId(number.to_bytes(16, "big")) for number in range(100)]
    lots = [{founding_cell(WHOLE, peer, site) for peer in peers} for site in (north, south, NO_SITE)]

    assert [len(cells) for cells in lots] == [9, 9, 9]
    assert len(set.union(*lots)) == 27
    assert first_cell(WHOLE, north) in lots[0]
    assert founding_cell(WHOLE, peers[0], site_of("")) == founding_cell(WHOLE, peers[0])


def test_what_crosses_between_sites_is_the_swarm_s_and_the_region_s():
    scopes = {*scopes_of(WHOLE), *scopes_of(region_charter(WHOLE))}

    assert set(patterns_between_sites(WHOLE)) == {f"swarmdem/1/{s.hex()[:32]}/#" for s in scopes}
    assert len(scopes) == 4


@pytest.mark.parametrize("limit", [0, 3, 257])
def test_a_limit_out_of_range_is_refused_by_its_name(limit):
    with pytest.raises(ConfigError, match=rf"charter.cells: {limit} is not possible: 4 to 256"):
        in_cells(FLAT, limit)


@pytest.mark.parametrize(
    "setting", [{"genesis": b""}, {"update": "gossip", "levels": 0}, {"metric": "cosine"}, {"pull_to": "all"}]
)
def test_what_does_not_go_with_cells_is_refused_by_its_name(setting):
    with pytest.raises(ConfigError, match=rf"charter.{next(iter(setting))}: does not go with cells"):
        in_cells(structs.replace(FLAT, **setting), 16)


@pytest.mark.parametrize(
    "ext", [((1, b"\0\0"),), ((1, b"\0\0\3"),), ((1, b"\3\0\x10"),), ((3, b"\0\0\x10"),)]
)
def test_an_entry_that_says_nothing_sensible_is_refused(ext):
    with pytest.raises(ConfigError, match=r"charter.ext"):
        structs.replace(FLAT, ext=ext)
