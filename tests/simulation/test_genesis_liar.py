"""A founder that lies about the sketch of its model (metric `cosine`) is found out by whoever fetches it."""

from dataclasses import replace

import pytest

from swarmdem.protocol.events import Degraded, Publish, Report, Train
from swarmdem.simulation.runs import Run, Settings
from swarmdem.wire.messages import FOUNDING, Proposal

LIE = "the reference model cannot be used: its founder gave a sketch that is not of this model"
GIVEN_UP = "the founding is given up: nobody in sight has its first model"


def founded(seed, liar=None):
    """Play a swarm; return the founding proposers in order, what was told, and each peer's last reference."""
    settings = Settings(seed=seed, peers=4, rounds=4, faults=False)
    run = Run(settings, charter={"metric": "cosine"}, faults=())
    if liar is not None:
        peer = run.world.peers[liar]
        offered = peer._offered
        peer._offered = lambda: lying(offered())
    founders, told, references, observe = [], [], {}, run.world.observe

    def watch(peer, effect):
        observe(peer, effect)
        match effect:
            case Publish(frame) if isinstance(frame.message, Proposal) and frame.message.mode == FOUNDING:
                founders.append(peer.index)
            case Report(Degraded(what=what)):
                told.append((peer.index, what))
            case Train(reference=reference):
                references[peer.index] = reference

    run.world.observe = watch
    outcome = run.play()
    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])
    return founders, told, references


def lying(offered):
    """Move every bucket by one place."""
    return replace(offered, sketch=offered.sketch[2:] + offered.sketch[:2])


@pytest.mark.parametrize("seed", [0, 2])
def test_a_founding_with_a_false_sketch_is_refused_in_plain_words_and_another_peer_founds(seed):
    founders, told, references = founded(seed)
    liar = founders[0]
    honest = {0, 1, 2, 3} - {liar}
    assert told == []
    assert len(set(references.values())) == 1

    founders, told, anew = founded(seed, liar)

    assert founders[0] == liar
    assert founders[-1] in honest
    assert {(peer, LIE) for peer in honest} | {(peer, GIVEN_UP) for peer in honest} <= set(told)
    assert len(set(anew.values())) == 1, "the liar comes after"
    assert set(anew.values()).isdisjoint(references.values())
