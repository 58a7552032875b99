from swarmdem.transport.base import Arrival
from swarmdem.transport.duplicates import Duplicates, name_of

HELLO, OTHER = name_of("t", b"hello"), name_of("t", b"other")


def test_the_first_copy_is_news_and_those_of_other_brokers_are_not() -> None:
    duplicates = Duplicates()

    assert [duplicates.news(HELLO, broker) for broker in (1, 0, 2)] == [True, False, False]
    assert duplicates.suppressed == 2


def test_a_repetition_is_news_once_more() -> None:
    duplicates = Duplicates()

    assert [duplicates.news(HELLO, broker) for broker in (0, 1, 0, 1)] == [True, False, True, False]


def test_after_a_lost_copy_the_repetition_passes_over_the_broker_that_kept_up() -> None:
    duplicates = Duplicates()

    assert [duplicates.news(HELLO, broker) for broker in (0, 0, 1, 0)] == [True, True, False, True]


def test_messages_and_topics_are_told_apart() -> None:
    duplicates = Duplicates()

    assert duplicates.news(HELLO, 0)
    assert duplicates.news(OTHER, 1)
    assert duplicates.news(name_of("u", b"hello"), 1)


def test_the_oldest_is_forgotten_first() -> None:
    duplicates = Duplicates(remembered_max=1)
    duplicates.news(HELLO, 0)
    duplicates.news(OTHER, 0)

    assert not duplicates.news(OTHER, 1)
    assert duplicates.news(HELLO, 1)


def test_an_arrival_has_the_name_of_its_topic_and_payload() -> None:
    assert Duplicates().name(Arrival("t", b"hello")) == HELLO
