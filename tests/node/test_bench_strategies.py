"""What strategies, schedules and private arrays do to a peer's models: exact numbers on the bench."""

import asyncio

import pytest

from swarmdem.errors import ConfigError, LearningError, SchemaError
from swarmdem.identifiers import ModelHash
from swarmdem.learning.digest import sketch
from swarmdem.learning.strategy import Deployment, Outcome, Strategy
from swarmdem.node.craft import in_thousandths
from swarmdem.node.store import DirectoryStore
from swarmdem.node.trainer import Hooks
from swarmdem.protocol.events import (
    Accumulate,
    Applied,
    Apply,
    FinishMean,
    Mix,
    SaveModel,
    Slot,
    Train,
    Trained,
    TrainingFailed,
)
from swarmdem.wire.charter import TensorSpec
from tests.node.workshop import GROUP, PLAN, Counting, Workshop, f32


class Remembering(Strategy):
    """Counts its rounds in its memory, sends the count along, and deploys what it trained."""

    name = "remembering"

    def extra(self, travelling):
        return (TensorSpec("count", (1,), "float32"),)

    def train(self, learner, task):
        learner.load(task.start)
        loss = learner.train(round=task.round, objective=self.objective(task))
        rounds = task.memory.get("rounds", f32(0)) + 1
        return Outcome(
            model=learner.parameters(), loss=loss, extras={"count": rounds}, memory={"rounds": rounds}
        )

    def deploy(self, *, trained, applied, result, labels, memory):
        return Deployment(models=(trained, applied, result), weights=(1.0, 2.0, 3.0), boost=dict(labels))


@pytest.fixture
async def make():
    made = []

    def make(*args, **kwargs):
        made.append(Workshop(*args, **kwargs))
        return made[-1]

    yield make
    for workshop in made:
        await workshop.close()


def with_head(make, **settings):
    """Return the bench of a peer whose array `head` stays."""
    settings = {"private": ("he*",)} | settings
    return make(learner=Counting(w=f32(0, 0, 0), head=f32(7, 7)), **settings)


async def trained(shop, reference, *, round=1, time=0, pull=False, save=True):
    """Train, save the upload as the core would, and return the answer."""
    shop.bench.train(Train(b"base", round, 7, reference, pull, time))
    answer = await shop.answer()
    assert isinstance(answer, Trained), answer
    if save:
        await shop.bench.save(SaveModel(Slot.UPLOAD, answer.model))
    return answer


async def test_private_arrays_do_not_travel_and_stay_what_training_made_of_them(make):
    shop = with_head(make)
    reference = shop.hold(w=f32(0, 0, 0))
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5)), upload))
    await shop.answer()
    await trained(shop, reference, round=2)

    assert [spec.name for spec in shop.charter.schema] == ["w"]
    assert list(shop.shelf.get(upload).parameters) == ["w"]
    model, deployment = shop.bench.standing
    assert {name: array.tolist() for name, array in model.items()} == {"w": [2, 2, 2], "head": [8, 8]}
    assert deployment.models[0]["head"].tolist() == [8, 8]
    assert shop.learner.arrays["head"].tolist() == [9, 9], "the second training went on from the first"


async def test_what_stays_is_never_served_by_name(make):
    shop = with_head(make)
    upload = (await trained(shop, shop.hold(w=f32(0, 0, 0)))).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5)), upload))
    await shop.answer()

    for slot in (Slot.TRAINED, Slot.KEPT):
        assert shop.shelf.get(shop.shelf.slot(slot).name) is None


async def test_private_arrays_of_a_round_that_was_not_applied_are_forgotten(make):
    shop = with_head(make)
    reference = shop.hold(w=f32(0, 0, 0))
    for number in (1, 2):
        await trained(shop, reference, round=number)

    assert shop.learner.arrays["head"].tolist() == [8, 8]


class Forgetful(Strategy):
    """Remembers its odd rounds only."""

    name = "forgetful"

    def train(self, learner, task):
        learner.load(task.start)
        loss = learner.train(round=task.round, objective=self.objective(task))
        self.found = dict(task.memory)
        memory = {"round": f32(task.round)} if task.round % 2 else {}
        return Outcome(model=learner.parameters(), loss=loss, memory=memory)


async def test_an_empty_memory_takes_the_place_of_an_earlier_one(make):
    shop = make(strategy=Forgetful)
    reference, found = shop.hold(w=f32(0, 0, 0)), []
    for number in (1, 2, 3):
        upload = (await trained(shop, reference, round=number)).model
        shop.bench.apply(Apply(PLAN, number, GROUP, shop.hold(w=f32(5, 5, 5)), upload))
        await shop.answer()
        found.append(sorted(shop.bench._craft.strategy.found))

    assert found == [[], ["round"], []]


