"""What the checker of means takes for true where two leaders answer for one group."""

from fractions import Fraction

import pytest

from swarmdem.identifiers import GroupId, PlanId
from swarmdem.protocol.events import GroupAveraged
from swarmdem.protocol.plans import founding_base
from swarmdem.simulation.accounting import Accounting
from swarmdem.simulation.evidence import Broken, Evidence, KnownPlan
from swarmdem.simulation.models import MODEL_BYTES, ModelBook
from swarmdem.wire.charter import Charter
from swarmdem.wire.messages import NORMAL, Mean, Plan

BEFORE, NOW = PlanId(b"b" * 32), PlanId(b"n" * 32)
GROUP = GroupId(b"g" * 16)
CHARTER = Charter(swarm="test", schedules=(("gamma", (0.5,)),))
PLAN = Plan(BEFORE, 1, NORMAL, (), 0, 0, b"", 0, 1, (), (), ())


def vector(value: int):
    return (Fraction(value),) * 4


@pytest.fixture
def room():
    """The first leader's mean is the one upload there was; it did not have the group's last mean."""
    book = ModelBook()
    names = {value: book.enter(vector(value)) for value in (10, 20, 30)}
    evidence = Evidence(CHARTER, book)
    evidence.means[BEFORE, GROUP, 0] = Mean(BEFORE, 0, GROUP, 0, 1, (), names[10], MODEL_BYTES, ())
    evidence.means[NOW, GROUP, 0] = Mean(NOW, 0, GROUP, 0, 1, (), names[30], MODEL_BYTES, ())
    known = KnownPlan(NOW, PLAN, founding_base(CHARTER), None, {}, {})

    def check(model: int, inputs, previous: int | None):
        event = GroupAveraged(
            NOW, 1, GROUP, 1, 1, names[model], 1, (), tuple((names[value], 1) for value in inputs),
            names[previous] if previous is not None else None,
        )  # fmt: skip
        Accounting(evidence)._must_average(known, event)

    return check


def test_a_second_leader_may_repeat_the_mean_of_the_first(room):
    room(30, [30], None)


def test_a_second_leader_may_move_the_lone_upload_that_the_first_took_for_the_mean(room):
    room(20, [30], 10)


def test_a_second_leader_that_moves_a_mean_elsewhere_is_found_out(room):
    with pytest.raises(Broken, match="a mean follows from its inputs"):
        room(10, [30], 10)
