"""Recompute a recorded run from its evidence: `python tests/recompute.py RUN`.

Reads `RUN/record/` as `swarm --record` writes it and imports nothing of swarmdem. From the uploads
and the certificate of each round it computes anew, in float64 and plain integers,

- the name of every upload's blob: it must be what the peer's certified digest named;
- the tree and what the plan hands on (`recompute_trees.py`): must be equal;
- every group's mean (DemLearn eq. 9) with the warm-up's gain and the share of the mean before (Dem-AI
  eq. 3), every group's result (eq. 10) with its sum over the groups above (Dem-AI eq. 2), every
  average of neighbours, and every peer's model: |a - b| <= 1e-6 max(1, |b|);
- the tree's hash: it must stand in the journal of every peer listed, beside the certificate's.

Which results were cut off from their parent's is taken from `trees.jsonl`, what went into a mean from
the head of its file: uploads and means of this round, the group's mean of the round before.
What a strategy of its own does with results, private arrays and memory are not recomputed. Exit code
1 and one line per difference when something does not fit.
"""

import json
import sys
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))  # wherever this file was loaded from

from recompute_trees import members_of, recomputed_plan, tree_hash

TOLERANCE = 1e-6
COUNTER_TOLERANCE = 4.0
"""Integer arrays are rounded at every step of the update."""
LEAF_BYTES = 65_536
GAIN_NORM_MAX = 4.0
STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
SUM = "pull/"


@dataclass
class Check:
    """Counts what was compared and keeps what did not fit."""

    compared: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def equal(self, kind, where, found, expected):
        """Note whether two values are the same."""
        self.compared[kind] = self.compared.get(kind, 0) + 1
        if found != expected:
            self.differences.append(f"{where}: {kind} is {str(found)[:80]}, recomputed {str(expected)[:80]}")

    def close(self, kind, path, expected):
        """Note whether a recorded model is the one recomputed."""
        self.compared[kind] = self.compared.get(kind, 0) + 1
        if not path.exists():
            self.differences.append(f"{path}: missing")
            return
        recorded = load_file(path)
        self.equal("arrays", path, sorted(recorded), sorted(expected))
        for name in recorded.keys() & expected.keys():
            found, wanted = recorded[name], expected[name]
            error = np.abs(found.astype(np.float64) - wanted)
            least = TOLERANCE if found.dtype.kind == "f" else COUNTER_TOLERANCE
            if not (error <= np.maximum(least, TOLERANCE * np.abs(wanted))).all():
                self.differences.append(f"{path}: {kind} {name!r} differs by up to {error.max():.3g}")


def check_run(run):
    """Return what was compared in all rounds of a run folder, and what did not fit."""
    check = Check()
    trees = {row["certificate"]: row for row in read_lines(run / "trees.jsonl")}
    journals = {path.stem: list(read_lines(path)) for path in sorted((run / "peers").glob("*.jsonl"))}
    rounds = sorted((run / "record").glob("round-*"))
    if not rounds:
        check.differences.append(f"{run / 'record'}: no rounds")
    for path in sorted((run / "record").glob("reference-*.safetensors")):
        check.equal("reference", path, blob_name(load_file(path)), path.stem.removeprefix("reference-"))
    for folder in rounds:
        certificate = json.loads((folder / "certificate.json").read_text())
        row = trees.get(certificate["certificate"])
        if row is None:
            check.differences.append(f"{folder}: its certificate is not in trees.jsonl")
            continue
        check_uploads(check, folder, certificate)
        plan = check_plan(check, folder, certificate, row)
        models = Models(check, folder, certificate, plan)
        if certificate["settings"]["update"] == "gossip":
            models.check_neighbours()
        else:
            models.check_groups(row)
        hashed = tree_hash(plan["groups"], plan["parents"])
        check_journals(check, folder, certificate, journals, hashed)
    return check


def check_uploads(check, folder, certificate):
    """Compare each upload's blob name with the one its digest gives."""
    for digest in certificate["digests"]:
        path = folder / f"upload-{digest['peer']}.safetensors"
        if path.exists():
            check.equal("upload", path, blob_name(load_file(path)), digest["model"])


def blob_name(arrays):
    """Return SHA-256 over the blob's length and its leaves' hashes, as hex digits."""
    ordered = sorted(arrays, key=lambda name: name.encode())
    blob = b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in ordered)
    leaves = [
        sha256(b"swarmdem/1/leaf\0" + blob[at : at + LEAF_BYTES]).digest()
        for at in range(0, len(blob), LEAF_BYTES)
    ]
    return sha256(b"swarmdem/1/blob\0" + len(blob).to_bytes(8, "big") + b"".join(leaves)).hexdigest()


