"""How a peer starts in cells: what its charter and settings must be, its core, and its port.

A flat swarm's peer takes the same way with one charter.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from swarmdem.errors import ConfigError
from swarmdem.identifiers import CellId
from swarmdem.node.cells import AnyCore
from swarmdem.node.joining import Reach, open_port
from swarmdem.node.models import ModelShelf
from swarmdem.node.parts import trusted_records
from swarmdem.protocol.cells.charters import cell_charter, in_cells, limit_of, region_charter
from swarmdem.protocol.cells.core import CellCore
from swarmdem.protocol.cells.entries import site_of
from swarmdem.protocol.cells.records import REGION
from swarmdem.protocol.cells.staying import key_of
from swarmdem.protocol.core import Core
from swarmdem.protocol.events import Slot
from swarmdem.transport.base import Link, Port
from swarmdem.wire import topics
from swarmdem.wire.cells import SWARM, cell_settings
from swarmdem.wire.charter import Charter, charter_hash
from swarmdem.wire.codec import FrameSealer
from swarmdem.wire.messages import Offline

Records = Mapping[str, bytes]
SITE_MAX = 64
"""Bytes of a site's name."""


def refuse_in_cells(
    charter: Charter, *, reach: Reach | None = None, record: bool = False, site: str = ""
) -> None:
    """Refuse what does not work in cells, and in a flat swarm what needs them.

    Args:
        charter: The swarm's.
        reach: How brokers are found; None: not decided here.
        record: Every round's evidence is wanted.
        site: Where the peer is.

    Raises:
        ConfigError: A setting does not go with cells; the line names it.
    """
    settings = cell_settings(charter.ext)
    if settings is None and site:
        raise ConfigError(f"site = {site!r}: changes nothing, the charter has no cells")
    if settings is None:
        return
    if settings.kind != SWARM:
        raise ConfigError("charter.ext: of a cell or region, which follow from the swarm's charter")
    if not site.isprintable() or len(site.encode()) > SITE_MAX:
        raise ConfigError(f"site = {site!r:.80}: at most {SITE_MAX} bytes of printable text")
    in_cells(charter, settings.limit)
    rules = (
        ("charter.codec", charter.codec == "raw", "raw"),
        ("record", not record, "no record: the rounds of different cells would be mixed up"),
        ("host_broker", reach is None or reach.host_broker is None, "brokers that are named (brokers)"),
        ("discover", reach is None or not reach.discover, "brokers that are named (brokers)"),
    )
    for setting, good, wanted in rules:
        if not good:
            raise ConfigError(f"{setting}: does not go with cells, which need {wanted}")


def core_of(
    charter: Charter,
    sealer: FrameSealer,
    records: Records,
    shelf: ModelShelf,
    *,
    capability: int,
    site: str,
) -> AnyCore:
    """Return the core of a peer of the swarm of *charter*, as its records and models let it go on."""
    if not limit_of(charter):
        return Core(charter, sealer, stored=trusted_records(records, shelf, sealer), capability=capability)
    trusted = dict(records)
    region = sealer.under(region_charter(charter))
    parts = [(f"{REGION}-", region, Slot.CELL)]
    if (cell := _cell_of(records)) is not None:
        parts.append((key_of(cell, ""), sealer.under(cell_charter(charter, cell)), Slot.UPLOAD))
    for prefix, own, slot in parts:
        mine = {key.removeprefix(prefix): value for key, value in trusted.items() if key.startswith(prefix)}
        for key in mine.keys() - trusted_records(mine, shelf, own, slot).keys():
            del trusted[prefix + key]
    return CellCore(charter, sealer, stored=trusted, capability=capability, site=site_of(site))


async def port_of(
    stack: AsyncExitStack, link: Link, charter: Charter, sealer: FrameSealer, records: Records
) -> Port:
    """Return a peer's port on *link*; it ends with *stack*. In cells the core says what to subscribe to."""
    if not limit_of(charter):
        return await open_port(stack, link, charter, sealer)
    cell = _cell_of(records)
    under = charter if cell is None else cell_charter(charter, cell)
    will = sealer.under(under).seal(Offline(leaving=False))
    topic = topics.everyone(charter_hash(under), Offline, sealer.peer)
    port = await link.open_port(will=(topic, will.raw))
    stack.push_async_callback(port.close)
    return port


def _cell_of(records: Records) -> CellId | None:
    """Return the cell that the records say a peer is in."""
    cell = records.get("cell", b"")
    return CellId(cell) if len(cell) == 16 else None
