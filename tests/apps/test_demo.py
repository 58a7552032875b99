"""What the demo says at its end."""

from swarmdem.apps import demo

SUMMARY = {
    "rounds": 2,
    "peers": 3,
    "untrained_c_gen": 0.125,
    "final": {"c_gen": {"after_update": 0.5}, "c_spe": {"after_update": None}},
}


def test_a_peer_alone_is_not_told_of_as_many():
    assert demo._told(SUMMARY | {"peers": 1, "rounds": 1}) == (
        "The only peer saw two of the ten digits, with nobody to learn from. Of its own test digits an "
        "untrained model gets 0.125 right; after 1 round its model gets an unknown share."
    )
    assert demo._told(SUMMARY).startswith("Each of the 3 peers saw two of the ten digits.")
    assert demo._told(SUMMARY).endswith(
        "after 2 rounds a peer's model gets 0.500, and of its own an unknown share."
    )
