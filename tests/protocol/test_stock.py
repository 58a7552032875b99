"""The models of one update at one peer: what is ordered follows from what is needed."""

from swarmdem.identifiers import ModelHash, PeerId
from swarmdem.protocol.events import Fetch, StopFetching
from swarmdem.protocol.stock import Stock, together

ONE, OTHER = ModelHash(b"1" * 32), ModelHash(b"2" * 32)
A, B = PeerId(b"a" * 16), PeerId(b"b" * 16)


def test_only_the_difference_to_what_was_ordered_is_ordered():
    stock = Stock([])

    assert stock.order({ONE: Fetch(ONE, 9, (A,))}) == [Fetch(ONE, 9, (A,))]
    assert stock.order({ONE: Fetch(ONE, 9, (A,)), OTHER: Fetch(OTHER, 9, (B,))}) == [Fetch(OTHER, 9, (B,))]
    assert stock.order({ONE: Fetch(ONE, 9, (A,))}) == [StopFetching(OTHER)]
    assert stock.stop() == [StopFetching(ONE)]


def test_a_new_source_is_passed_on_and_a_lost_one_is_not():
    stock = Stock([])
    stock.order({ONE: Fetch(ONE, 9, (A,))})

    assert stock.order({ONE: Fetch(ONE, 9, (A, B))}) == [Fetch(ONE, 9, (A, B))]
    assert stock.order({ONE: Fetch(ONE, 9, (B,))}) == []


def test_what_nobody_waits_for_is_not_taken_in():
    stock = Stock([ONE])

    assert not stock.arrived(OTHER)
    assert not stock.refused(OTHER)
    assert (stock.models, stock.awaits(ONE), stock.awaits(OTHER)) == ((ONE,), False, True)


def test_a_refused_model_is_awaited_no_more():
    stock = Stock([])
    stock.order({ONE: Fetch(ONE, 9, (A,))})

    assert stock.refused(ONE)
    assert (stock.models, stock.awaits(ONE), stock.pending) == ((), False, {})


def test_one_model_wanted_twice_is_one_order_with_all_sources_in_their_order():
    assert together([Fetch(ONE, 9, (A,)), Fetch(OTHER, 8, (B,)), Fetch(ONE, 9, (B, A))]) == {
        ONE: Fetch(ONE, 9, (A, B)),
        OTHER: Fetch(OTHER, 8, (B,)),
    }
