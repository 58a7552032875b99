"""Charters drawn from a seed, so that many seeds try the settings of trees, schedules and updates together.

Each setting leaves its default with a probability of its own; what contradicts another is drawn so that
it does not. What only tensors can tell apart (strategies, private arrays, the pull) is left alone.
"""

import random
from typing import Any

TAUS = (1.0, 3.0, 1.0, 2.0)
HYSTERESIS = (0, 16, 77)


def draw(seed: int, levels: int, *, keeps: bool = False) -> dict[str, Any]:
    """Return settings of a charter, by name.

    Args:
        seed: Decides.
        levels: Levels of groups below the root; a gossiping swarm has none whatever is asked for.
        keeps: Some trees are kept for more than a round in any case: only then digests are packed.
    """
    rng = random.Random(f"charter {seed}")
    drawn = _trees(rng, levels) | _digests(rng)
    tables = {
        "tau": (1.0 if keeps else 0.4, TAUS),
        "mixing": (0.2, (0.3, 0.6)),
        "gamma": (0.3, (1.0, 0.5)),
        "gain": (0.1, (1.5, 1.0)),
    }
    drawn["schedules"] = tuple(
        (name, table) for name, (share, table) in tables.items() if rng.random() < share
    )
    choices: dict[str, tuple[float, tuple[Any, ...]]] = {
        "hysteresis": (0.4, (HYSTERESIS,)),
        "newcomers": (0.4, ("top",)),
        "outliers": (0.4, (1, 3)),
        "drift": (0.3, (1, 2)),
    }
    drawn |= {name: rng.choice(values) for name, (share, values) in choices.items() if rng.random() < share}
    if rng.random() < 0.15:
        drawn |= {"update": "gossip", "neighbours": rng.choice((0, 2, 4)), "levels": 0, "cuts": ()}
    if rng.random() < 0.3:
        drawn["weights"] = "samples"
    return drawn


def _trees(rng: random.Random, levels: int) -> dict[str, Any]:
    cut = rng.choice(("binary", "binary", "maxclust", "threshold")) if levels else "binary"
    drawn: dict[str, Any] = {"levels": levels, "cut": cut, "linkage": rng.choice(("average", "ward"))}
    if cut == "maxclust":
        drawn["cuts"] = tuple(
            float(n) for n in sorted(rng.sample(range(1, levels + 8), levels), reverse=True)
        )
        drawn["grouping"] = rng.choice(("similar", "complementary"))
    elif cut == "threshold":
        drawn["cuts"] = tuple(sorted(rng.sample([share / 20 for share in range(1, 20)], levels)))
    if cut != "binary":
        drawn["min_size"] = rng.choice((1, 1, 2))
    return drawn


def _digests(rng: random.Random) -> dict[str, Any]:
    metric = rng.choice(("euclidean", "euclidean", "cosine_delta", "cosine"))
    basis = "parameters" if metric == "cosine" else rng.choice(("parameters", "parameters", "updates"))
    return {"metric": metric, "basis": basis}
