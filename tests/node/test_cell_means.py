"""The arithmetic of cells and region on the bench: what is above is mixed in last, the gain counts once."""

import pytest

from swarmdem.identifiers import ModelHash
from swarmdem.protocol.events import Accumulate, FinishMean, SaveModel, Slot
from tests.node.workshop import GROUP, PLAN, Workshop, f32


@pytest.fixture
async def shop():
    shop = Workshop(schedules=(("gain", (1.5, 1.0)),))
    await shop.bench.save(SaveModel(Slot.REFERENCE, shop.hold(w=f32(2, 2, 0))))
    yield shop
    await shop.close()


async def test_the_region_s_result_goes_into_a_root_mean_after_the_gain(shop):
    above = shop.hold(w=f32(10, 2, 0))
    shop.bench.accumulate(Accumulate(PLAN, GROUP, shop.hold(w=f32(4, 4, 0)), 1))
    shop.bench.finish_mean(FinishMean(PLAN, GROUP, 0, above=above))

    answer = await shop.answer()
    assert shop.values(answer.below) == [6, 6, 0], "1.5 times the mean"
    assert shop.values(answer.model) == [7, 5, 0], "a quarter of what is above"


async def test_in_the_region_nothing_is_amplified_again(shop):
    shop.bench.accumulate(Accumulate(PLAN, GROUP, shop.hold(w=f32(4, 4, 0)), 1))
    shop.bench.finish_mean(FinishMean(PLAN, GROUP, 0, amplified=False))

    answer = await shop.answer()
    assert (shop.values(answer.model), answer.below) == ([4, 4, 0], None)


async def test_a_result_that_is_not_here_is_said(shop):
    shop.bench.accumulate(Accumulate(PLAN, GROUP, shop.hold(w=f32(4, 4, 0)), 1))
    shop.bench.finish_mean(FinishMean(PLAN, GROUP, 0, above=ModelHash(bytes(32))))

    assert "a result that is not here" in str(await shop.failures.get())
