"""What a worker says of its peers."""

from swarmdem.apps.hosting import without_seconds


def test_two_pauses_of_one_machine_are_one_news_and_two_brokers_are_two():
    assert without_seconds("this peer stood still for 2.0 s") == without_seconds(
        "this peer stood still for 11.5 s"
    )
    one, other = (f"running without mqtt://127.0.0.1:{port}" for port in (1883, 1884))
    assert without_seconds(one) != without_seconds(other)
