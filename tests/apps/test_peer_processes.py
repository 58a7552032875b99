"""A deployment in small: peers as processes that come late, die and come back."""

from pathlib import Path

import pytest

from tests.apps.peer_processes import PeerProcesses


@pytest.mark.timeout(180)
def test_four_peers_one_late_one_killed_and_restarted(tmp_path: Path):
    """A late peer joins, a killed one comes back as itself with its model, the others never stop."""
    with PeerProcesses(tmp_path, patience=2.0, levels=1, founders=3) as peers:
        peers.start(0, 1, 2)
        peers.wait(lambda: all(len(peers.applied(i)) >= 3 for i in range(3)))

        peers.start(3)
        peers.wait(lambda: len(peers.applied(3)) >= 3)
        together = peers.applied(3)[-1]
        peers.wait(lambda: all(together in peers.applied(i) for i in range(4)))

        peers.kill(1)
        before = peers.applied(1)
        died_at = {i: peers.applied(i)[-1] for i in (0, 2, 3)}
        peers.wait(lambda: all(peers.applied(i)[-1] >= died_at[i] + 3 for i in (0, 2, 3)))

        peers.start(1)
        peers.wait(lambda: len(peers.applied(1)) >= len(before) + 3)
        after = peers.applied(1)[len(before) :]
        peers.wait(lambda: all(after[-1] in peers.applied(i) for i in (0, 2, 3)))

    rounds = {i: peers.applied(i) for i in range(4)}
    for applied in rounds.values():
        assert applied == sorted(set(applied)), "the round of applied plans rises strictly"
    assert after[0] > before[-1]
    certified = [e for i in (0, 2, 3) for e in peers.events(i, "round_finished")]
    assert all(e["certified"] for e in certified)
    for i in (0, 2, 3):
        missed = set(range(rounds[i][0], rounds[i][-1] + 1)) - set(rounds[i])
        assert len(missed) <= len(rounds[i]) // 4, f"peer {i} missed rounds {sorted(missed)}"
    starts = [line for line in (tmp_path / "peer-1.log").read_text().splitlines() if " of swarm " in line]
    assert len(starts) == 2
    assert starts[0] == starts[1], "it came back as the same peer"


@pytest.mark.timeout(300)
def test_aggregators_killed_in_the_middle_of_an_update(tmp_path: Path):
    """Killed between its election and its result: the round ends for all, and the next is certified."""
    with PeerProcesses(tmp_path, patience=3.0, levels=2, founders=7) as peers:
        dead, last = set(range(7)), -1
        for level in (1, 2, 3):
            peers.start(*dead)
            peers.wait(lambda: all(max(peers.applied(i), default=-1) > last + 1 for i in dead))  # noqa: B023
            victim, last = killed_in_office(peers, level)
            dead = {victim}
            others = [i for i in range(7) if i != victim]
            peers.wait(lambda: all(peers.applied(i)[-1] > last + 1 for i in others))  # noqa: B023

            ends = [{e["round"]: e for e in peers.events(i, "round_finished")} for i in others]
            for finished in ends:
                assert last not in finished or finished[last]["applied"] or finished[last]["reason"]
                assert all(e["certified"] for number, e in finished.items() if number > last)
            assert any(last in finished for finished in ends)
            assert any(last + 1 in finished for finished in ends)


def killed_in_office(peers: PeerProcesses, level: int) -> tuple[int, int]:
    """Kill an aggregator of *level* between its election and its result; return it and the round."""
    everybody = range(7)
    since = max(peers.applied(i)[-1] for i in everybody)

    def unfinished(i: int) -> int | None:
        elected = (e for e in peers.events(i, "elected") if e["level"] == level and e["rank"] == 0)
        duties = [e for e in elected if e["round"] > since]
        done = {(e["round"], e["group"]) for e in peers.events(i, "group_finished")}
        due = duties and (duties[-1]["round"], duties[-1]["group"]) not in done
        return duties[-1]["round"] if due else None

    for _ in range(10):
        peers.wait(lambda: any(unfinished(i) is not None for i in everybody))
        victim = next((i for i in everybody if unfinished(i) is not None), 0)
        peers.kill(victim)
        last = unfinished(victim)
        if last is not None:
            return victim, last
        peers.start(victim)
    raise AssertionError("no aggregator was caught in office")
