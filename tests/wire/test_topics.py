"""The topic tree, literally."""

import pytest

from swarmdem.errors import MalformedFrameError
from swarmdem.identifiers import PeerId
from swarmdem.wire import messages as m, topics
from tests.wire import samples

SCOPE = samples.fill(0xC0)
ME = PeerId(samples.fill(0x0E, 16))
YOU = PeerId(samples.fill(0x0F, 16))
C, E, F = "c0" * 16, "0e" * 16, "0f" * 16


def test_topics_are_the_documented_ones():
    assert topics.hello("plant-7", ME) == f"swarmdem/1/736ad9205bfd632735f1d4786d6c3d3f/all/hello/{E}"
    assert topics.hello_all("plant-7") == "swarmdem/1/736ad9205bfd632735f1d4786d6c3d3f/all/+/+"
    assert topics.everyone(SCOPE, m.BlobWant, ME) == f"swarmdem/1/{C}/all/blobwant/{E}"
    assert topics.everyone_all(SCOPE) == f"swarmdem/1/{C}/all/+/+"
    assert topics.inbox(SCOPE, YOU, ME) == f"swarmdem/1/{C}/to/{F}/{E}"
    assert topics.inbox_all(SCOPE, ME) == f"swarmdem/1/{C}/to/{E}/+"
    assert topics.bulk(SCOPE, YOU, ME) == f"swarmdem/1/{C}/bulk/{F}/{E}"
    assert topics.bulk_all(SCOPE, ME) == f"swarmdem/1/{C}/bulk/{E}/+"


@pytest.mark.parametrize("message", samples.MESSAGES, ids=samples.name_of)
def test_no_topic_has_more_than_seven_levels_below_the_first(message):
    for receiver in (None, YOU):
        assert topics.topic_of(message, SCOPE, ME, receiver).count("/") <= 7


def test_a_message_goes_where_its_kind_and_receiver_say():
    ping, want = m.Ping(samples.fill(1)), m.BlobWant(samples.fill(1), True, (), 1)

    assert topics.topic_of(ping, SCOPE, ME) == f"swarmdem/1/{C}/all/ping/{E}"
    assert topics.topic_of(ping, SCOPE, ME, YOU) == f"swarmdem/1/{C}/to/{F}/{E}"
    assert topics.topic_of(want, SCOPE, ME, YOU) == f"swarmdem/1/{C}/bulk/{F}/{E}"


def test_the_sender_is_the_last_level():
    assert topics.sender_of(topics.inbox(SCOPE, YOU, ME)) == ME
    for bad in ("", "x/", f"x/{E}0", f"x/{E.upper()}", "x/" + "٣" * 32):
        with pytest.raises(MalformedFrameError):
            topics.sender_of(bad)


def test_the_scope_is_the_level_below_the_version():
    assert topics.scope_of(topics.bulk(SCOPE, YOU, ME)) == C
    for bad in ("", "x", "swarmdem/1", f"swarmdem/1/{C}", f"swarmdem/2/{C}/all/ping/{E}"):
        assert topics.scope_of(bad) == ""
