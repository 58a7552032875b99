import pytest

from swarmdem.node.watching import LinkWatch
from swarmdem.protocol.events import Degraded, LinkChanged, Recovered
from swarmdem.transport.base import NOT_YET, LinkState


class Recording:
    def __init__(self):
        self.inputs, self.downloads, self.told = [], [], []
        self.watch = LinkWatch(deliver=self.inputs.append, downloads=self, report=self.told.append)

    def link_changed(self, *, up):
        self.downloads.append(up)


@pytest.fixture
def link():
    return Recording()


def test_the_core_hears_of_changes_and_of_brokers_that_join(link):
    for state in (
        LinkState(True), LinkState(True, away=("a",)), LinkState(True, joined=True), LinkState(False, "lost"),
    ):  # fmt: skip
        link.watch.changed(state)

    assert link.inputs == [LinkChanged(True), LinkChanged(True), LinkChanged(False)]
    assert link.downloads == [True, False]


def test_a_trouble_is_told_to_be_over_when_it_is_whatever_else_begins(link):
    for state in (
        LinkState(False, NOT_YET), LinkState(False, "refused"), LinkState(False, "unknown host"),
        LinkState(True, away=("a",)), LinkState(True, away=("a", "b")), LinkState(False, "lost"),
        LinkState(True, away=("b",)), LinkState(True),
    ):  # fmt: skip
        link.watch.changed(state)

    assert link.told == [
        Degraded("no connection to the broker: refused"),
        Degraded("no connection to the broker: unknown host"),
        Recovered("no connection to the broker: refused"),
        Recovered("no connection to the broker: unknown host"),
        Degraded("running without a"),
        Degraded("running without b"),
        Degraded("no connection to the broker: lost"),
        Recovered("running without a"),
        Recovered("no connection to the broker: lost"),
        Recovered("running without b"),
    ]


def test_the_same_trouble_is_told_once(link):
    link.watch.changed(LinkState(False, "refused"))
    link.watch.changed(LinkState(False, "refused"))

    assert link.told == [Degraded("no connection to the broker: refused")]
