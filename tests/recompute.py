"""Recompute a recorded run from its evidence: `python tests/recompute.py RUN`.

Reads `RUN/record/` as `swarm --record` writes it and imports nothing of swarmdem. From the uploads
and the certificate of each round it computes anew, in float64 and plain integers,

- the name of every upload's blob: it must be what the peer's certified digest named;
- the tree: average linkage over the digests by greedy merging, binary cut (must be equal);
- every group's mean (DemLearn eq. 9), every group's result and every peer's model (eq. 10):
  |a - b| <= 1e-6 max(1, |b|);
- the tree's hash: it must stand in the journal of every peer listed, beside the certificate's.

Who was included in a mean, and which results were cut off from their parent's, is taken from
`trees.jsonl`. Exit code 1 and one line per difference when something does not fit.
"""

import base64
import json
import math
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b, sha256
from itertools import combinations
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

TOLERANCE = 1e-6
LEAF_BYTES = 65_536
OUTLIER_MEDIANS = 16


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
        for name, found in load_file(path).items():
            error = np.abs(found.astype(np.float64) - expected[name])
            if not (error <= TOLERANCE * np.maximum(1.0, np.abs(expected[name]))).all():
                self.differences.append(f"{path}: {kind} {name!r} differs by up to {error.max():.3g}")


def check_run(run):
    """Return what was compared in all rounds of a run folder, and what did not fit."""
    check = Check()
    trees = {row["certificate"]: row for row in read_lines(run / "trees.jsonl")}
    journals = {path.stem: list(read_lines(path)) for path in sorted((run / "peers").glob("*.jsonl"))}
    rounds = sorted((run / "record").glob("round-*"))
    if not rounds:
        check.differences.append(f"{run / 'record'}: no rounds")
    for folder in rounds:
        certificate = json.loads((folder / "certificate.json").read_text())
        row = trees.get(certificate["certificate"])
        if row is None:
            check.differences.append(f"{folder}: its certificate is not in trees.jsonl")
            continue
        check_uploads(check, folder, certificate)
        groups, parents = check_tree(check, folder, certificate, row)
        check_models(check, folder, certificate, row, parents)
        check_journals(check, folder, certificate, journals, tree_hash(groups, parents))
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


def check_tree(check, folder, certificate, row):
    """Compare the certified tree with the one the digests give; return groups and attachments."""
    groups, parents = recomputed_tree(certificate)
    levels = {group: (level, parent) for group, level, parent in groups}
    certified = {group["id"]: (group["level"], group["parent"]) for group in certificate["groups"]}
    written = {group["id"]: (group["level"], group["parent"]) for group in row["groups"]}
    attached = {peer: group["id"] for group in row["groups"] for peer in group["leaves"]}
    check.equal("tree", folder / "certificate.json", certified, levels)
    check.equal("tree", f"trees.jsonl round {row['round']}", written, levels)
    check.equal("tree", folder / "certificate.json", certificate["parents"], parents)
    check.equal("tree", f"trees.jsonl round {row['round']}", attached, parents)
    return groups, parents


def recomputed_tree(certificate):
    """Return [(group, level, parent)] and {peer: group} by greedy average linkage and binary cut."""
    assert certificate["cut"] == "binary"
    assert certificate["hysteresis"] == 0
    base, levels = bytes.fromhex(certificate["base"]), certificate["levels"]
    comparable = [
        d for d in certificate["digests"]
        if (d["seed"], d["reference"]) == (certificate["seed"], certificate["reference"])
    ]  # fmt: skip
    peers, vectors = common_vectors(comparable)
    everybody = sorted(digest["peer"] for digest in certificate["digests"])
    root = group_name(base, levels + 1, everybody)
    groups, parents = [(root, levels + 1, None)], {peer: root for peer in everybody if peer not in peers}
    pending = [(dendrogram(peers, vectors, certificate["metric"]), levels + 1, root)] if peers else []
    while pending:
        node, level, group = pending.pop()
        split = [node] if level == 1 or isinstance(node, str) else node
        for child in split if level > 1 else [[leaf] for leaf in leaves_of(node)]:
            members = leaves_of(child)
            if len(members) == 1:
                parents[members[0]] = group
            else:
                name = group_name(base, level - 1, sorted(members))
                groups.append((name, level - 1, group))
                pending.append((child, level - 1, name))
    return sorted(groups, key=lambda group: (-group[1], group[0])), parents


