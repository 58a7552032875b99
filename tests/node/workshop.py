"""One peer's bench with a learner that can be followed by hand, and what it says in queues."""

import asyncio
import threading

import numpy as np

from swarmdem.identifiers import GroupId, PlanId
from swarmdem.learning.learner import Evaluation
from swarmdem.learning.strategies import strategy_of
from swarmdem.node.bench import Bench
from swarmdem.node.craft import Craft
from swarmdem.node.layout import Layout
from swarmdem.node.models import ModelShelf, model_of
from swarmdem.node.store import MemoryStore
from swarmdem.node.trainer import Hooks, Trainer
from swarmdem.wire.charter import Charter

PLAN, GROUP = PlanId(b"p" * 32), GroupId(b"g" * 16)


def f32(*values):
    return np.array(values, np.float32)


class Counting:
    """A learner that adds one (or `result`) to every array, and remembers what it was told."""

    samples = 40

    def __init__(self, **arrays):
        self.arrays = arrays or {"w": f32(0, 0, 0)}
        self.told = []
        self.result = 1.0
        self.loss = 0.5
        self.threads = set()

    def parameters(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def load(self, parameters):
        self.arrays = {name: parameters[name].copy() for name in self.arrays}

    def train(self, *, round, objective):
        self.told.append((round, objective))
        self.threads.add(threading.current_thread().name)
        if isinstance(self.result, Exception):
            raise self.result
        self.arrays = {name: array + np.float32(self.result) for name, array in self.arrays.items()}
        return self.loss

    def evaluate(self, data=None):
        return Evaluation(0, 0, 0)


class Workshop:
    """A bench with what it says in queues."""

    def __init__(self, hooks=None, *, learner=None, strategy=None, store=None, labels=None, **charter):
        self.learner = learner or Counting()
        self.trainer = Trainer()
        self.shelf = ModelShelf(self.trainer.pool)
        self.store = store or MemoryStore()
        self.answers = asyncio.Queue()
        self.failures = asyncio.Queue()
        self.reports = []
        settings = {"mixing": 0.25, "digest": 16} | charter
        bare = Charter(swarm="s", **settings)
        made = strategy(bare) if strategy is not None else strategy_of(bare)
        initial = self.learner.parameters()
        self.layout = Layout(bare, made, initial)
        self.charter = Charter(swarm="s", schema=self.layout.wire, **settings)
        self.shelf.fill(self.store.load(self.layout.accepts))
        self.bench = Bench(
            craft=Craft(self.charter, made, self.layout, labels or {}), learner=self.learner,
            shelf=self.shelf, store=self.store, trainer=self.trainer, hooks=hooks or Hooks(),
            deliver=self.deliver, report=self.reports.append, failed=self.failures.put_nowait,
        )  # fmt: skip

    @staticmethod
    def layout_of(strategy, **charter):
        bare = Charter(swarm="s", **charter)
        return Layout(bare, strategy(bare), Counting().parameters())

    def deliver(self, answer, model=None, *beside):
        for each in () if model is None else (model, *beside):
            self.shelf.put(each)
        self.answers.put_nowait(answer)

    def model(self, **arrays):
        """Return a model of the wire's schema, or of twice its length."""
        schema = self.layout.wire if len(arrays) == len(self.layout.wire) else self.layout.doubled
        return model_of(arrays, schema)

    def hold(self, **arrays):
        return self.shelf.put(self.model(**arrays)).name

    async def answer(self):
        async with asyncio.timeout(10):
            return await self.answers.get()

    def values(self, name, array="w"):
        return self.shelf.get(name).parameters[array].tolist()

    async def close(self):
        await self.bench.close()
        self.trainer.close()
        self.store.close()
