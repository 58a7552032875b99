"""A peer's bench: every order is answered, failures included, and the maths is that of the paper."""

import asyncio
import threading
import weakref

import numpy as np
import pytest

from swarmdem.errors import MisuseError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.parameters import schema_of
from swarmdem.learning.strategy import Strategy
from swarmdem.node import bench
from swarmdem.node.models import ModelShelf, model_of
from swarmdem.node.trainer import Hooks, Trainer
from swarmdem.protocol.events import (
    Accumulate,
    Applied,
    Apply,
    Averaged,
    FinishMean,
    Mix,
    Mixed,
    SaveModel,
    Slot,
    Train,
    Trained,
    TrainingFailed,
)
from tests.node.workshop import GROUP, PLAN, Counting, Workshop, f32

SCHEMA = schema_of({"w": f32(0, 0, 0)})


def hold(shop, *values):
    return shop.hold(w=f32(*values))


def model(*values):
    return model_of({"w": f32(*values)}, SCHEMA)


@pytest.fixture(params=["short", "long"])
async def make(request, monkeypatch):
    """Short models are summed up where that is asked for, longer ones in a thread: all holds for both."""
    if request.param == "long":
        monkeypatch.setattr(bench, "SHORT_BYTES", 0)
    made = []

    def make(*args, **kwargs):
        made.append(Workshop(*args, **kwargs))
        return made[-1]

    yield make
    for workshop in made:
        await workshop.close()


def train(reference, *, round=1, pull=False):
    return Train(b"base", round, 7, reference, pull)


async def test_training_starts_from_the_own_model_and_is_pulled_to_the_anchor(make):
    shop = make(pull=0.5)
    reference = hold(shop, 0, 0, 0)
    shop.shelf.fill({Slot.OWN: model(1, 2, 3), Slot.ANCHOR: model(5, 5, 5)})
    shop.bench.train(train(reference, round=3, pull=True))
    answer = await shop.answer()

    assert isinstance(answer, Trained)
    assert shop.values(answer.model) == [2, 3, 4]
    [(number, objective)] = shop.learner.told
    assert (number, objective.pull, objective.own) == (3, 0.5, 1.0)
    assert objective.anchor["w"].tolist() == [5, 5, 5]
    assert (answer.base, answer.model_bytes, answer.weight, len(answer.sketch)) == (b"base", 12, 1, 16)
    assert answer.scale > 0
    assert shop.reports[0].loss == 0.5


async def test_training_starts_from_the_group_when_the_charter_says_so(make):
    shop = make(start="group")
    reference = hold(shop, 0, 0, 0)
    shop.shelf.fill({Slot.OWN: model(1, 2, 3), Slot.ANCHOR: model(5, 5, 5)})
    shop.bench.train(train(reference))

    assert shop.values((await shop.answer()).model) == [6, 6, 6]
    [(number, objective)] = shop.learner.told
    assert (number, objective.anchor, objective.pull) == (1, None, 0.0)


async def test_before_the_first_update_training_starts_from_the_genesis(make):
    shop = make()
    shop.bench.train(train(hold(shop, 9, 9, 9)))

    assert shop.values((await shop.answer()).model) == [10, 10, 10]


async def test_a_peer_counts_for_its_samples_when_the_charter_says_so(make):
    shop = make(weights="samples")
    shop.bench.train(train(hold(shop, 0, 0, 0)))

    assert (await shop.answer()).weight == 40


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
        (np.nan, "NotFiniteError: 'w'"),
        (np.inf, "NotFiniteError: 'w'"),
    ],
)
async def test_a_failing_learner_is_reported_and_the_next_training_is_good(make, result, reason):
    shop = make()
    reference = hold(shop, 0, 0, 0)
    shop.learner.result = result
    shop.bench.train(train(reference))
    failed = await shop.answer()
    shop.learner.result = 1.0
    shop.bench.train(train(reference))

    assert isinstance(failed, TrainingFailed)
    assert failed.reason.startswith(reason)
    assert isinstance(await shop.answer(), Trained)


async def test_training_without_the_reference_fails_at_once(make):
    shop = make()
    shop.bench.train(train(ModelHash(b"x" * 32)))

    assert await shop.answer() == TrainingFailed(b"base", "the reference model is not here")


async def test_a_training_that_still_waits_gives_way_to_a_newer_order(make):
    shop = make()
    reference, gate = hold(shop, 0, 0, 0), threading.Event()
    shop.trainer.training.submit(gate.wait, 10)
    for number in (1, 2):
        shop.bench.train(train(reference, round=number))
    gate.set()
    await shop.answer()
    await shop.bench.close()

    assert [round for round, *_ in shop.learner.told] == [2]


async def test_a_training_that_was_answered_holds_on_to_no_model(make):
    given = []

    class Noted(Counting):
        def parameters(self):
            arrays = super().parameters()
            given.append(weakref.ref(arrays["w"]))
            return arrays

    shop = make(learner=Noted())
    shop.bench.train(Train(b"base", 1, 7, hold(shop, 0, 0, 0), False, 0))
    assert isinstance(await shop.answer(), Trained)
    await asyncio.wrap_future(shop.trainer.training.submit(int))  # the thread has let go of its last job

    assert given[-1]() is None, "what the learner gave was copied into the upload"