async def test_memory_and_private_arrays_survive_a_crash_between_upload_and_apply(make, tmp_path):
    learner = Counting(w=f32(0, 0, 0), head=f32(7, 7))
    settings = {"strategy": Remembering, "private": ("head",)}
    shop = make(learner=learner, store=DirectoryStore(tmp_path), **settings)
    arrays = {"w": f32(0, 0, 0), "count": f32(0)}
    reference = shop.hold(**arrays)
    await shop.bench.save(SaveModel(Slot.REFERENCE, reference))
    upload = (await trained(shop, reference)).model
    await shop.close()

    again = Counting(w=f32(0, 0, 0), head=f32(-1, -1))  # the process lost what it had in memory
    shop = make(learner=again, store=DirectoryStore(tmp_path), **settings)
    before = shop.bench.standing[0]["head"].tolist()
    parent = shop.hold(w=f32(5, 5, 5), count=f32(3))
    shop.bench.apply(Apply(PLAN, 1, GROUP, parent, upload))
    assert isinstance(await shop.answer(), Applied)
    await trained(shop, reference, round=2)

    assert before == [-1, -1], "not in force before the round was applied"
    assert shop.bench.standing[0]["head"].tolist() == [8, 8]
    assert again.arrays["head"].tolist() == [9, 9]
    assert shop.shelf.slot(Slot.TRAINED).parameters["memory/rounds"].tolist() == [2]


async def test_after_a_restart_the_deployment_is_rebuilt(make, tmp_path):
    settings = {"strategy": Remembering, "labels": {3: 1}}
    shop = make(store=DirectoryStore(tmp_path), **settings)
    reference = shop.hold(w=f32(0, 0, 0), count=f32(0))
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5), count=f32(3)), upload))
    await shop.answer()
    await trained(shop, reference, round=2)
    told = shop.bench.standing[1]
    await shop.close()

    rebuilt = make(store=DirectoryStore(tmp_path), **settings).bench.standing[1]

    assert [model["w"].tolist() for model in told.models] == [[1, 1, 1], [2, 2, 2], [5, 5, 5]]
    assert [model["w"].tolist() for model in rebuilt.models] == [[1, 1, 1], [2, 2, 2], [5, 5, 5]]
    assert (rebuilt.weights, rebuilt.boost) == ((1.0, 2.0, 3.0), {3: 1})


async def test_extras_travel_come_back_and_are_zero_at_first(make):
    seen = []

    class Watching(Remembering):
        def train(self, learner, task):
            seen.append((task.extras["count"].tolist(), task.memory.get("rounds")))
            return super().train(learner, task)

    shop = make(strategy=Watching)
    reference = shop.hold(w=f32(0, 0, 0), count=f32(0))
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5), count=f32(9)), upload))
    own = (await shop.answer()).model
    await trained(shop, reference, round=2, pull=True)

    assert shop.values(upload, "count") == [1]
    assert (shop.values(own, "w"), shop.values(own, "count")) == ([2, 2, 2], [9])
    assert seen == [([0], None), ([9], 1)]
    anchor = shop.learner.told[1][1].anchor
    assert list(anchor) == ["w"], "extras do not pull"


async def test_extras_are_averaged_but_not_amplified(make):
    shop = make(strategy=Remembering, schedules=(("gain", (2.0,)),))
    await shop.bench.save(SaveModel(Slot.REFERENCE, shop.hold(w=f32(9, 9, 9), count=f32(0))))
    for value in (1, 3):
        model = shop.hold(w=f32(value, value, value), count=f32(value))
        shop.bench.accumulate(Accumulate(PLAN, GROUP, model, 1))
    shop.bench.finish_mean(FinishMean(PLAN, GROUP))
    mean = (await shop.answer()).model

    assert (shop.values(mean, "w"), shop.values(mean, "count")) == ([4, 4, 4], [2])


async def test_the_gain_stops_when_the_amplified_model_outgrows_the_genesis(make):
    shop = make(schedules=(("gain", (1.5, 1.0)),))
    await shop.bench.save(SaveModel(Slot.REFERENCE, shop.hold(w=f32(1, 0, 0))))
    means = []
    for value, time in ((2, 0), (3, 0), (2, 1)):
        shop.bench.accumulate(Accumulate(PLAN, GROUP, shop.hold(w=f32(value, 0, 0)), 1))
        shop.bench.finish_mean(FinishMean(PLAN, GROUP, time))
        means.append(shop.values((await shop.answer()).model)[0])

    assert means == [3.0, 3.0, 2.0], "amplified; 4.5 is above 4 x the genesis' norm; by then without gain"


