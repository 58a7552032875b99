"""Digests as points and distances in whole numbers: steps, lengths, bounds, and whole models."""

import math
from fractions import Fraction
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from swarmdem.errors import MisuseError
from swarmdem.identifiers import PeerId
from swarmdem.protocol.sketches import (
    Sketch,
    centre,
    is_loud,
    median_scale,
    points_of,
    roots,
    squares,
)


def int8(*values: int) -> bytes:
    return np.array(values, dtype=np.int8).tobytes()


def sketch(scale: float, *values: int) -> Sketch:
    return Sketch(PeerId(bytes(16)), scale, int8(*values))


def points(*sketches: Sketch, metric: str = "euclidean", reference: bytes | None = None) -> np.ndarray:
    return points_of(sketches, metric=metric, median=median_scale(sketches), reference=reference)


def whole_model(scale: float, *buckets: int) -> bytes:
    """A reference's sketch as a plan carries it."""
    return pack(f"<f{len(buckets)}h", scale, *buckets)


@pytest.mark.parametrize(
    ("scale", "step"),
    [
        (1.0, 256),
        (1.5 / 256, 2),
        (2.5 / 256, 2),
        (3.5 / 256, 4),
        (0.25 / 256, 1),
        (15.0, 3840),
        (16.0, 4095),
        (0.0, 0),
    ],
)
def test_steps_round_to_even_and_stay_within_12_bits(scale, step):
    found = points(sketch(scale, 1), *[sketch(1.0, 127)] * 3)

    assert found[0, 0] == step
    assert found[1, 0] == 127 * 256


def test_the_common_step_is_the_lower_median_of_the_scales_that_are_not_zero():
    """
    Of 0, 0, 0, 1, 2, 8, 16 it is 2.
    """
    scales = [8.0, 0.0, 1.0, 16.0, 0.0, 2.0, 0.0]

    assert median_scale([sketch(scale, 1) for scale in scales]) == 2
    assert median_scale([sketch(0.0, 1)]) == 0
    assert points(*[sketch(scale, 1) for scale in scales])[:, 0].tolist() == [1024, 0, 128, 2048, 0, 256, 0]


def test_only_scales_above_16_medians_are_loud():
    above = float(np.nextafter(np.float32(16), np.float32(17)))

    assert is_loud(sketch(above, 1), Fraction(1))
    assert not is_loud(sketch(16.0, 1), Fraction(1))
    assert not is_loud(sketch(0.0, 1), Fraction(0))


def test_a_euclidean_distance_counts_in_4096ths_of_a_256th_of_the_median_scale():
    found = points(sketch(0.5, 3, 0), sketch(0.5, 0, 4))

    assert roots(squares(found))[0, 1] == 5 * 256 * 4096
    assert squares(found[:1], found).tolist() == [[0, (5 * 256) ** 2]]


def test_a_squared_cosine_distance_is_2_to_the_41_times_1_minus_cosine():
    east, north, west, still = (100, 0), (0, 3), (-7, 0), (0, 0)
    rows = [sketch(1.0, *values) for values in (east, north, west, still, (50, 0))]
    found = squares(points(*rows, metric="cosine_delta"))

    assert found[0].tolist() == [0, 2**41, 2**42, 2**40, 0]


@pytest.mark.parametrize("buckets", [1024, 8192])
def test_the_largest_sketches_are_still_compared_exactly(buckets):
    """
    Opposite corners of the largest sketch: 2 x 127 x 4095 in every bucket, summed in whole numbers.
    """
    found = points(
        sketch(16.0, *[127] * buckets), sketch(16.0, *[-127] * buckets), *[sketch(1.0, *[0] * buckets)] * 3
    )
    length = buckets * (127 * 4095) ** 2

    assert length < 2**51
    assert squares(found)[0].tolist() == [0, 4 * length, length, length, length]
    assert roots(squares(found))[0, 1] == math.isqrt(4 * length * 2**24)


def test_whole_models_are_compared_by_their_angle():
    """
    The differences are opposite; added to a reference twice their size both models point one way.
    """
    one, two = sketch(0.5, 100, 0), sketch(0.5, -100, 0)

    assert squares(points(one, two, metric="cosine_delta"))[0, 1] == 2**42
    assert squares(points(one, two, metric="cosine", reference=whole_model(1.0, 100, 0)))[0, 1] == 0
    assert squares(points(one, two, metric="cosine", reference=whole_model(0.0, 100, 0)))[0, 1] == 2**42
    right = [sketch(0.5, 100, 0), sketch(0.5, 0, 100)]
    assert squares(points(*right, metric="cosine", reference=whole_model(0.5, -100, -100)))[0, 1] == 2**41


def test_without_any_difference_all_models_are_the_reference():
    still = [sketch(0.0, 1, 2)] * 2

    assert squares(points(*still, metric="cosine", reference=whole_model(2.0, 300, -7))).max() == 0


scales = st.floats(2**-20, 2**20, width=32)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(scales, st.lists(st.integers(-127, 127), min_size=6, max_size=6)), min_size=2, max_size=6
    ),
    st.floats(2**-10, 2**10, width=32),
    st.lists(st.integers(-32767, 32767), min_size=6, max_size=6),
)
def test_the_cosine_of_whole_models_is_that_of_floats(rows, shared, buckets):
    """
    Sketches of near scales; a reference of up to 2^27 times their size.
    """
    close = [sketch(2.0 + scale / 2**20, *values) for scale, values in rows]
    found = squares(points(*close, metric="cosine", reference=whole_model(shared, *buckets))) / 2.0**41
    median = float(median_scale(close))
    steps = np.array([round(256 * s.scale / median) for s in close], dtype=float)
    models = np.array([list(s.values) for s in close], dtype=np.uint8).astype(np.int8) * steps[:, np.newaxis]
    models = models + np.rint(np.array(buckets) * shared * 256 / median)
    lengths = np.linalg.norm(models, axis=1)
    if lengths.min() > 1000:
        wanted = 1 - models @ models.T / np.outer(lengths, lengths)
        assert np.abs(found - wanted).max() < 1e-5


def test_a_reference_that_dwarfs_all_differences_leaves_none():
    rows = [sketch(2.0**-100, 127, -127), sketch(2.0**-100, -127, 127)]

    assert squares(points(*rows, metric="cosine", reference=whole_model(2.0**100, 32767, 1))).max() == 0


def test_a_centre_is_rounded_to_even():
    assert centre(np.array([[1.0, 2.0], [2.0, 3.0]])).tolist() == [2.0, 2.0]


def test_no_sketches_are_no_points():
    assert points().shape == (0, 0)


def test_an_unknown_metric_is_named():
    with pytest.raises(MisuseError, match="'manhattan'"):
        points(sketch(1.0, 1), metric="manhattan")
    with pytest.raises(MisuseError, match="reference"):
        points(sketch(1.0, 1), metric="cosine")