async def test_a_mean_is_weighted_and_an_ended_update_forgets_its_sums(make):
    shop = make()
    for name, weight in ((hold(shop, 1, 1, 1), 1), (hold(shop, 5, 9, 13), 3)):
        shop.bench.accumulate(Accumulate(PLAN, GROUP, name, weight))
    shop.bench.finish_mean(FinishMean(PLAN, GROUP))
    answer = await shop.answer()

    assert isinstance(answer, Averaged)
    assert shop.values(answer.model) == [4, 7, 10]
    shop.bench.accumulate(Accumulate(PLAN, GROUP, hold(shop, 1, 1, 1), 1))
    shop.bench.end_update(PLAN)
    shop.bench.finish_mean(FinishMean(PLAN, GROUP))
    assert isinstance(await shop.failures.get(), MisuseError)


async def test_a_group_mixes_its_parent_with_alpha(make):
    shop = make()
    shop.bench.mix(Mix(PLAN, GROUP, hold(shop, 0, 4, 8), hold(shop, 4, 4, 4)))
    answer = await shop.answer()

    assert isinstance(answer, Mixed)
    assert shop.values(answer.model) == [1, 4, 7]


async def test_applying_fills_own_and_anchor_together(make):
    updated = []
    shop = make(
        Hooks(after_update=lambda round, deployed: updated.append((round, deployed.models[0]["w"].tolist())))
    )
    parent, upload = hold(shop, 4, 4, 4), hold(shop, 0, 4, 8)
    shop.bench.apply(Apply(PLAN, 2, GROUP, parent, upload))
    answer = await shop.answer()
    await shop.bench.close()

    assert answer == Applied(PLAN, model(1, 4, 7).name)
    assert shop.shelf.slot(Slot.OWN).parameters["w"].tolist() == [1, 4, 7]
    assert shop.shelf.slot(Slot.ANCHOR).name == parent


async def test_without_an_upload_the_parents_result_is_taken_as_it_is(make):
    shop = make()
    parent = hold(shop, 4, 4, 4)
    shop.bench.apply(Apply(PLAN, 2, GROUP, parent, None))

    assert await shop.answer() == Applied(PLAN, parent)


async def test_hooks_see_each_round_in_order_before_the_next_training(make):
    seen = []
    hooks = Hooks(
        after_training=lambda round, parameters: seen.append(("trained", round, parameters["w"][0])),
        after_update=lambda round, deployed: seen.append(("updated", round, deployed.models[0]["w"][0])),
    )
    shop = make(hooks)
    reference = hold(shop, 0, 0, 0)
    shop.bench.train(train(reference, round=1))
    upload = (await shop.answer()).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, hold(shop, 5, 5, 5), upload))
    await shop.answer()
    shop.bench.train(train(reference, round=2))
    await shop.answer()

    assert seen == [("trained", 1, 1.0), ("updated", 1, 2.0), ("trained", 2, 3.0)]
    assert shop.bench.counters.evaluate_cpu_s > 0


async def test_a_failing_hook_does_not_stop_the_peer(make):
    def fail(round, parameters):
        raise ValueError

    shop = make(Hooks(after_training=fail))
    shop.bench.train(train(hold(shop, 0, 0, 0)))

    assert isinstance(await shop.answer(), Trained)


async def test_a_model_that_is_kept_survives_and_the_others_are_forgotten(make):
    shop = make()
    kept, forgotten, saved = hold(shop, 1, 0, 0), hold(shop, 2, 0, 0), hold(shop, 3, 0, 0)
    await shop.bench.save(SaveModel(Slot.UPLOAD, saved))
    shop.shelf.keep([kept])

    assert [shop.shelf.get(name) is not None for name in (kept, forgotten, saved)] == [True, False, True]


async def test_peers_of_a_process_share_one_copy_of_a_model():
    trainer = Trainer()
    one, other = ModelShelf(trainer.pool), ModelShelf(trainer.pool)

    assert one.put(model(1, 2, 3)) is other.put(model(1, 2, 3))
    trainer.close()


async def test_a_strategys_own_code_never_stops_the_event_loop(make):
    where = []

    class Slow(Strategy):
        name = "slow"

        def apply(self, *, trained, result, mixing):
            where.append(threading.current_thread().name)
            return super().apply(trained=trained, result=result, mixing=mixing)

    shop = make(strategy=Slow)
    upload, result = hold(shop, 1, 1, 1), hold(shop, 3, 3, 3)
    shop.shelf.fill({Slot.REFERENCE: model(0, 0, 0)})
    shop.bench.apply(Apply(PLAN, 1, GROUP, result, upload))
    assert isinstance(await shop.answer(), Applied)
    assert where == ["swarmdem-tensors_0"]
