"""Small run folders written by hand, for tests that read them."""

import json

PEERS = ("aa11", "bb22", "cc33", "dd44")


def both(update, training=None):
    return {"after_training": training, "after_update": update}


def row(round, c_gen=None, *, metric="accuracy", sent=1000, **more):
    """Return a line of rounds.jsonl; evaluated when *c_gen* is given."""
    line = {
        "round": round, "certified": True, "peers": 4, "applied": 4, "skipped_groups": 0, "failovers": 0,
        "loss": 1.0 / round, "wall_s": 2.0, "cpu_s": 3.0, "train_cpu_s": 1.0, "evaluate_cpu_s": 0.5,
        "bytes_sent": sent, "bytes_received": sent, "messages_sent": 7, "messages_received": 7,
        "socket_bytes_sent": 9, "socket_bytes_received": 9,
    }  # fmt: skip
    if c_gen is not None:
        line |= {
            "metric": metric,
            "c_spe": both(0.9, 0.95),
            "c_gen": both(c_gen, c_gen / 2),
            "global": both(c_gen + 0.1),
            "g_spe": both({"1": 0.7, "2": 0.6}),
            "g_gen": both({"1": 0.5, "2": c_gen + 0.1}),
            "per_peer": {
                peer: {"c_spe": 0.9, "c_gen": round_to(c_gen + shift)}
                for peer, shift in zip(PEERS, (-0.1, 0.0, 0.0, 0.1), strict=True)
            },
        }
    return line | more


def round_to(value):
    return float(f"{value:.6f}")


def tree(round):
    """Return a line of trees.jsonl: a pair, aa11 and bb22, under a root that cc33 and dd44 hang from."""
    pair = {
        "level": 1, "id": "pair", "parent": "root", "members": list(PEERS[:2]), "leaves": list(PEERS[:2]),
        "included": list(PEERS[:2]), "cut": False, "aggregator": "aa11", "term": 0,
    }  # fmt: skip
    root = pair | {
        "level": 2, "id": "root", "parent": None, "members": list(PEERS), "leaves": list(PEERS[2:]),
        "included": list(PEERS), "aggregator": "bb22",
    }  # fmt: skip
    return {"round": round, "certificate": f"c{round}", "certified": True, "groups": [root, pair]}


def write_run(path, rows, *, rounds=None, linkage="average", trees=True):
    """Write a run folder with these rows of rounds.jsonl."""
    (path / "peers").mkdir(parents=True)
    wanted = rows[-1]["round"] if rounds is None else rounds
    (path / "run.toml").write_text(
        f'[settings]\nrounds = {wanted}\nseed = 0\n[charter]\nlinkage = "{linkage}"\nmetric = "euclidean"\n'
    )
    write_lines(path / "rounds.jsonl", rows)
    if trees:
        write_lines(path / "trees.jsonl", [tree(row["round"]) for row in rows])
    for peer in PEERS:
        (path / "peers" / f"{peer}.jsonl").write_text('{"event":"round","round":1}\n')
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_experiment(path, variants):
    """Write an experiment's folder; *variants* is a list of (name, {seed: rows}, more)."""
    described = []
    for name, by_seed, more in variants:
        runs = {str(seed): f"runs/{name}-s{seed}" for seed in by_seed}
        for seed, rows in by_seed.items():
            if rows:
                write_run(path / runs[str(seed)], rows)
        described.append({"name": name, "runs": runs} | more)
    path.mkdir(exist_ok=True)
    (path / "experiment.json").write_text(
        json.dumps({"name": "tiny", "about": "A line.", "curves": "mnist", "variants": described})
    )
    return path
