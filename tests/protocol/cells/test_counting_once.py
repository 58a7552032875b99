"""One plan of the region lists no peer twice: one upload a cell, and none beside one it was fenced from."""

from hypothesis import given, strategies as st

from swarmdem.identifiers import CellId, GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol.cells.charters import in_cells, region_charter
from swarmdem.protocol.cells.entries import (
    CellEntry,
    HandedDown,
    Origin,
    cell_entry,
    counted_twice,
    entry_refusal,
    fences_of,
    handed_down,
    site_of,
)
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import PARAMETERS, PRESENCE, Digest, Final
from tests.protocol.cells.tried import few

REGION = region_charter(in_cells(Charter(swarm="s", genesis=bytes(32)), 16))
A, B, C = (CellId(bytes([letter]) * 16) for letter in b"abc")


def peer(number):
    return PeerId(bytes([number]) * 16)


def digest(ext=(), kind=PARAMETERS):
    model = b"" if kind == PRESENCE else b"m" * 32
    sketch = b"" if kind == PRESENCE else b"\1\2"
    return Digest(b"b" * 32, 1, kind, 0, b"", 1, model, len(model), 0, 0, 0.0, sketch, ext)


def upload(cell, number, *fences):
    return digest(CellEntry(cell, PlanId(b"p" * 32), number, 10, 0, fences).ext())


def test_of_two_speakers_of_one_cell_the_later_round_counts():
    assert counted_twice({peer(1): upload(A, 5), peer(2): upload(A, 6)}, ()) == {peer(1)}


def test_an_elector_counts_before_one_who_is_none():
    assert counted_twice({peer(1): upload(A, 5), peer(2): upload(A, 6)}, {peer(1)}) == {peer(2)}


def test_a_cell_is_left_out_beside_one_that_may_still_count_its_peers():
    both = {peer(1): upload(A, 5), peer(2): upload(B, 1, (A, 5))}

    assert counted_twice(both, ()) == {peer(2)}
    assert counted_twice({**both, peer(1): upload(A, 6)}, ()) == frozenset()


def test_the_fenced_cell_is_left_out_where_only_the_other_is_an_elector():
    assert counted_twice({peer(1): upload(A, 5), peer(2): upload(B, 1, (A, 5))}, {peer(2)}) == {peer(1)}


def test_presence_and_digests_of_a_flat_swarm_are_never_left_out():
    assert counted_twice({peer(1): digest(), peer(2): digest(kind=PRESENCE)}, ()) == frozenset()


fences = st.dictionaries(st.sampled_from([A, B, C]), st.integers(0, 6), max_size=2).map(
    lambda table: tuple(sorted(table.items()))
)
uploads = st.builds(lambda cell, number, walls: upload(cell, number, *walls), st.sampled_from([A, B, C]),
                    st.integers(0, 6), fences)  # fmt: skip
lists = st.dictionaries(st.integers(0, 9).map(peer), uploads, max_size=8)


@few
@given(lists, st.sets(st.integers(0, 9).map(peer)))
def test_what_is_listed_counts_nobody_twice_and_a_voter_finds_so_too(offered, electors):
    listed = {p: d for p, d in offered.items() if p not in counted_twice(offered, electors)}
    told = [cell_entry(d) for d in listed.values()]
    rounds = {entry.cell: entry.round for entry in told}

    assert len(rounds) == len(told)
    assert all(rounds.get(c, 7) > last for e in told for c, last in e.fences if c != e.cell)
    assert counted_twice(listed, electors) == frozenset()
    assert {cell_entry(d).cell for d in offered.values()} >= set(rounds)
    assert bool(listed) == bool(offered)


@few
@given(lists, st.sets(st.integers(0, 9).map(peer)))
def test_the_order_of_the_digests_does_not_matter(offered, electors):
    backwards = dict(reversed(offered.items()))

    assert counted_twice(backwards, electors) == counted_twice(offered, electors)


@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 2**16 - 1), st.integers(0, 2**64 - 1), fences, st.text())
def test_an_entry_reads_back_as_it_was_written(number, peers, scatter, walls, site):
    entry = CellEntry(A, PlanId(b"p" * 32), number, peers, scatter, walls, site_of(site))

    assert cell_entry(digest(entry.ext())) == entry


@few
@given(st.binary(max_size=200))
def test_an_entry_of_any_bytes_is_read_or_refused(content):
    found = digest(((1, content),))

    assert (cell_entry(found) is None) <= (entry_refusal(REGION, found) == "speaks for no cell")


def test_only_a_digest_of_the_region_speaks_for_a_cell():
    flat = Charter(swarm="s")

    assert entry_refusal(flat, upload(A, 1)) == "speaks for a cell outside the region"
    assert entry_refusal(flat, digest()) == ""
    assert entry_refusal(REGION, digest()) == "speaks for no cell"
    assert entry_refusal(REGION, upload(A, 1)) == ""


def test_fences_are_the_last_rounds_in_which_those_who_came_may_have_counted():
    digests = [digest(Origin(B, 3).ext()), digest(), digest(Origin(A, 9).ext()), digest(Origin(B, 4).ext())]

    assert fences_of(digests) == ((A, 9), (B, 4))


def test_what_comes_down_reads_back_and_another_result_is_not_taken_for_it():
    def final(ext):
        return Final(PlanId(b"p" * 32), 0, GroupId(A), 0, False, ModelHash(b"m" * 32), 5, (), ext)

    assert handed_down(final(HandedDown(7, CellId(b"")).ext())) == HandedDown(7, CellId(b""))
    assert handed_down(final(HandedDown(7, B).ext())) == HandedDown(7, B)
    assert handed_down(final(())) is None
    assert handed_down(final(((4, b"short"),))) is None
