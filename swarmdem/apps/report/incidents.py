"""What went wrong in a run and what was done about it, in words."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from swarmdem.apps.reading import Run
from swarmdem.apps.report.stories import Story, ranges
from swarmdem.errors import ForeignFrameError


@dataclass(frozen=True, slots=True)
class Incident:
    """One kind of thing that went wrong."""

    what: str
    times: int
    rounds: tuple[int, ...]
    """Empty: not tied to rounds."""
    done: str


def incidents(run: Run, stories: Mapping[str, Story]) -> list[Incident]:
    """Return what went wrong, whole rounds first, then groups, peers, frames."""
    told = list(stories.values())
    return [*_of_rounds(run), *_of_groups(run), *_of_peers(run, told), *_of_links(told), *_of_frames(told)]


def _of_rounds(run: Run) -> Iterator[Incident]:
    loose = tuple(row.round for row in run.rounds if not row.certified and not row.interrupted)
    if loose:
        yield Incident(
            "a list of digests without the votes of a majority", len(loose), loose,
            "the round went on under a provisional plan and is marked as uncertified",
        )  # fmt: skip
    split = [row for row in run.rounds if row.split and not row.interrupted]
    if split:
        least = min(split, key=lambda row: row.certified_by[-1] / max(row.peers, 1))
        yield Incident(
            f"not all peers ended the round under one certificate (the fewest: {least.certified_by[-1]} of "
            f"{least.peers} peers, round {least.round})", len(split), tuple(row.round for row in split),
            "who was in sight of each other went on; the others caught up, or met them again later",
        )  # fmt: skip
    lost = tuple(row.round for row in run.rounds if row.interrupted)
    if lost:
        yield Incident(
            "the run was stopped before the round was written down", len(lost), lost,
            "it was resumed; the row holds what the peers' journals tell, no costs",
        )  # fmt: skip
    for resumed in run.tables.get("resumed", []):
        changed = [
            f"{name} = {value}" for name, value in resumed.items() if name not in {"command", "started"}
        ]
        yield Incident(
            f"the run was stopped and resumed at {resumed.get('started', 'a time not told')}", 1, (),
            f"every peer went on from its own state{'; changed: ' + ', '.join(changed) if changed else ''}",
        )  # fmt: skip


def _of_groups(run: Run) -> Iterator[Incident]:
    taken = [row for row in run.rounds if row.failovers]
    if taken:
        yield Incident(
            "an aggregator that gave no result in time", sum(row.failovers or 0 for row in taken),
            tuple(row.round for row in taken),
            "a later attempt or the next in rank took its place (failover)",
        )  # fmt: skip
    skipped = [row for row in run.rounds if row.skipped_groups]
    if skipped:
        yield Incident(
            "a group without any result", sum(row.skipped_groups or 0 for row in skipped),
            tuple(row.round for row in skipped),
            "peers attached to it kept their models, groups below it were cut off",
        )  # fmt: skip
    cut = [tree.round for tree in run.trees for group in tree.groups if group.cut]
    if cut:
        yield Incident(
            "a group to which no result of its parent came in time", len(cut), tuple(sorted(set(cut))),
            "it was cut off for that round: its own mean became its result",
        )  # fmt: skip
    late: Counter[str] = Counter()
    rounds: set[int] = set()
    for tree in run.trees:
        for group in tree.groups:
            apart = group.parent is None and run.charter.get("outliers")  # left out by design, perhaps
            if group.included and not apart:
                absent = set(group.leaves) - set(group.included)
                late.update(absent)
                rounds |= {tree.round} if absent else set()
    if late:
        yield Incident(
            f"a peer whose model is not in its group's mean ({_named(late)})", late.total(),
            tuple(sorted(rounds)), "the mean was taken over the models that had come",
        )  # fmt: skip


def _of_peers(run: Run, stories: Sequence[Story]) -> Iterator[Incident]:
    behind = [row for row in run.rounds if row.applied < row.peers]
    if behind and not any(story.kept for story in stories):
        yield Incident(
            "a peer did not install the round's model (no journal says why)",
            sum(row.peers - row.applied for row in behind), tuple(row.round for row in behind),
            "it kept its own model",
        )  # fmt: skip
    kept: dict[str, Counter[str]] = {}
    rounds: dict[str, set[int]] = {}
    for story in stories:
        for reason, lost in story.kept.items():
            kept.setdefault(reason, Counter())[story.peer] += len(lost)
            rounds.setdefault(reason, set()).update(lost)
    for reason in sorted(kept):
        yield Incident(
            f"a peer did not install the round's model: {reason} ({_named(kept[reason])})",
            kept[reason].total(), tuple(sorted(rounds[reason])),
            "it kept its own model and took part in the next round",
        )  # fmt: skip
    yield from _absences(run, stories)
    lost_sight: dict[str, set[int]] = {}
    for story in stories:
        for peer, lost in story.lost_sight.items():
            lost_sight.setdefault(peer, set()).update(lost)
    for peer in sorted(lost_sight):
        seen_by = sum(peer in story.lost_sight for story in stories)
        yield Incident(
            f"peer {peer[:8]} went out of sight of {_count(seen_by, 'peer')}", 1,
            tuple(sorted(lost_sight[peer])), "the others went on without it",
        )  # fmt: skip
    silent = sum((story.silent for story in stories), Counter[str]())
    if silent:
        yield Incident(
            f"a neighbour's model did not come ({_named(silent)})", silent.total(), (),
            "the average was taken over those that had come",
        )  # fmt: skip
    ticks = {round: tick for story in stories for round, tick in story.ticks.items()}
    if ticks:
        yield Incident(
            "the swarm's loss had risen for long enough (drift)", len(ticks), tuple(sorted(ticks)),
            f"plasticity was raised: the schedules' clock went back to {ranges(ticks.values())}",
        )  # fmt: skip
    for peer in sorted({peer for story in stories for peer in story.equivocated}):
        yield Incident(
            f"peer {peer[:8]} said two things where only one can be true", 1, (),
            "both frames prove it; their ids are in the journals",
        )  # fmt: skip
    for story in stories:
        for words in story.refusals:
            yield Incident(f"peer {story.peer[:8]} could not take part: {words}", 1, (), "it fell silent")


def _absences(run: Run, stories: Sequence[Story]) -> Iterator[Incident]:
    """Yield rounds that peers did not finish, by how that ended.

    A single round at the end is no absence: runs stop when the last round is written down. Nor is one in
    which the whole run was stopped: that is told of the run.
    """
    stops = {row.round for row in run.rounds if row.interrupted}
    end = run.rounds[-1].round if run.rounds else 0
    stopped: dict[int, Counter[str]] = {}
    back: Counter[str] = Counter()
    missed: set[int] = set()
    for story in stories:
        if not story.finished:
            continue
        last = max(story.finished)
        if last < end - 1:
            stopped.setdefault(last, Counter())[story.peer] = 1
        gaps = set(range(min(story.finished), last)) - story.finished - stops
        if gaps:
            back[story.peer] = len(gaps)
            missed |= gaps
    for last, peers in sorted(stopped.items()):
        yield Incident(
            f"a peer fell silent for good ({_named(peers)})", len(peers), tuple(range(last + 1, end + 1)),
            "the others went on without it",
        )  # fmt: skip
    if back:
        yield Incident(
            f"a peer was away for a round ({_named(back)})", back.total(), tuple(sorted(missed)),
            "it caught up from a later certificate",
        )  # fmt: skip


def _of_links(stories: Sequence[Story]) -> Iterator[Incident]:
    by_words: dict[str, list[tuple[Story, int, bool]]] = {}
    for story in stories:
        for trouble in story.troubles:
            by_words.setdefault(trouble.what, []).append((story, trouble.round, trouble.over))
    for words in sorted(by_words):
        found = by_words[words]
        over = sum(over for _, _, over in found)
        peers = Counter(story.peer for story, _, _ in found)
        if words.startswith("no connection"):
            done = f"reconnected {'every time' if over == len(found) else f'{over} of {len(found)} times'}"
        elif over:
            done = f"over again in {over} of {len(found)} cases"
        else:
            done = "the peer went on as well as it could"
        yield Incident(
            f"{words} ({_named(peers)})", len(found), tuple(sorted({round for _, round, _ in found})), done
        )


def _of_frames(stories: Sequence[Story]) -> Iterator[Incident]:
    refused = sum((story.refused for story in stories), Counter[str]())
    del refused[ForeignFrameError.__name__]  # who moves on hears its old cell a moment longer: no failure
    for reason, count in sorted(refused.items(), key=lambda item: (-item[1], item[0])):
        yield Incident(f"an arriving frame was refused: {reason}", count, (), "it was thrown away")
    dropped, unsent = (sum(getattr(story, name) for story in stories) for name in ("dropped", "unsent"))
    if dropped:
        yield Incident(
            "a frame came while a peer's queue was full", dropped, (),
            "the oldest was dropped; the protocol asks again for what still matters",
        )  # fmt: skip
    if unsent:
        yield Incident(
            "a frame could not be sent: the link was down",
            unsent,
            (),
            "what still mattered was said again later",
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _named(peers: Counter[str]) -> str:
    """Return up to four peers, those with the most first."""
    ordered = sorted(peers, key=lambda peer: (-peers[peer], peer))
    shown = ", ".join(f"{peer[:8]} {peers[peer]}x" if peers[peer] > 1 else peer[:8] for peer in ordered[:4])
    return shown + (f" and {len(ordered) - 4} more" if len(ordered) > 4 else "")