async def test_a_groups_model_moves_by_gamma_from_its_last_mean(make):
    shop = make(schedules=(("gamma", (1.0, 0.25)),))
    previous = shop.hold(w=f32(8, 8, 8))
    means = []
    for time, before in ((1, previous), (0, previous), (1, None), (1, ModelHash(bytes(32)))):
        shop.bench.accumulate(Accumulate(PLAN, GROUP, shop.hold(w=f32(0, 4, 12)), 1))
        shop.bench.finish_mean(FinishMean(PLAN, GROUP, time, before))
        means.append(shop.values((await shop.answer()).model))

    assert means == [[6, 7, 9], [0, 4, 12], [0, 4, 12], [0, 4, 12]]


async def test_schedules_change_mixing_pull_and_own_weight_by_the_clock(make):
    shop = make(
        pull=0.5,
        schedules=(("mixing", (1.0, 0.5)), ("own", (1.0, 0.25)), ("pull", (0.0, 3.0))),
    )
    reference = shop.hold(w=f32(0, 0, 0))
    upload = (await trained(shop, reference, time=0)).model
    parent = shop.hold(w=f32(5, 5, 5))
    shop.bench.apply(Apply(PLAN, 1, GROUP, parent, upload, time=1))
    own = (await shop.answer()).model
    shop.bench.mix(Mix(PLAN, GROUP, upload, parent, time=1))
    mixed = (await shop.answer()).model
    await trained(shop, reference, round=2, time=1, pull=True)

    assert shop.values(own) == shop.values(mixed) == [3, 3, 3]
    objective = shop.learner.told[1][1]
    assert (objective.own, objective.pull) == (0.25, 1.5)


async def test_the_pull_of_all_groups_is_one_model_and_one_weight(make):
    """Dem-AI eq. 2 with a root of 8 and groups of 4 and 2 above the peer: c = 1/8 + 1/4 + 1/2."""
    shop = make(pull=0.5, pull_to="all")
    reference = shop.hold(w=f32(0, 0, 0))
    root = shop.hold(w=f32(8, 8, 8))
    shop.bench.mix(Mix(PLAN, GROUP, shop.hold(w=f32(0, 4, 8)), root, agents=4, above=8))
    upper = (await shop.answer()).model
    shop.bench.mix(Mix(PLAN, GROUP, shop.hold(w=f32(2, 3, 6)), upper, agents=2, above=4))
    parent = await shop.answer()
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, parent.model, upload, agents=(2, 4, 8)))
    own = (await shop.answer()).model
    await trained(shop, reference, round=2, pull=True)

    assert shop.values(upper) == [2, 5, 8]
    assert shop.values(upper, "pull/w") == [1 + 0.5, 1 + 1.25, 1 + 2]
    assert parent.model_bytes == 24
    assert shop.values(parent.model) == [2, 3.5, 6.5]
    assert shop.values(parent.model, "pull/w") == [2.5, 4, 6.25]
    assert shop.values(own) == [1.25, 1.625, 2.375]
    objective = shop.learner.told[1][1]
    assert objective.anchor["w"].tolist() == pytest.approx([2.5 / 0.875, 4 / 0.875, 6.25 / 0.875])
    assert objective.pull == 2 * 0.5 * 0.875


@pytest.mark.parametrize("agents", [(8,), (8, 16)], ids=["the root", "a group that was cut off"])
async def test_a_plain_result_pulls_for_its_own_group_alone(make, agents):
    shop = make(pull=0.5, pull_to="all")
    reference = shop.hold(w=f32(0, 0, 0))
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5)), upload, agents=agents))
    await shop.answer()
    await trained(shop, reference, round=2, pull=True)

    objective = shop.learner.told[1][1]
    assert objective.anchor["w"].tolist() == [5, 5, 5]
    assert objective.pull == 2 * 0.5 / 8


async def test_the_pull_of_all_groups_is_the_same_after_a_restart(make, tmp_path):
    settings = {"pull": 0.5, "pull_to": "all"}
    shop = make(store=DirectoryStore(tmp_path), **settings)
    reference = shop.hold(w=f32(0, 0, 0))
    await shop.bench.save(SaveModel(Slot.REFERENCE, reference))
    parent = shop.hold(**{"w": f32(5, 5, 5), "pull/w": f32(1, 1, 1)})
    shop.bench.apply(Apply(PLAN, 1, GROUP, parent, None, agents=(4, 8)))
    await shop.answer()
    await shop.close()

    shop = make(store=DirectoryStore(tmp_path), **settings)
    await trained(shop, reference, round=2, pull=True)

    objective = shop.learner.told[0][1]
    assert objective.anchor["w"].tolist() == pytest.approx([1 / 0.375] * 3)
    assert objective.pull == 2 * 0.5 * 0.375


