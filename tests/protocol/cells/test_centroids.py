from fractions import Fraction

from hypothesis import given, strategies as st

from swarmdem.identifiers import PeerId
from swarmdem.protocol.cells.centroids import centroid, distances
from swarmdem.protocol.sketches import Sketch
from tests.protocol.cells.tried import few


def sketch(number, *values, scale=1.0):
    return Sketch(PeerId(bytes([number]) * 16), scale, bytes(value & 0xFF for value in values))


def mean_square(point, peers):
    """Mean squared distance, the long way."""
    total = Fraction(0)
    for peer in peers:
        buckets = zip(point.values, peer.values, strict=True)
        total += sum(
            (Fraction(point.scale) * signed(a) - Fraction(peer.scale) * signed(b)) ** 2 for a, b in buckets
        )
    return total / len(peers)


def signed(byte):
    return byte - 256 if byte > 127 else byte


def test_the_centroid_is_the_weighted_mean_and_scatter_the_mean_square_about_it():
    found = centroid([sketch(1, 10, 0), sketch(2, -20, 40)], {PeerId(b"\1" * 16): 3, PeerId(b"\2" * 16): 1})

    assert [round(found.scale * signed(v), 2) for v in found.values] == [2.52, 10.0]
    assert round(found.scatter * found.scale**2 / 256**2) == 469  # (3 x (7.5^2 + 10^2) + 22.5^2 + 30^2) / 4


def test_peers_that_count_nothing_make_no_centroid():
    assert centroid([sketch(1, 10, 0)], {}) is None
    assert centroid([], {}) is None


def test_peers_that_are_all_alike_do_not_scatter():
    found = centroid(
        [sketch(1, 10, -127), sketch(2, 10, -127)], {PeerId(b"\1" * 16): 1, PeerId(b"\2" * 16): 5}
    )

    assert (found.scale, found.values, found.scatter) == (1.0, bytes([10, 129]), 0)


values = st.lists(st.integers(-127, 127), min_size=4, max_size=4)
scales = st.sampled_from([0.25, 0.5, 1.0, 1.5])
peers = st.lists(st.tuples(values, scales), min_size=1, max_size=8)


def made(drawn):
    return [sketch(number, *values, scale=scale) for number, (values, scale) in enumerate(drawn)]


@few
@given(peers)
def test_the_order_of_the_peers_does_not_matter(drawn):
    sketches = made(drawn)
    weights = {s.peer: 1 for s in sketches}

    assert centroid(sketches[::-1], weights) == centroid(sketches, weights)


@few
@given(peers, values)
def test_distance_to_a_centroid_is_the_mean_squared_distance_to_its_peers(drawn, at):
    sketches = made(drawn)
    point = sketch(99, *at)
    found = centroid(sketches, {s.peer: 1 for s in sketches})

    (told,) = distances(point, [(Sketch(PeerId(b"c" * 16), found.scale, found.values), found.scatter)])

    scale = min((s for s in (point.scale, found.scale) if s), default=1.0)  # the lower median of two
    exact = float(mean_square(point, sketches)) / (scale / 256) ** 2
    assert abs(told - exact) <= 0.05 * exact + (256 * 127 / 20) ** 2
