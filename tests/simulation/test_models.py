"""Pretended models must be exact, or the checkers would judge nothing."""

import random
from fractions import Fraction

from swarmdem.simulation import models
from swarmdem.simulation.models import ModelBook


def vector(*parts):
    return tuple(Fraction(part) for part in parts)


def test_a_model_is_named_by_its_content():
    book = ModelBook()

    one, again = book.enter(vector(1, 2, 3, 4)), book.enter(vector(1, 2, 3, 4))

    assert one == again
    assert book.enter(vector(1, 2, 3, 5)) != one
    assert book[one] == vector(1, 2, 3, 4)


def test_a_mean_is_weighted_and_exact():
    inputs = [(vector(0, 0, 3, 1), 1), (vector(3, 1, 0, 0), 2)]

    assert models.mean(inputs) == vector(2, Fraction(2, 3), 1, Fraction(1, 3))


def test_a_mixture_is_alpha_of_the_parent():
    mixed = models.mixed(vector(10, 0, 0, 0), vector(0, 10, 0, 0), Fraction(3, 5))

    assert mixed == vector(6, 4, 0, 0)


def test_training_rounds_so_that_fractions_stay_small():
    start = vector(Fraction(1, 3), Fraction(5, 7), 0, 0)

    assert all(part.denominator == 1 for part in models.trained(start, 3, random.Random(1)))


def test_sketches_of_like_models_are_closer_than_of_unlike_ones():
    rng = random.Random(2)
    reference = models.initial(rng)
    first, second, other = (models.trained(reference, kind, rng) for kind in (1, 1, 6))

    def values(model):
        scale, sketch = models.sketch(model, reference, 64)
        return [scale * (byte - 256 if byte > 127 else byte) for byte in sketch]

    def distance(a, b):
        return sum((x - y) ** 2 for x, y in zip(values(a), values(b), strict=True))

    assert distance(first, second) < distance(first, other) / 4


def test_no_difference_is_a_sketch_of_zeros():
    model = models.initial(random.Random(3))

    assert models.sketch(model, model, 64) == (0.0, bytes(64))