async def test_alone_a_peer_goes_on_from_what_it_trained(make):
    shop = make()
    reference = shop.hold(w=f32(0, 0, 0))
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, upload, upload, alone=True))

    assert await shop.answer() == Applied(PLAN, upload)
    assert shop.bench.standing[0]["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("loss", "thousandths"),
    [(0.5, 500), (1e-9, 1), (0.0, 1), (float("nan"), 0), (-1.0, 0), (float("inf"), 2**32 - 1)],
)
async def test_the_loss_is_said_in_thousandths(make, loss, thousandths):
    shop = make()
    shop.learner.loss = loss

    assert (await trained(shop, shop.hold(w=f32(0, 0, 0)))).loss_milli == thousandths
    assert in_thousandths(loss) == thousandths


@pytest.mark.parametrize(("basis", "base"), [("parameters", 0), ("updates", 2)])
async def test_digests_sketch_parameters_or_updates(make, basis, base):
    shop = make(basis=basis)
    reference = shop.hold(w=f32(0, 0, 0))
    shop.shelf.fill({Slot.OWN: shop.model(w=f32(2, 2, 2))})
    answer = await trained(shop, reference)

    change = {"w": f32(3, 3, 3)}, {"w": f32(base, base, base)}
    assert (answer.scale, answer.sketch) == sketch(*change, seed=7, size=16)


async def test_extras_stay_out_of_the_sketch(make):
    shop = make(strategy=Remembering)
    answer = await trained(shop, shop.hold(w=f32(0, 0, 0), count=f32(0)))

    change = {"w": f32(1, 1, 1)}, {"w": f32(0, 0, 0)}
    assert (answer.scale, answer.sketch) == sketch(*change, seed=7, size=16)


async def test_a_strategy_that_fails_after_training_is_said_and_the_trained_model_stays(make):
    class Broken(Strategy):
        def apply(self, **models):
            raise RuntimeError("out of ideas")

        def deploy(self, **models):
            raise RuntimeError("later")

    deployed = []
    shop = make(Hooks(after_update=lambda round, deployment: deployed.append(deployment)), strategy=Broken)
    upload = (await trained(shop, shop.hold(w=f32(0, 0, 0)))).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5)), upload))

    assert await shop.answer() == Applied(PLAN, upload)
    failure = await shop.failures.get()
    assert isinstance(failure, LearningError)
    assert str(failure) == "strategy demlearn: apply: RuntimeError: out of ideas"
    await asyncio.wrap_future(shop.trainer.training.submit(lambda: None))  # the hook was queued before
    assert deployed[0].models[0]["w"].tolist() == [1, 1, 1]


async def test_an_outcome_without_its_extras_is_a_failed_training(make):
    class Forgetful(Remembering):
        def train(self, learner, task):
            return Strategy.train(self, learner, task)

    shop = make(strategy=Forgetful)
    shop.bench.train(Train(b"base", 1, 7, shop.hold(w=f32(0, 0, 0), count=f32(0)), False))
    answer = await shop.answer()

    assert isinstance(answer, TrainingFailed)
    assert answer.reason.startswith("SchemaError")


async def test_one_model_in_several_slots_is_one_file(make, tmp_path):
    shop = make(mixing=1.0, store=DirectoryStore(tmp_path))
    reference = shop.hold(w=f32(0, 0, 0))
    upload = (await trained(shop, reference)).model
    shop.bench.apply(Apply(PLAN, 1, GROUP, shop.hold(w=f32(5, 5, 5)), upload))
    await shop.answer()

    own, anchor = ([*(tmp_path / "models").glob(f"{slot}-*")] for slot in ("own", "anchor"))
    assert own[0].samefile(anchor[0])


def test_a_name_taken_twice_and_a_foreign_schema_are_refused():
    class Clashing(Strategy):
        def extra(self, travelling):
            return (TensorSpec("w", (1,), "float32"),)

    with pytest.raises(ConfigError, match="name of an extra array is taken"):
        Workshop.layout_of(Clashing)
    with pytest.raises(SchemaError, match="'w'"):
        Workshop.layout_of(Strategy, schema=(TensorSpec("w", (4,), "float32"),))
