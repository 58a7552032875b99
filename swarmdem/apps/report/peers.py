"""Tables of single peers: how each is served, who stands out, who aggregated how much."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from swarmdem.apps.reading import PeerScore, Run
from swarmdem.apps.report import html
from swarmdem.apps.report.html import Content, Html, element
from swarmdem.apps.report.stories import Story, ranges
from swarmdem.apps.report.trees import Forest, chip

_DEVIATIONS = 3.0
"""How many robust deviations from the median make an outlier."""
_LEAST = 0.02
"""What lies closer to the median is no outlier, however alike the others are: a part of all answers, or of
the median error, whose unit may be anything."""
_NO_SCORE = PeerScore()


def outliers(values: Mapping[str, float], *, relative: bool = False) -> dict[str, int]:
    """Return the peers whose value stands out: -1 below the others, 1 above them.

    More than three deviations from the median, where a deviation is 1.4826 times the median absolute
    one (that of a normal distribution), and more than 0.02, or 0.02 of the median if *relative*.
    """
    if len(values) < 4:
        return {}
    median = statistics.median(values.values())
    deviation = 1.4826 * statistics.median(abs(value - median) for value in values.values())
    limit = max(_DEVIATIONS * deviation, _LEAST * median if relative else _LEAST)
    return {
        peer: 1 if value > median else -1 for peer, value in values.items() if abs(value - median) > limit
    }


def table_of_peers(run: Run, stories: Mapping[str, Story], woods: Forest) -> Iterator[Html]:
    """Yield the spread between peers in words, and the table of all of them."""
    row = next((row for row in reversed(run.evaluated) if row.per_peer), None)
    scores = {} if row is None else row.per_peer
    worse = 1 if run.metric == "mae" else -1
    standing_out: dict[str, dict[str, int]] = {}
    for metric, name in (("c_spe", "C-SPE"), ("c_gen", "C-GEN")):
        found = {peer: getattr(score, metric) for peer, score in scores.items()}
        values: dict[str, float] = {peer: value for peer, value in found.items() if value is not None}
        standing_out[metric] = outliers(values, relative=run.metric == "mae")
        if values and row is not None:
            yield _spread(name, values, row.round, worse)
    if row is None:
        yield element("p", "Scores of single peers were not measured.")
    apart = _set_apart(run, woods)
    if apart:
        named = ", ".join(f"{peer[:8]} (rounds {ranges(rounds)})" for peer, rounds in sorted(apart.items()))
        yield element("p", f"Set apart, right under the root and not in its mean: {named}.")
    titles = [
        "peer", "#C-SPE", "#C-GEN", "stands out", "group", "#moves", "#installed", "#kept its own", "#loss",
        "#MB sent", "#frames refused",
    ]  # fmt: skip
    rows: list[Sequence[Content]] = []
    for peer in run.peers:
        story, score = stories[peer], scores.get(peer, _NO_SCORE)
        flags = [
            _flag(name, standing_out[metric][peer], worse)
            for metric, name in (("c_spe", "C-SPE"), ("c_gen", "C-GEN"))
            if peer in standing_out[metric]
        ]
        group = woods.group(woods.last[0].round, peer) if woods.last else None
        rows.append(
            [
                element("code", peer[:8], title=peer), html.number(score.c_spe), html.number(score.c_gen),
                html.joined(flags), "not listed" if group is None else chip(woods, group.id),
                html.number(len(woods.moves.get(peer, ())), "d"), html.number(len(story.applied), "d"),
                html.number(sum(len(rounds) for rounds in story.kept.values()), "d"),
                html.number(story.loss, ".4f"),
                html.number(story.sent / 1e6 if story.counted else None, ".2f"),
                html.number(story.refused.total() if story.counted else None, "d"),
            ]
        )  # fmt: skip
    when = f"; scores after the update of round {row.round}" if row is not None else ""
    yield html.table(f"Every peer{when}", titles, rows, sortable=True)
    yield html.note(
        f"Stands out: more than {_DEVIATIONS:.0f} robust deviations (1.4826 times the median absolute "
        f"deviation) and more than {_LEAST}{' of the median' if run.metric == 'mae' else ''} from the median "
        "peer. Group: the one it hangs from in the last tree."
    )


def _spread(name: str, values: Mapping[str, float], round: int, worse: int) -> Html:
    ordered = sorted(values, key=lambda peer: (worse * -1 * values[peer], peer))
    worst, best = ordered[0], ordered[-1]
    if values[worst] == values[best]:
        return element("p", f"{name} in round {round}: {values[best]:.3f} for every peer.")
    gap, median = abs(values[best] - values[worst]), statistics.median(values.values())
    deviation = f", standard deviation {statistics.pstdev(values.values()):.3f}" if len(values) > 1 else ""
    return element(
        "p",
        f"{name} in round {round}: from {values[worst]:.3f} (worst, {worst[:8]}) to {values[best]:.3f} "
        f"(best, {best[:8]}), a gap of {gap:.3f}; median {median:.3f}{deviation}.",
    )


def _flag(name: str, side: int, worse: int) -> Html:
    good = side != worse
    shown = f"{'high' if side > 0 else 'low'} {name} "
    return element("span", shown, class_=f"flag {'high' if good else 'low'}")


def _set_apart(run: Run, woods: Forest) -> dict[str, list[int]]:
    """Return peers that hang from the root and are not in its mean, where the charter sets outliers apart."""
    found: dict[str, list[int]] = {}
    if not run.charter.get("outliers"):
        return found
    for round, trees in woods.rounds.items():
        for tree in trees:
            root = tree.root
            if root is None or not root.included:
                continue
            for peer in set(root.leaves) - set(root.included):
                found.setdefault(peer, []).append(round)
    return found


def aggregators(run: Run, stories: Mapping[str, Story]) -> Iterator[Html]:
    """Yield who aggregated how many groups, of which level, and what it cost to send."""
    led: dict[str, Counter[int]] = {peer: Counter() for peer in run.peers}
    taken: Counter[str] = Counter()
    models: Counter[str] = Counter()
    for tree in run.trees:
        for group in tree.groups:
            if group.aggregator is not None:
                led.setdefault(group.aggregator, Counter())[group.level] += 1
                taken[group.aggregator] += bool(group.term)
                models[group.aggregator] += len(group.included)
    total = sum(counts.total() for counts in led.values())
    if not total:
        yield element(
            "p", "No group had an aggregator: peers averaged with neighbours, or no tree was written."
        )
        return
    levels = sorted({level for counts in led.values() for level in counts})
    busiest = max(led, key=lambda peer: (led[peer].total(), peer))
    even = total / max(len(led), 1)
    leading = sum(bool(counts) for counts in led.values())
    yield element(
        "p",
        f"{leading} of {len(led)} peers aggregated groups, {total:,} times "
        f"in all. The busiest, {busiest[:8]}, did so {led[busiest].total()} times, "
        f"{led[busiest].total() / even:.1f} times an even share.{_sending(stories, led)}",
    )
    most = max(counts.total() for counts in led.values())
    names = ["#root" if level == levels[-1] else f"#level {level}" for level in levels]
    titles = ["peer", "#groups led", *names, "#took over", "#members' models", "#MB sent"]
    rows: list[Sequence[Content]] = []
    for peer in sorted(led, key=lambda peer: (-led[peer].total(), peer)):
        story = stories.get(peer)
        sent = story.sent / 1e6 if story is not None and story.counted else None
        rows.append(
            [
                element("code", peer[:8], title=peer), html.share_bar(led[peer].total(), most),
                *(html.number(led[peer][level], "d") for level in levels),
                html.number(taken[peer], "d"), html.number(models[peer], "d"), html.number(sent, ".2f"),
            ]
        )  # fmt: skip
    yield html.table("Groups each peer aggregated, summed over rounds", titles, rows, sortable=True)
    yield html.note(
        "Took over: it led a later term, after another aggregator had given up. Members' models: peers whose "
        "models are in the means it took, below its subgroups too."
    )


def _sending(stories: Mapping[str, Story], led: Mapping[str, Counter[int]]) -> str:
    """Return how the bytes sent go with the groups led."""
    sent = [story.sent for peer, story in stories.items() if story.counted and peer in led]
    if len(sent) < 2 or not sum(sent):
        return ""
    mean = statistics.fmean(sent)
    most, least = max(sent) / mean, min(sent) / mean
    return f" The peer that sent most sent {most:.1f} times the mean, the one that sent least {least:.1f}."
