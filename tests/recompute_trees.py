"""Recompute a plan's tree, clock and table values from its digests; used by `recompute.py`.

Greedy merging over exact fractions, written from the description and not from the package: it is slower
and shares nothing with it. Complementary grouping and the standing of newcomers and outliers are not
recomputed: there the certified tree is taken as it is, and the names of its groups too.
"""

import base64
import math
import struct
from collections import Counter
from fractions import Fraction
from hashlib import blake2b
from itertools import combinations

import numpy as np

OUTLIER_MEDIANS = 16
SUM_BITS = 61


def recomputed_plan(certificate):
    """Return groups, attachments, clock and table values that follow from digests and the plan before."""
    settings, before = certificate["settings"], certificate["previous"]
    losses = sorted(d["loss"] for d in certificate["digests"] if d["loss"])
    number = max([1 + (before["round"] if before else 0), *(d["round"] for d in certificate["digests"])])
    watched = settings["drift"] or any(len(table) > 1 for table in settings["tables"])
    clock = moved(before, losses, number, settings["drift"]) if watched else None
    fallen = bool(before and clock and clock[0] <= before["clock"][0])
    carry = bool(before and before["tau"] > 1 and not fallen)
    plan = {
        "round": number,
        "time": clock[0] if clock else number - 1,
        "clock": clock,
        "tau": before["tau"] - 1 if carry else settings["tau"],
        "hysteresis": before["hysteresis"] if carry else settings["hysteresis"],
        "standing": certificate["standing"],
    }
    if settings["grouping"] == "complementary" or settings["outliers"] or settings["newcomers"] == "top":
        return plan | {"groups": certificate["groups"], "parents": certificate["parents"]}
    everybody = sorted(digest["peer"] for digest in certificate["digests"])
    root = carried(before, everybody) if carry else drafted(certificate, everybody, plan["hysteresis"])
    groups, parents = named(trimmed(root, settings["min_size"], top=True), certificate)
    return plan | {"groups": groups, "parents": parents}


