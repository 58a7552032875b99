"""Liars among the peers: the others keep every promise, and each way to lie is really tried."""

import contextlib
import random

import pytest

from swarmdem.errors import WireError
from swarmdem.identifiers import SECOND
from swarmdem.simulation.evidence import Broken
from swarmdem.simulation.faults import LIES, Fault, Kind
from swarmdem.simulation.forgeries import Forger
from swarmdem.simulation.runs import Settings, run
from swarmdem.simulation.schedules import Schedule
from swarmdem.simulation.signatures import VERIFIER, PretendedIdentity
from swarmdem.wire.charter import Charter, TensorSpec, charter_hash, swarm_hash
from swarmdem.wire.codec import FrameReader, FrameSealer
from swarmdem.wire.messages import Digest, Ping, Proposal, Skip, Vote
from swarmdem.wire.shortened import ShortCertificate


def lying(*kinds, peers=7, liar=3, seed=1):
    share = {Kind.SILENCE: 0.5, Kind.FORGET: 2.0}
    faults = tuple(Fault(kind, 12 * SECOND, 60 * SECOND, (liar,), share.get(kind, 0.0)) for kind in kinds)
    return Schedule(seed=seed, peers=peers, rounds=4, faults=faults).run(whole_trace=True)


@pytest.mark.parametrize("seed", range(5))
def test_no_invariant_breaks_for_the_honest(seed):
    outcome = run(Settings(seed=seed, peers=7, rounds=4, vary=True, liars=True))

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])


@pytest.mark.parametrize("kind", [kind for kind in LIES if kind is not Kind.FORGE])
def test_each_way_to_lie_alone_costs_no_promise(kind):
    outcome = lying(kind).play()

    assert outcome.broken == "", "\n".join([outcome.broken, *outcome.last_lines])


def test_an_equivocator_says_two_things_and_is_reported():
    swarm = lying(Kind.EQUIVOCATE)

    assert swarm.play().broken == ""
    assert any("Equivocated" in line for line in swarm.world.trace.lines)


def test_a_forger_tries_hard_and_is_refused():
    swarm = lying(Kind.FORGE)

    outcome = swarm.play()

    assert outcome.broken == ""
    assert outcome.rejects > 10
    assert any("! forges" in line for line in swarm.world.trace.lines)


def test_bytes_that_raise_anything_but_a_refusal_are_found_out(monkeypatch):
    def fragile(self, raw, *, scopes):
        raise KeyError(raw[3])

    swarm = lying()
    monkeypatch.setattr(FrameReader, "read", fragile)

    with pytest.raises(Broken, match="bytes of another never raise"):
        swarm.world.inject(swarm.world.peers[0], bytes(200))


CHARTER = Charter(swarm="test", digest=64, schema=(TensorSpec("w", (9,), "float32"),))


def test_many_forgeries_do_not_even_reach_a_core():
    """Those that do are well-formed and well signed: only a core can know that they are wrong."""
    forger, reader = Forger(CHARTER, random.Random(1)), FrameReader(VERIFIER)
    identity = PretendedIdentity(1)
    said = FrameSealer(identity, CHARTER, 1, VERIFIER).seal(Ping(bytes(32)))
    scopes = (charter_hash(CHARTER), swarm_hash(CHARTER.swarm))
    refused, read = 0, set()

    for _ in range(1500):
        raw = forger.forge(identity, 1, said, (), invents=True)
        try:
            read.add(type(reader.read(raw, scopes=scopes).message).__name__)
        except WireError:
            refused += 1

    assert refused > 450
    assert {kind.__name__ for kind in (Digest, Ping, Proposal, Skip, Vote)} <= read
    assert {"Certificate", "Mean", "Final", "Want", "Hello", "Bundle", "Summary"} <= read
    assert {"ShortProposal", "ShortCertificate", "DigestPack", "ShortMean"} <= read


def test_votes_are_made_up_beside_those_that_were_heard():
    forger, identity = Forger(CHARTER, random.Random(1)), PretendedIdentity(1)
    sealer = FrameSealer(identity, CHARTER, 1, VERIFIER)
    said, signatures = sealer.seal(Ping(bytes(32))), bytes(range(1, 193))
    heard = sealer.seal(ShortCertificate(b"b" * 32, b"p" * 32, 0, b"\x07", signatures))
    kept = set()

    for _ in range(1500):
        message = forger.forge(identity, 1, said, (heard,), invents=False)
        with contextlib.suppress(WireError):
            short = sealer.open(message).message
            if (
                isinstance(short, ShortCertificate)
                and short.plan == b"p" * 32
                and len(short.signatures) == 192
            ):
                kept.add(next(n for n in (128, 64, 0, 192) if short.signatures[:n] == signatures[:n]))

    assert kept == {0, 64, 128}
