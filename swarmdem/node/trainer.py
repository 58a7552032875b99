"""Learning off the event loop: the worker threads shared by the peers of a process.

*training* takes minutes and runs one peer at a time in the order asked, or several in one pass
(`together.py`); *tensors* does the sums in between, so that an aggregator does not wait behind other
peers' training; *disk* writes; *hashing* verifies what arrives. `bench.py` says what one peer has done on
them, and which sums are so short that they need no thread.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from swarmdem.identifiers import Round
from swarmdem.learning.learner import Parameters
from swarmdem.learning.meeting import Tell, Vectorise
from swarmdem.learning.strategy import Deployment
from swarmdem.node.blocks import Blocks
from swarmdem.node.models import ModelPool
from swarmdem.node.sharing import Neighbours
from swarmdem.node.together import Together
from swarmdem.protocol.reports import Readable


@dataclass(frozen=True, slots=True)
class TrainingFinished(Readable):
    """This peer trained for a round; a node's own event, the core does not know it."""

    round: Round
    loss: float
    """Mean training loss, as the learner says."""
    samples: int
    train_cpu_s: float
    """Thread CPU time inside `Strategy.train`; of a pass with others this peer's share."""
    duration_s: float
    """Seconds in the training thread; waiting for it is not included, training in one pass with others is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Callables of an experiment. Measurements run in the training thread and count as evaluation."""

    after_training: Callable[[Round, Parameters], None] | None = None
    """Called with the whole model as trained, before the update."""
    after_update: Callable[[Round, Deployment], None] | None = None
    """Called with what the peer answers with after the update, before its next training."""
    training_failed: Callable[[Round, Exception], None] | None = None
    """Called with why a training gave nothing, from any thread; the peer tries again after a patience."""


class Trainer:
    """The worker threads of one process and the models its peers share; threads start when first needed.

    Args:
        vectorise: Whether the peers train in one pass.
        tell: Takes what was found out about that, in the training thread.
    """

    def __init__(self, vectorise: Vectorise = "off", tell: Tell | None = None) -> None:
        self.training = ThreadPoolExecutor(1, "swarmdem-training")
        self.together = Together(self.training, vectorise, tell)
        self.tensors = ThreadPoolExecutor(1, "swarmdem-tensors")
        self.disk = ThreadPoolExecutor(1, "swarmdem-disk")
        self.hashing = ThreadPoolExecutor(1, "swarmdem-hashing")
        self.pool = ModelPool()
        self.blocks = Blocks()
        self._neighbours: dict[bytes, Neighbours] = {}

    def neighbours(self, charter: bytes) -> Neighbours:
        """Return the peers that share these threads, their models and the charter of this hash."""
        return self._neighbours.setdefault(charter, Neighbours())

    def close(self) -> None:
        """End the threads after what they are doing now; what was only waiting is dropped."""
        self.together.close()
        for threads in (self.training, self.tensors, self.disk, self.hashing):
            threads.shutdown(wait=True, cancel_futures=True)
