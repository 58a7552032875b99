"""Journals of runs written by hand, with something in them that went wrong."""

from tests.apps.run_folders import PEERS, row, tree, write_lines, write_run


def finished(round, applied=True, reason=""):
    return {
        "event": "round_finished",
        "round": round,
        "applied": applied,
        "reason": reason,
        "certified": True,
    }


def traffic(round, sent, **more):
    return {"event": "traffic", "round": round, "sent": sent, "refused": {}, "dropped": 0, "unsent": 0} | more


def moved(round):
    """Return the tree of `run_folders` with dd44 in the pair, which was cut off and whose mean lacks it."""
    found = tree(round)
    root, pair = found["groups"]
    pair |= {"members": ["aa11", "bb22", "dd44"], "leaves": ["aa11", "bb22", "dd44"], "cut": True, "term": 1}
    root |= {"leaves": ["cc33"]}
    return found


def troubled_run(path):
    """Write a run of five rounds in which most of what can go wrong did."""
    rows = [
        row(1),
        row(2, 0.4, certified=False),
        row(3, failovers=2, applied=3),
        row(4, skipped_groups=1),
        row(5, 0.5, interrupted=True),
    ]
    write_run(path, rows, rounds=9)
    write_lines(path / "trees.jsonl", [tree(1), tree(2), moved(3), moved(4), moved(5)])
    aa11 = [
        finished(1),
        {"event": "training_finished", "round": 1, "loss": 0.25},
        traffic(1, {"digest": [2, 600], "chunk": [1, 3000]}),
        {"event": "degraded", "what": "no connection to the broker: refused"},
        {"event": "recovered", "what": "no connection to the broker: refused"},
        {"event": "peer_seen", "peer": "dd44", "present": False},
        finished(2),
        traffic(2, {"chunk": [1, 2400]}, refused={"replayed": 4}, dropped=3, unsent=2),
        {"event": "equivocated", "peer": "cc33", "first": "", "second": ""},
        {"event": "peer_seen", "peer": "bb22", "present": False},
    ]
    dd44 = [
        finished(3, False, "no result came in time"),
        {"event": "plasticity_raised", "round": 4, "tick": 2},
    ]
    write_lines(path / "peers" / "aa11.jsonl", aa11)
    write_lines(path / "peers" / "dd44.jsonl", dd44)
    return path


def unequal_run(path, metric="accuracy"):
    """Write a run whose last row has one peer that stands apart from the others."""
    per_peer = {peer: {"c_spe": 0.9, "c_gen": 0.8} for peer in PEERS}
    per_peer["cc33"] = {"c_spe": 0.9, "c_gen": 0.3}
    return write_run(path, [row(1), row(2, 0.7, metric=metric, per_peer=per_peer)])
