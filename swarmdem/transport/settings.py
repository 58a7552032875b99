"""Where a broker is, how to be let in, and how a link to it behaves.

`mqtt://user:password@host:port`, and with TLS
`mqtts://user:password@host:port?cafile=FILE&certfile=FILE&keyfile=FILE&insecure=1`; all but the
host is optional. User, password and file names are percent-decoded. The password never appears
in `str` or `repr`, so that an address can be logged as it is.

`mqtt://a,b:1884,c` is *one* broker with several doors, the nodes of a cluster or bridged brokers: a
connection uses one of them, and the next when that one is lost.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from swarmdem.errors import ConfigError
from swarmdem.transport.arrivals import QueueLimits

PORTS = {"mqtt": 1883, "mqtts": 8883}
"""Schemes and the ports registered for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """How a TLS link proves the broker's identity and, where asked for, its own."""

    cafile: Path | None = None
    """Certificates to trust (PEM). None: those of the system."""
    certfile: Path | None = None
    """Our certificate (PEM), for brokers that ask clients for one."""
    keyfile: Path | None = None
    """Private key of `certfile`; None when it is in the same file."""
    insecure: bool = False
    """Accept any certificate. Whoever sits in between can then read and drop everything."""

    def context(self) -> ssl.SSLContext:
        """Return a client context of these files.

        Raises:
            ConfigError: A file is missing or is not what its name says.
        """
        if self.keyfile is not None and self.certfile is None:
            raise ConfigError(f"TLS key {self.keyfile} was given without its certificate")
        try:
            context = ssl.create_default_context(cafile=self.cafile)
        except OSError as error:
            raise ConfigError(f"TLS authority file {self.cafile}: {error.strerror or error}") from None
        if self.certfile is not None:
            try:
                context.load_cert_chain(self.certfile, self.keyfile)
            except OSError as error:
                raise ConfigError(f"TLS certificate {self.certfile}: {error.strerror or error}") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker's URL, taken apart."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    files: TlsFiles | None = None
    """What the URL says about TLS; None when it says nothing."""
    doors: tuple[tuple[str, int], ...] = ()
    """Hosts and ports to try after the first."""

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read *url*.

        Raises:
            ConfigError: Not `mqtt[s]://[user[:password]@]host[:port][,host[:port]...][?...]`.
        """
        try:
            parts = urlsplit(url)
            user, at, places = parts.netloc.rpartition("@")
            doors = [urlsplit(f"//{place}") for place in places.split(",")]
            found = [(door.hostname, door.port) for door in doors]
            parts = parts._replace(netloc=f"{user}{at}{doors[0].netloc}")
        except ValueError as error:
            raise ConfigError(f"broker URL {_without_password(url)!r}: {error}") from None
        if parts.scheme not in PORTS or not all(host for host, _ in found) or parts.path.strip("/"):
            raise ConfigError(
                f"broker URL {_without_password(url)!r} is not mqtt://[user:password@]host[:port], "
                "or mqtts:// for TLS"
            )
        standard = PORTS[parts.scheme]
        (host, port), *others = [(host or "", standard if port is None else port) for host, port in found]
        return cls(
            host=host,
            port=port,
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password is not None else None,
            files=_tls_files(url, parts.scheme, parts.query) if parts.query else None,
            doors=tuple(others),
        )

    def door(self, number: int) -> tuple[str, int]:
        """Return host and port of the door after *number* others, beginning again after the last."""
        return ((self.host, self.port), *self.doors)[number % (1 + len(self.doors))]

    def __str__(self) -> str:
        places = ((self.host, self.port), *self.doors)
        told = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in places)
        return f"{'mqtts' if self.tls else 'mqtt'}://{told}"


def _tls_files(url: str, scheme: str, query: str) -> TlsFiles:
    """Read what follows the question mark of *url*."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(given.keys() - {"cafile", "certfile", "keyfile", "insecure"})
    if scheme != "mqtts" or unknown or "" in given.values() or given.get("insecure", "1") not in ("0", "1"):
        raise ConfigError(
            f"broker URL {_without_password(url)!r}: after the question mark, with mqtts:// only: "
            "cafile=FILE, certfile=FILE, keyfile=FILE, insecure=1"
        )
    files = {name: Path(value) for name, value in given.items() if name != "insecure"}
    return TlsFiles(
        cafile=files.get("cafile"),
        certfile=files.get("certfile"),
        keyfile=files.get("keyfile"),
        insecure=given.get("insecure") == "1",
    )


def _without_password(url: str) -> str:
    """Return *url* with whatever stands before the last `@` hidden."""
    scheme, separator, rest = url.partition("://")
    if "@" not in rest:
        return url
    return f"{scheme}{separator}...@{rest.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """How a link behaves, whatever the broker's address."""

    tls: TlsFiles = field(default_factory=TlsFiles)
    """Used with `mqtts://`, unless the URL names files itself."""
    client_id: str = "swarmdem"
    """Beginning of the client ids; a random part and the connection's letter follow. Up to 12
    characters keep within the 23 that every 3.1.1 broker must take."""
    keepalive_s: int = 10
    """A silent broker is noticed after one to two times this; the broker notices us after 1.5 times."""
    backoff_min_s: float = 0.2
    backoff_max_s: float = 10.0
    """Wait before another attempt: doubles from min to max, less up to half of it at random."""
    attempt_s: float = 5.0
    """Time for a broker to answer CONNECT and SUBSCRIBE."""
    window_messages: int = 64
    window_bytes: int = 8 * 2**20
    """Handed to one connection and not yet acknowledged."""
    queue: QueueLimits = field(default_factory=QueueLimits)
    """Unread arrivals of one port, for each connection."""