def moved(before, losses, number, drift):
    """Return [tick, streak, loss] of the schedules' clock."""
    if not drift:
        return [before["clock"][0] + 1 if before else 0, 0, 0]
    median = losses[(len(losses) - 1) // 2] if losses else None
    if not before:
        return [0, 0, median or 0]
    tick, streak, loss = before["clock"]
    if median is None:
        return [tick + 1, streak, loss]
    if number < 4 or not loss:
        return [tick + 1, 0, median]
    if 10 * median <= 11 * loss + 50:
        return [tick + 1, 0, (3 * loss + median) // 4]
    return [tick + 1, streak + 1, loss] if streak + 1 < drift else [tick // 2, 0, median]


# Branches are (level, [peers attached], [branches right below]).


def carried(before, everybody):
    """Return the tree before with the peers that are still there; the others hang under the root."""
    found = {group["id"]: (group["level"], [], []) for group in before["groups"]}
    for group in before["groups"][1:]:
        found[group["parent"]][2].append(found[group["id"]])
    root = found[before["groups"][0]["id"]]
    for peer in everybody:
        found[before["parents"][peer]][1].append(peer) if peer in before["parents"] else root[1].append(peer)
    return root


def drafted(certificate, everybody, hysteresis):
    """Return the tree of the peers whose digests can be compared; the others hang under the root."""
    settings = certificate["settings"]
    comparable = [
        d for d in certificate["digests"]
        if (d["seed"], d["reference"]) == (certificate["seed"], certificate["reference"])
    ]  # fmt: skip
    peers, points = points_of(comparable, settings["metric"], certificate["sketch"])
    beside = [peer for peer in everybody if peer not in peers]
    if not peers or not settings["levels"]:
        return settings["levels"] + 1, everybody, []
    squared = settings["linkage"] == "ward"
    distances = distances_of(
        peers, points, settings, bonus=hysteresis, before=certificate["previous"], squared=squared
    )
    merges, top = merged(distances, len(peers), ward=squared)
    if settings["cut"] == "binary":
        _, leaves, below = split(top, settings["levels"] + 1, peers)
    else:
        labels = [labels_at(merges, len(peers), rule) for rule in rules(settings, merges, len(peers))]
        items = list(range(len(peers)))
        _, leaves, below = nested(
            labels, items, settings["levels"] + 1, peers, distances, settings["min_size"], squared
        )
    level, leaves, below = trimmed((settings["levels"] + 1, leaves, below), settings["min_size"], top=True)
    return level, [*leaves, *beside], below


def points_of(digests, metric, reference):
    """Return peers and whole points in steps of median / 256; those above 16 medians are left out."""
    scales = sorted(Fraction(digest["scale"]) for digest in digests if digest["scale"] != 0)
    median = scales[(len(scales) - 1) // 2] if scales else Fraction(0)
    peers, points = [], []
    for digest in sorted(digests, key=lambda digest: digest["peer"]):
        scale = Fraction(digest["scale"])
        if scale > OUTLIER_MEDIANS * median:
            continue
        step = min(max(round(256 * scale / median), 1), 4095) if scale else 0
        sketch = np.frombuffer(base64.b64decode(digest["sketch"]), np.int8)
        peers.append(digest["peer"])
        points.append([step * int(value) for value in sketch])
    if metric == "cosine":
        origin = reference_steps(base64.b64decode(reference), median)
        points = [halved([a + b for a, b in zip(point, origin, strict=True)]) for point in points]
    return peers, points if metric == "euclidean" else [unit(point) for point in points]


def reference_steps(sketch, median):
    """Return the reference's own sketch in steps of median / 256."""
    scale = Fraction(struct.unpack("<f", sketch[:4])[0])
    buckets = [int(value) for value in np.frombuffer(sketch[4:], "<i2")]
    if not median or not scale:
        return [bucket if scale else 0 for bucket in buckets]
    exact = min(256 * scale / median, Fraction(2**32))
    return [round(exact * bucket) for bucket in buckets]


def halved(point):
    """Return a point with coordinates below 2^20."""
    times = max(0, max(abs(value) for value in point).bit_length() - 20)
    return [(value + (1 << times - 1 if times else 0)) >> times for value in point]


def unit(point):
    """Return a point scaled to length 2^20; zero stays."""
    length = math.sqrt(sum(value * value for value in point))
    return [round(value * 2.0**20 / length) for value in point] if length else point


def distances_of(peers, points, settings, *, bonus, before, squared):
    """Return {(i, j): distance} over items i < j, less the co-member bonus."""
    found = {
        (i, j): sum((x - y) ** 2 for x, y in zip(points[i], points[j], strict=True))
        for i, j in combinations(range(len(points)), 2)
    }
    if settings["metric"] == "euclidean" and not squared:
        found = {pair: math.floor(math.sqrt(value) * 4096.0) for pair, value in found.items()}
    groups = before["parents"] if before else {}
    root = before["groups"][0]["id"] if before else None
    for i, j in found:
        ours, theirs = groups.get(peers[i]), groups.get(peers[j])
        if bonus and ours == theirs and ours not in {None, root}:
            found[i, j] = found[i, j] * (256 - bonus) >> 8
    if squared and found:
        bits = max(found.values()).bit_length() + 2 * len(points).bit_length() - 1
        found = {pair: value >> max(0, bits - SUM_BITS) for pair, value in found.items()}
    return found


def height_of(distances, ours, theirs, *, ward):
    """Return the height at which two clusters of items merge."""

    def total(pairs):
        return sum(distances[min(pair), max(pair)] for pair in pairs)

    across = total((i, j) for i in ours for j in theirs)
    if not ward:
        return Fraction(across, len(ours) * len(theirs))
    inside, beside = total(combinations(ours, 2)), total(combinations(theirs, 2))
    a, b = len(ours), len(theirs)
    return 2 * (Fraction(across + inside + beside, a + b) - Fraction(inside, a) - Fraction(beside, b))


def merged(distances, count, *, ward):
    """Return [(height, items)] in order of merging, and nested pairs of items."""
    clusters = {item: ([item], item) for item in range(count)}  # by least item: items, nested pairs
    heights = {pair: height_of(distances, [pair[0]], [pair[1]], ward=ward) for pair in distances}
    merges = []
    while len(clusters) > 1:
        a, b = min(heights, key=lambda pair: (heights[pair], pair))
        items, nodes = clusters.pop(b)
        clusters[a] = ([*clusters[a][0], *items], (clusters[a][1], nodes))
        merges.append((heights[a, b], clusters[a][0]))
        heights = {pair: known for pair, known in heights.items() if not {a, b} & set(pair)}
        for other in clusters.keys() - {a}:
            pair = (min(a, other), max(a, other))
            heights[pair] = height_of(distances, clusters[a][0], clusters[other][0], ward=ward)
    return merges, clusters[0][1]


def leaves_of(node):
    """Return the items below a node of nested pairs."""
    return [node] if isinstance(node, int) else [leaf for child in node for leaf in leaves_of(child)]


def split(node, level, peers):
    """Return the branch of the binary cut: two children a level, below level 1 all items."""
    children = [node] if isinstance(node, int) else node
    if level == 1:
        children = leaves_of(node)
    return (
        level,
        [peers[child] for child in children if isinstance(child, int)],
        [split(child, level - 1, peers) for child in children if not isinstance(child, int)],
    )


def rules(settings, merges, count):
    """Return for each level whether merge number i at height h is done there."""
    if settings["cut"] == "maxclust":
        return [lambda rank, _, n=int(number): rank < count - n for number in settings["cuts"]]
    power = 2 if settings["linkage"] == "ward" else 1
    highest = merges[-1][0] if merges else Fraction(0)
    limits = [Fraction(share) ** power * highest for share in settings["cuts"]]
    return [lambda _, height, limit=limit: height <= limit for limit in limits]


def labels_at(merges, count, done):
    """Return the cluster of each item, named by its least, after the merges that are done."""
    labels = list(range(count))
    for rank, (height, items) in enumerate(merges):
        if done(rank, height):
            for item in items:
                labels[item] = min(items)
    return labels


def nested(labels, items, level, peers, distances, min_size, ward):
    """Return the branch of horizontal cuts; small parts are absorbed by the nearest beside them."""
    if level == 1:
        return level, [peers[item] for item in items], []
    parts = {}
    for item in items:
        parts.setdefault(labels[level - 2][item], []).append(item)
    while len(parts) > 1:
        small = min(parts, key=lambda part: (len(parts[part]), part))
        if len(parts[small]) >= min_size:
            break
        others = sorted(parts.keys() - {small})
        near = min(others, key=lambda o: height_of(distances, parts[small], parts[o], ward=ward))
        joined = sorted(parts.pop(small) + parts.pop(near))
        parts[joined[0]] = joined
    below = [
        nested(labels, parts[part], level - 1, peers, distances, min_size, ward) for part in sorted(parts)
    ]
    return level, [], below


def trimmed(branch, min_size, *, top=False):
    """Return a branch without groups that join nothing: too small, or with one group and no peers."""
    level, leaves, branches = branch[0], list(branch[1]), []
    for child in branch[2]:
        found = trimmed(child, min_size)
        if len(members(found)) < max(min_size, 2):
            leaves += members(found)
        else:
            branches.append(found[2][0] if len(found[2]) == 1 and not found[1] else found)
    while top and len(branches) == 1 and not leaves:
        leaves, branches = branches[0][1], branches[0][2]
    return level, leaves, branches


def members(branch):
    """Return the peers below a branch."""
    return [*branch[1], *(peer for child in branch[2] for peer in members(child))]


def named(root, certificate):
    """Return groups and attachments; names are inherited by most members shared, else new."""
    flat, pending = [], [(root, None)]
    while pending:
        branch, above = pending.pop()
        pending += [(child, len(flat)) for child in branch[2]]
        flat.append((branch[0], above, branch[1], sorted(members(branch))))
    names, before = {}, certificate["previous"]
    if before:
        names[0] = before["groups"][0]["id"]
        below, old = members_of(before), {}
        for group in before["groups"][1:]:
            old |= {(group["level"], peer): group["id"] for peer in below[group["id"]]}
        shared = []
        for number, (level, _, _, peers) in enumerate(flat[1:], start=1):
            counted = Counter(old[level, peer] for peer in peers if (level, peer) in old)
            shared += [(-count, name, peers, number) for name, count in counted.items()]
        taken = {names[0]}
        for _, name, _, number in sorted(shared):
            if number not in names and name not in taken:
                names[number] = name
                taken.add(name)
    base = bytes.fromhex(certificate["base"])
    for number, (level, _, _, peers) in enumerate(flat):
        names.setdefault(number, group_name(base, level, peers))
    groups = [
        {"id": names[number], "level": level, "parent": names[above] if above is not None else None}
        for number, (level, above, _, _) in enumerate(flat)
    ]
    parents = {peer: names[number] for number, (_, _, leaves, _) in enumerate(flat) for peer in leaves}
    return sorted(groups, key=lambda group: (-group["level"], group["id"])), parents


def members_of(plan):
    """Return the peers at any depth below each group of a plan."""
    above = {group["id"]: group["parent"] for group in plan["groups"]}
    found = {group: [] for group in above}
    for peer, group in plan["parents"].items():
        here = group
        while here is not None:
            found[here].append(peer)
            here = above[here]
    return found


def group_name(base, level, peers):
    """Return a new id of a group, in hex digits."""
    content = bytes([len(base)]) + base + bytes([level]) + b"".join(bytes.fromhex(peer) for peer in peers)
    return blake2b(content, digest_size=16, person=b"sd/group").hexdigest()


def tree_hash(groups, parents):
    """Return the hash of a tree, in hex digits."""
    digest = blake2b(digest_size=32, person=b"sd/tree")
    for group in groups:
        leaves = sorted(peer for peer, above in parents.items() if above == group["id"])
        parent = bytes.fromhex(group["parent"] or "00" * 16)
        digest.update(bytes.fromhex(group["id"]) + bytes([group["level"]]) + parent)
        digest.update(len(leaves).to_bytes(4, "big") + b"".join(map(bytes.fromhex, leaves)))
    return digest.hexdigest()
