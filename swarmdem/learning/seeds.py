"""Seeds for a round's order of batches, from the seed of a learner and the number of the round."""

from hashlib import blake2b


def round_seed(seed: int, round: int) -> int:
    """Return 63 bits that differ between rounds and between learners' seeds.

    A hash rather than a sum, so that peer 1 in round 2 and peer 2 in round 1 share no order.
    """
    named = f"{seed}/{round}".encode()
    return int.from_bytes(blake2b(named, digest_size=8, person=b"sd/round").digest(), "big") >> 1