def check_plan(check, folder, certificate, row):
    """Compare the certified plan with the one its digests give; return the latter."""
    plan = recomputed_plan(certificate)
    levels = {group["id"]: (group["level"], group["parent"]) for group in plan["groups"]}
    written = {group["id"]: (group["level"], group["parent"]) for group in row["groups"]}
    attached = {peer: group["id"] for group in row["groups"] for peer in group["leaves"]}
    certified = {group["id"]: (group["level"], group["parent"]) for group in certificate["groups"]}
    check.equal("tree", folder / "certificate.json", certified, levels)
    check.equal("tree", f"trees.jsonl round {row['round']}", written, levels)
    check.equal("tree", folder / "certificate.json", certificate["parents"], plan["parents"])
    check.equal("tree", f"trees.jsonl round {row['round']}", attached, plan["parents"])
    for what in ("time", "tau", "hysteresis", "clock", "standing"):
        check.equal(what, folder / "certificate.json", certificate[what], plan[what])
    return plan


class Models:
    """The models of one round, recomputed."""

    def __init__(self, check, folder, certificate, plan):
        self.check = check
        self.folder = folder
        self.certificate = certificate
        self.settings = certificate["settings"]
        self.parents = plan["parents"]
        self.agents = {group: len(peers) for group, peers in members_of(plan).items()}
        self.weights = {digest["peer"]: digest["weight"] for digest in certificate["digests"]}
        paths = {peer: folder / f"upload-{peer}.safetensors" for peer in self.weights}
        self.uploads = {peer: as_float64(path) for peer, path in paths.items() if path.exists()}
        models = {digest["peer"]: digest["model"] for digest in certificate["digests"]}
        self.known = {models[peer]: (upload, (peer,)) for peer, upload in self.uploads.items()}
        """Every model that can go into a mean, with the peers in it, by name."""
        kinds = (load_file(path) for path in paths.values() if path.exists())
        self.counters = {name for name, array in next(kinds, {}).items() if array.dtype.kind != "f"}

    def check_groups(self, row):
        """Recompute every mean, every group's result and every peer's model of a round."""
        means, results, sums = {}, {}, {}
        led = [group for group in row["groups"] if group["aggregator"] is not None]
        for group in reversed(led):  # the root is the first
            if group["included"]:
                means[group["id"]] = self.mean_of_group(f"mean-{file_of(group)}", group["included"])
        for group in led:
            key, parent = group["id"], group["parent"]
            above, mean = results.get(parent), means.get(key)
            if above is None or group["cut"]:
                results[key] = mean
            else:
                results[key] = mixed(mean, above, self.settings["mixing"])
                if self.settings["pull_to"] == "all":
                    handed = sums.get(parent) or self.share(above, parent)
                    sums[key] = added(handed, self.share(results[key], key))
            carried = {SUM + array: total for array, total in sums.get(key, {}).items()}
            path = self.folder / f"group-{file_of(group)}"
            self.check.close("group", path, {**results[key], **carried})
        for path in sorted(self.folder.glob("applied-*.safetensors")):
            peer = path.stem.removeprefix("applied-")
            self.check_applied(path, self.uploads.get(peer), results[self.parents[peer]])

    def check_neighbours(self):
        """Recompute every average of neighbours and every peer's model of a round."""
        for path in sorted(self.folder.glob("applied-*.safetensors")):
            peer = path.stem.removeprefix("applied-")
            averaged = self.folder / f"gossip-{peer}.safetensors"
            if not averaged.exists():  # it was alone
                self.check.close("applied", path, self.uploads[peer])
                continue
            included = head_of(averaged).get("included", "").split(",")
            strangers = set(included) - {peer} - self.neighbours(peer)
            self.check.equal("neighbours", averaged, sorted(strangers), [])
            mean = self.amplified(mean_of([self.uploads[other] for other in included], [1] * len(included)))
            self.check.close("gossip", averaged, mean)
            self.check_applied(path, self.uploads.get(peer), mean)

    def check_applied(self, path, upload, result):
        """Compare one peer's model with eq. 10; extras are those of the result."""
        if not self.settings["mixes"] and upload is not None:
            return  # the strategy's own way
        model = mixed(upload, result, self.settings["mixing"])
        model |= {name: result[name] for name in self.settings["extras"]}
        self.check.close("applied", path, model)

    def mean_of_group(self, name, included):
        """Compare one leader's mean with eq. 9, the gain and Dem-AI eq. 3; return what it must be."""
        path = self.folder / name
        inputs = dict(pair.split(":") for pair in head_of(path).get("inputs", "").split(",") if pair)
        unknown = inputs.keys() - self.known.keys()
        if unknown or not inputs:
            self.check.differences.append(f"{path}: mean of models that are not recorded: {sorted(unknown)}")
            return as_float64(path)
        everybody = sorted(peer for key in inputs for peer in self.known[key][1])
        self.check.equal("included", path, everybody, sorted(included))
        weights = [int(weight) for weight in inputs.values()]
        self.check.equal(
            "weights", path, weights, [sum(self.weights[p] for p in self.known[key][1]) for key in inputs]
        )
        mean = self.amplified(mean_of([self.known[key][0] for key in inputs], weights))
        previous = head_of(path)["previous"]
        if previous:
            mean = self.moved(mean, name, previous)
        self.check.close("mean", path, mean)
        self.known[blob_name(load_file(path))] = mean, tuple(included)
        return mean

    def moved(self, mean, name, previous):
        """Return a mean with its share of the group's mean before it."""
        number = self.certificate["previous"]["round"]
        folder = self.folder.with_name(f"round-{number:04d}")
        stem = name.removesuffix(".safetensors").removesuffix("-1")
        for path in (folder / f"{stem}.safetensors", folder / f"{stem}-1.safetensors"):
            if path.exists() and blob_name(load_file(path)) == previous:
                self.check.equal("previous", path, previous, previous)
                return mixed(mean, as_float64(path), 1.0 - self.settings["gamma"])
        self.check.differences.append(f"{folder}: no {stem} named {previous}, which went into a mean later")
        return mean

    def amplified(self, mean):
        """Return the mean times the warm-up's gain, unless it would outgrow the reference fourfold."""
        gain = self.settings["gain"]
        if gain == 1.0:
            return mean
        names = [name for name in mean if name not in {*self.settings["extras"], *self.counters}]
        names = [name for name in names if name.rpartition(".")[2] not in STATISTICS]
        reference = self.folder.with_name(f"reference-{self.certificate['reference']}.safetensors")
        if gain * norm(mean, names) > GAIN_NORM_MAX * norm(as_float64(reference), names):
            return mean
        return {name: array * gain if name in names else array for name, array in mean.items()}

    def share(self, model, group):
        """Return a group's share of the sum that it hands down."""
        return {
            name: np.zeros_like(array) if name in self.counters else array / self.agents[group]
            for name, array in model.items()
        }

    def neighbours(self, peer):
        """Return the peers next to *peer* on the ring of this round."""
        seed = bytes.fromhex(self.certificate["base"]) + b"gossip"
        key = blake2b(seed, digest_size=32, person=b"sd/rank").digest()

        def draw(other):
            name = bytes.fromhex(other)
            return blake2b(name, key=key, digest_size=8, person=b"sd/rank").digest(), name

        ring = sorted(self.weights, key=draw)
        reach = min(self.settings["neighbours"] // 2, len(ring))
        place = ring.index(peer)
        return {ring[(place + offset) % len(ring)] for offset in range(-reach, reach + 1)} - {peer}


def as_float64(path):
    """Return the arrays of a file in double precision."""
    return {name: array.astype(np.float64) for name, array in load_file(path).items()}


def file_of(group):
    """Return the end of the names of a group's files: those of the leader whose result counts."""
    term = f"-{group['term']}" if group["term"] else ""
    return f"{group['level']}-{group['id']}{term}.safetensors"


def head_of(path):
    """Return what the head of a safetensors file says beside the arrays; nothing without a file."""
    if not path.exists():
        return {}
    with safe_open(path, "numpy") as file:
        return file.metadata() or {}


def norm(model, names):
    """Return the Euclidean length of some of a model's arrays."""
    return float(np.sqrt(sum(np.square(model[name]).sum() for name in names)))


def added(one, other):
    """Return the sum of two models."""
    return {name: one[name] + other[name] for name in one}


def mean_of(models, weights):
    """Eq. 9: the weighted mean."""
    total = sum(weights)
    return {
        name: sum(weight * model[name] for model, weight in zip(models, weights, strict=True)) / total
        for name in models[0]
    }


def mixed(mean, parent, alpha):
    """Eq. 10: alpha x parent + (1 - alpha) x mean; without a mean the parent's result as it is."""
    if mean is None:
        return dict(parent)
    return {name: alpha * parent[name] + (1 - alpha) * mean[name] for name in mean}


def check_journals(check, folder, certificate, journals, tree):
    """Compare the hashes in the journals of the peers that applied the round."""
    for path in sorted(folder.glob("applied-*.safetensors")):
        peer = path.stem.removeprefix("applied-")
        lines = [
            (line["certificate"], line["tree"])
            for line in journals.get(peer, [])
            if line["event"] == "round" and line["round"] == certificate["round"]
        ]
        check.equal("journal", f"journal of {peer}, round {certificate['round']}", lines[-1:], [
            (certificate["certificate"], tree)
        ])  # fmt: skip


def read_lines(path):
    """Yield the objects of a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def main(arguments):
    """Check the run folder named on the command line."""
    if len(arguments) != 1:
        print(__doc__.splitlines()[0])
        return 2
    check = check_run(Path(arguments[0]))
    for difference in check.differences:
        print(difference)
    counted = ", ".join(f"{count} of {kind}" for kind, count in sorted(check.compared.items()))
    print(f"compared: {counted}; differences: {len(check.differences)}")
    return 1 if check.differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
