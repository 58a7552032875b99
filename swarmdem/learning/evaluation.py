"""The five measures of the paper (DemLearn, arXiv 2007.03278, section IV), pooled over peers.

All are correct answers over samples, added up before dividing: a peer with more test samples
counts for more. For a regression they are absolute errors over samples, and less is better.

- **C-SPE** (client specialisation): each peer's model on its own test data.
- **C-GEN** (client generalisation): each peer's model on the test data of all peers.
- **G-SPE** (group specialisation): each group's model on its members' test data, by level.
- **G-GEN** (group generalisation): each group's model on the test data of all peers, by level.
- **Global**: the root's model on the test data of all peers.

Whoever measures C-GEN, G-GEN or Global holds everybody's data: an experiment, never a real peer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarmdem.identifiers import Level
from swarmdem.learning.deployment import evaluate
from swarmdem.learning.learner import Dataset, Evaluation, Learner, Parameters
from swarmdem.learning.strategy import Deployment

NOTHING = Evaluation(0.0, 0, 0.0)


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts behind the five measures; add those of peers, groups and processes with `+`."""

    c_spe: Evaluation = NOTHING
    c_gen: Evaluation = NOTHING
    global_: Evaluation = NOTHING
    g_spe: Mapping[Level, Evaluation] = field(default_factory=dict)
    g_gen: Mapping[Level, Evaluation] = field(default_factory=dict)

    def __add__(self, other: "Scores") -> "Scores":
        """Pool two sets of counts."""
        return Scores(
            self.c_spe + other.c_spe,
            self.c_gen + other.c_gen,
            self.global_ + other.global_,
            _pooled(self.g_spe, other.g_spe),
            _pooled(self.g_gen, other.g_gen),
        )


def score_peer(
    learner: Learner,
    everybody: Dataset,
    *,
    deployment: Deployment | None = None,
    own: Dataset | None = None,
) -> Scores:
    """Return C-SPE and C-GEN of what a peer answers with.

    Args:
        learner: The peer's.
        everybody: The test data of all peers.
        deployment: What the peer deploys; None: the learner's current model.
        own: The peer's own test data; None: the learner's (enough where one model is deployed).

    Raises:
        ConfigError: Several models, or boosts, need a learner with `scores` and *own*.
    """
    if deployment is None:
        return Scores(c_spe=learner.evaluate(own), c_gen=learner.evaluate(everybody))
    return Scores(c_spe=evaluate(learner, deployment, own), c_gen=evaluate(learner, deployment, everybody))


def score_group(
    learner: Learner,
    model: Parameters,
    *,
    level: Level,
    root: bool,
    members: Dataset,
    everybody: Dataset,
) -> Scores:
    """Return G-SPE and G-GEN of one group's model, and Global for the root's.

    Args:
        learner: Any learner of the same schema; its own model is put back afterwards.
        model: The group's model.
        level: Of the group.
        root: The root's model is the global one.
        members: The test data of the peers below the group.
        everybody: The test data of all peers.
    """
    deployment = Deployment(models=(model,))
    general = evaluate(learner, deployment, everybody)
    # The root's members are everybody: no second pass.
    special = general if root else evaluate(learner, deployment, members)
    return Scores(
        global_=general if root else NOTHING,
        g_spe={level: special},
        g_gen={level: general},
    )


def _pooled(ours: Mapping[Level, Evaluation], theirs: Mapping[Level, Evaluation]) -> dict[Level, Evaluation]:
    return {
        level: ours.get(level, NOTHING) + theirs.get(level, NOTHING) for level in sorted({*ours, *theirs})
    }
