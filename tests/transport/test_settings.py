from pathlib import Path

import pytest

from swarmdem.errors import ConfigError
from swarmdem.transport.settings import BrokerAddress, TlsFiles


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://box", BrokerAddress("box", 1883)),
        ("mqtts://box", BrokerAddress("box", 8883, tls=True)),
        ("mqtt://box:99/", BrokerAddress("box", 99)),
        ("mqtt://[::1]:99", BrokerAddress("::1", 99)),
        ("mqtt://ann:p%40ss@box", BrokerAddress("box", 1883, username="ann", password="p@ss")),
        ("mqtt://ann:@box", BrokerAddress("box", 1883, username="ann", password="")),
        (
            "mqtts://ann:a,b@box,[::1]:99,den",
            BrokerAddress(
                "box", 8883, tls=True, username="ann", password="a,b", doors=(("::1", 99), ("den", 8883))
            ),
        ),
    ],
)
def test_urls_are_taken_apart(url: str, expected: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "box",
        "box:1883",
        "http://box",
        "mqtt://",
        "mqtt://box:x",
        "mqtt://box:99999",
        "mqtt://box/a",
        "mqtt://box,",
        "mqtt://box,den:x",
    ],
)
def test_other_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match="broker URL"):
        BrokerAddress.parse(url)


def test_a_url_may_name_the_files_of_tls() -> None:
    url = "mqtts://box?cafile=/etc/our%20ca.crt&certfile=me.crt&keyfile=me.key"

    assert BrokerAddress.parse(url).files == TlsFiles(
        cafile=Path("/etc/our ca.crt"), certfile=Path("me.crt"), keyfile=Path("me.key")
    )
    assert BrokerAddress.parse("mqtts://box?insecure=1").files == TlsFiles(insecure=True)
    assert BrokerAddress.parse("mqtts://box").files is None


def test_a_password_is_never_shown() -> None:
    address = BrokerAddress.parse("mqtts://ann:secret@box")
    with pytest.raises(ConfigError) as refused:
        BrokerAddress.parse("http://ann:secret@box")

    assert str(address) == "mqtts://box:8883"
    assert "secret" not in f"{address} {address!r} {refused.value}"


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")

    with pytest.raises(ConfigError, match=r"missing\.pem"):
        TlsFiles(cafile=missing).context()
    with pytest.raises(ConfigError, match=r"wrong\.pem"):
        TlsFiles(cafile=wrong).context()
    with pytest.raises(ConfigError, match=r"wrong\.pem"):
        TlsFiles(certfile=wrong).context()
    with pytest.raises(ConfigError, match=r"key .*wrong\.pem .* without"):
        TlsFiles(keyfile=wrong).context()


def test_doors_come_in_turn_and_all_are_shown() -> None:
    address = BrokerAddress.parse("mqtt://a,b:2")

    assert [address.door(number) for number in range(3)] == [("a", 1883), ("b", 2), ("a", 1883)]
    assert str(address) == "mqtt://a:1883,b:2"