def common_vectors(digests):
    """Return peers and their sketches in steps of median / 256; those above 16 medians are left out."""
    scales = sorted(Fraction(digest["scale"]) for digest in digests if digest["scale"] != 0)
    median = scales[(len(scales) - 1) // 2] if scales else Fraction(0)
    peers, vectors = [], []
    for digest in sorted(digests, key=lambda digest: digest["peer"]):
        scale = Fraction(digest["scale"])
        if scale > OUTLIER_MEDIANS * median:
            continue
        step = min(max(round(256 * scale / median), 1), 4095) if scale else 0
        sketch = np.frombuffer(base64.b64decode(digest["sketch"]), np.int8)
        peers.append(digest["peer"])
        vectors.append([step * int(value) for value in sketch])
    return peers, vectors


def dendrogram(peers, vectors, metric):
    """Return nested pairs of peers: the nearest two clusters are merged until one is left."""
    assert metric == "euclidean"
    near = {}
    for (a, first), (b, second) in combinations(zip(peers, vectors, strict=True), 2):
        squared = sum((x - y) ** 2 for x, y in zip(first, second, strict=True))
        near[a, b] = math.floor(math.sqrt(squared) * 4096.0)
    clusters = {peer: peer for peer in peers}  # by least leaf

    def height(a, b):
        pairs = [near[min(x, y), max(x, y)] for x in leaves_of(clusters[a]) for y in leaves_of(clusters[b])]
        return Fraction(sum(pairs), len(pairs))

    heights = {pair: height(*pair) for pair in combinations(sorted(clusters), 2)}
    while len(clusters) > 1:
        a, b = min(heights, key=lambda pair: (heights[pair], pair))
        clusters[a] = (clusters[a], clusters.pop(b))
        heights = {pair: known for pair, known in heights.items() if b not in pair}
        for other in clusters:
            if other != a:
                pair = (min(a, other), max(a, other))
                heights[pair] = height(*pair)
    return next(iter(clusters.values()))


def leaves_of(node):
    """Return the peers below a node of nested pairs."""
    return [node] if isinstance(node, str) else [leaf for child in node for leaf in leaves_of(child)]


def group_name(base, level, members):
    """Return the id of a group, in hex digits."""
    content = bytes([len(base)]) + base + bytes([level]) + b"".join(bytes.fromhex(peer) for peer in members)
    return blake2b(content, digest_size=16, person=b"sd/group").hexdigest()


def tree_hash(groups, parents):
    """Return the hash of a tree, in hex digits."""
    digest = blake2b(digest_size=32, person=b"sd/tree")
    for group, level, parent in groups:
        leaves = sorted(peer for peer, above in parents.items() if above == group)
        digest.update(bytes.fromhex(group) + bytes([level]) + bytes.fromhex(parent or "00" * 16))
        digest.update(len(leaves).to_bytes(4, "big") + b"".join(map(bytes.fromhex, leaves)))
    return digest.hexdigest()


def check_models(check, folder, certificate, row, parents):
    """Recompute every mean, every group's result and every peer's model of a round."""
    alpha = certificate["mixing"]
    weights = {digest["peer"]: digest["weight"] for digest in certificate["digests"]}
    uploads = {
        peer: as_float64(folder / f"upload-{peer}.safetensors")
        for peer in weights
        if (folder / f"upload-{peer}.safetensors").exists()
    }
    results = {}
    for group in row["groups"]:  # the root is the first
        if group["aggregator"] is None:
            continue
        name = f"{group['level']}-{group['id']}.safetensors"
        above = results.get(group["parent"])
        mean = None
        if group["included"]:
            mean = mean_of(
                [uploads[peer] for peer in group["included"]], [weights[p] for p in group["included"]]
            )
            check.close("mean", folder / f"mean-{name}", mean)
        result = mean if above is None or group["cut"] else mixed(mean, above, alpha)
        results[group["id"]] = result
        check.close("group", folder / f"group-{name}", result)
    for path in sorted(folder.glob("applied-*.safetensors")):
        peer = path.stem.removeprefix("applied-")
        check.close("applied", path, mixed(uploads.get(peer), results[parents[peer]], alpha))


def as_float64(path):
    """Return the arrays of a file in double precision."""
    return {name: array.astype(np.float64) for name, array in load_file(path).items()}


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
        return parent
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
