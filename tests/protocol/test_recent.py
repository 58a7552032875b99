"""The last few outcomes of a pure function are known again."""

import pytest

from swarmdem.protocol import recent as module
from swarmdem.protocol.recent import KEPT, Recent, keep_for


@pytest.fixture(autouse=True)
def _no_cells(monkeypatch):
    """Forget the cells that peers of other tests were in."""
    monkeypatch.setattr(module, "_cells", {})


def test_what_was_asked_lately_is_not_computed_again():
    recent, computed = Recent(), []

    def compute():
        computed.append(1)
        return [7]

    first = recent.get(("a", {"b": 1}), compute)

    assert recent.get(("a", {"b": 1}), compute) is first
    assert recent.get(("a", {"b": 2}), compute) == [7]
    assert len(computed) == 2


def test_the_oldest_goes():
    recent, computed = Recent(), []

    def ask(number):
        return recent.get(number, lambda: computed.append(number))

    for number in (*range(KEPT + 1), KEPT, 0):
        ask(number)

    assert computed == [*range(KEPT + 1), 0]


@pytest.mark.parametrize("cells", [1, 2])
def test_the_oldest_name_goes_later_the_more_cells_there_are(cells):
    recent, computed = Recent(), []
    for cell in (b"a", b"a", b"b")[: cells + 1]:
        keep_for(cell, recent)

    def ask(number):
        return recent.get("what", lambda: computed.append(number), about=bytes([number]))

    for number in (*range(KEPT * cells + 1), 1, 0):
        ask(number)

    assert computed == [*range(KEPT * cells + 1), 0]


def test_what_fails_is_asked_anew():
    recent = Recent()

    def fail():
        raise ValueError

    for _ in range(2):
        try:
            recent.get("a", fail)
        except ValueError:
            continue
        raise AssertionError
    assert recent.get("a", lambda: 1) == 1


def test_what_another_thread_asks_meanwhile_disturbs_nobody():
    recent = Recent()

    class Asked:
        """While it is compared, another thread asks for something else."""

        def __eq__(self, other):
            recent.get(object(), lambda: 0)
            return False

        __hash__ = None

    recent.get("a", lambda: 1)
    recent.get("b", lambda: 2)

    assert recent.get(Asked(), lambda: 3) == 3
