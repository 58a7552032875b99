import json

import pytest

from swarmdem.errors import ConfigError
from swarmdem.node.announcements import ANNOUNCERS_MAX, FILE, URL_MAX, Announcements, packed, urls_in
from swarmdem.wire import charter as charters, extensions
from swarmdem.wire.charter import Charter
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Hello
from swarmdem.wire.signing import Identity

CHARTER = Charter(swarm="s")
BODY = charters.encode(CHARTER)
URL = "mqtt://192.168.1.7:1883"


def identity(number):
    return Identity.from_private_bytes(bytes([number]) * 32)


def hello(content=None, charter=BODY):
    ext = ((extensions.BROKERS, content),) if content is not None else ()
    return Hello(charter, bytes(16), 1, 1, 0, b"", ext)


class Announcer:
    def __init__(self, number, session=1):
        self.sealer = FrameSealer(identity(number), CHARTER, session)
        self.peer = self.sealer.peer

    def tells(self, announcements, *urls, charter=BODY):
        said = hello(packed(urls) if urls else None, charter)
        return announcements.hear(self.sealer.seal(said), said)


ANN, BOB = Announcer(1), Announcer(2)


def announcements(directory=None):
    return Announcements(identity(99).peer, BODY, directory)


def test_a_members_broker_is_known_and_a_strangers_is_not_until_it_is_listed():
    known, ann = announcements(), Announcer(1)
    assert not ann.tells(known, URL)
    assert known.urls == ()

    assert known.certified([ann.peer])

    assert known.urls == (URL,)


def test_the_newest_greeting_counts_and_may_take_a_broker_back():
    known, ann = announcements(), Announcer(1)
    known.certified([ann.peer])
    early = hello(packed([URL]))
    frame = ann.sealer.seal(early)
    ann.tells(known, "mqtt://10.0.0.1:1883")

    assert not known.hear(frame, early)
    assert known.urls == ("mqtt://10.0.0.1:1883",)
    assert Announcer(1, session=2).tells(known)
    assert known.urls == ()


def test_a_greeting_of_another_charter_says_nothing():
    known, ann = announcements(), Announcer(1)
    known.certified([ann.peer])

    assert not ann.tells(known, URL, charter=charters.encode(Charter(swarm="s", levels=1)))


def test_a_member_that_is_not_listed_for_a_round_is_still_believed():
    known, ann = announcements(), Announcer(1)
    known.certified([ann.peer])
    ann.tells(known, URL)

    assert not known.certified([])
    assert known.urls == (URL,)


def test_all_peers_choose_the_same_members_when_there_are_too_many():
    announcers = [Announcer(number) for number in range(1, ANNOUNCERS_MAX + 4)]
    here, there = announcements(), announcements()
    for known, order in ((here, announcers), (there, announcers[::-1])):
        known.certified([each.peer for each in announcers])
        for each in order:
            each.tells(known, f"mqtt://{each.peer.hex()}:1883")

    assert here.urls == there.urls
    assert len(here.urls) == ANNOUNCERS_MAX


@pytest.mark.parametrize(
    "line",
    [
        "http://a:1", "mqtt://user@a:1", "mqtt://user:pw@a:1", "mqtts://a:1?cafile=/etc/shadow",
        "mqtts://a?insecure=1", "mqtt://", "mqtt://a:0", "mqtt://a/b", "mqtt://a b:1", "mqtt://a\0:1",
        "file:///etc/passwd", "mqtt://" + "a" * URL_MAX, "\xff", "",
    ],
)  # fmt: skip
def test_what_is_no_bare_address_of_a_broker_is_left_out(line):
    assert urls_in(hello(line.encode("latin-1"))) == ()
    with pytest.raises(ConfigError, match="cannot be announced"):
        packed([line])


def test_a_greeting_announces_at_most_four():
    lines = "\n".join(f"mqtt://a:{port}" for port in range(1, 9))

    assert urls_in(hello(lines.encode())) == tuple(f"mqtt://a:{port}" for port in (1, 2, 3, 4))
    with pytest.raises(ConfigError, match="5 brokers are announced"):
        packed(["mqtt://a:1"] * 5)


def test_a_greeting_without_the_entry_announces_none():
    assert urls_in(hello()) == ()


def test_what_is_known_outlives_the_process(tmp_path):
    known = announcements(tmp_path)
    known.certified([ANN.peer, BOB.peer])
    ANN.tells(known, URL)
    known.write()

    again = announcements(tmp_path)

    assert again.urls == (URL,)
    assert not ANN.tells(again, URL)


@pytest.mark.parametrize("content", ["", "{", "3", "[3]", '[{"peer": "zz", "urls": [], "said": [1, 2]}]'])
def test_a_damaged_file_is_no_more_than_forgotten(tmp_path, content):
    (tmp_path / FILE).write_text(content)

    assert announcements(tmp_path).urls == ()


def test_a_file_that_names_something_else_is_not_believed(tmp_path):
    (tmp_path / FILE).write_text(json.dumps([{"peer": "00" * 16, "urls": ["file:///x"], "said": [1, 1]}]))

    assert announcements(tmp_path).urls == ()


def test_what_a_disk_does_not_take_is_kept_in_memory_and_written_once_there_is_room(tmp_path):
    known = announcements(tmp_path / "absent")
    assert not known.unwritten
    known.certified([BOB.peer])
    BOB.tells(known, URL)

    known.write()
    assert known.urls == (URL,)
    assert known.unwritten

    (tmp_path / "absent").mkdir()
    known.write()
    assert not known.unwritten
    assert announcements(tmp_path / "absent").urls == (URL,)
