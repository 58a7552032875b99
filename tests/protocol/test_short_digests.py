"""Digests say how a model compares only where a tree is made from it."""

from dataclasses import replace

from msgspec import structs

from swarmdem.protocol.plans import digest_refusal
from swarmdem.wire.messages import Digest
from tests.protocol.core_swarm import CoreSwarm


def swarm_at_round(number, **settings):
    swarm = CoreSwarm(3, **settings)
    swarm.start(*range(3))
    assert swarm.run(lambda: min(core.status().round for core in swarm.cores.values()) >= number)
    return swarm


def sketched_rounds(swarm):
    digests = [m for _, m in swarm.sent if isinstance(m, Digest) and m.model]
    assert {bool(digest.sketch) == bool(digest.reference) for digest in digests} == {True}
    return sorted({digest.round for digest in digests if digest.sketch})


def test_only_the_digests_a_tree_is_made_from_have_a_sketch():
    swarm = swarm_at_round(7, tau=3)

    assert sketched_rounds(swarm)[:3] == [1, 4, 7]


def test_where_drift_may_end_a_tree_early_all_digests_have_one():
    swarm = swarm_at_round(4, tau=3, drift=1)

    assert sketched_rounds(swarm)[:4] == [1, 2, 3, 4]


def test_a_digest_without_a_sketch_is_refused_where_a_tree_is_made_from_it():
    swarm = swarm_at_round(3, tau=3)
    short, long = (
        next(m for _, m in swarm.sent if isinstance(m, Digest) and m.model and m.round == number)
        for number in (2, 1)
    )
    base = swarm.cores[0].round_record().base
    kept, ending = (replace(base, plan=structs.replace(base.plan, tau=tau)) for tau in (2, 1))

    assert digest_refusal(swarm.charter, kept, short) == ""
    assert digest_refusal(swarm.charter, kept, long) == ""
    assert digest_refusal(swarm.charter, ending, short) == "sketch of 0 buckets instead of 16"
