"""The charters that follow from that of a swarm in cells: anybody derives them, nobody sends them.

Cells and region share the swarm's first model and the seed of its sketches (`plans.founding_base`), so
that the digests of any two peers can be compared. Hence `genesis` must be fixed in the swarm's charter:
cells that were each founded from a model of their own could not be averaged.
"""

from hashlib import blake2b

from msgspec import structs

from swarmdem.errors import ConfigError
from swarmdem.identifiers import CellId, PeerId, PlanId
from swarmdem.protocol.cells.entries import NO_SITE
from swarmdem.wire import topics
from swarmdem.wire.cells import CELL, LIMIT_MAX, LIMIT_MIN, REGION, SWARM, CellSettings, cell_settings
from swarmdem.wire.charter import Charter, charter_hash, swarm_hash
from swarmdem.wire.messages import LISTED_MAX


def in_cells(charter: Charter, limit: int) -> Charter:
    """Return the charter of the same swarm in cells of at most *limit* peers.

    Raises:
        ConfigError: The limit is out of range, or another setting does not go with cells.
    """
    if not LIMIT_MIN <= limit <= LIMIT_MAX:
        raise ConfigError(f"charter.cells: {limit} is not possible: {LIMIT_MIN} to {LIMIT_MAX}")
    rules = (
        ("genesis", len(charter.genesis) == 32, "the hash of the first model, which all cells must share"),
        ("update", charter.update == "tree", "tree: a gossiping cell has no root model"),
        ("pull_to", charter.pull_to == "parent", "parent: what is above a cell is mixed into its root model"),
        ("metric", charter.metric != "cosine", "euclidean or cosine_delta"),
    )
    for setting, good, wanted in rules:
        if not good:
            raise ConfigError(f"charter.{setting}: does not go with cells, which need {wanted}")
    return structs.replace(charter, ext=CellSettings(SWARM, limit).ext())


def limit_of(charter: Charter) -> int:
    """Return the most peers of a cell; 0 in a flat swarm."""
    settings = cell_settings(charter.ext)
    return settings.limit if settings is not None else 0


def cell_charter(swarm: Charter, cell: CellId) -> Charter:
    """Return the charter of one *cell* of the swarm whose charter is *swarm*."""
    limit = limit_of(swarm)
    return structs.replace(
        swarm,
        swarm=f"cell {cell.hex()}",
        peers_max=min(LISTED_MAX, 2 * limit),
        founders=max(1, min(limit // 4, 3 * swarm.founders // (4 * founding_cells(swarm)))),
        ext=CellSettings(CELL, limit, charter_hash(swarm), cell).ext(),
    )


def region_charter(swarm: Charter) -> Charter:
    """Return the charter of the region: the cells of *swarm* are its members and count as their peers do."""
    name = charter_hash(swarm)
    tables = tuple((kind, table) for kind, table in swarm.schedules if kind == "mixing")
    return structs.replace(
        swarm,
        swarm=f"region {name.hex()[:32]}",
        weights="samples",
        peers_max=LISTED_MAX,
        founders=founding_cells(swarm),
        schedules=tables,
        tau=1,
        newcomers="direct",
        outliers=0,
        drift=0,
        ext=CellSettings(REGION, limit_of(swarm), name).ext(),
    )


def founding_cells(swarm: Charter) -> int:
    """Return in how many cells the swarm's founders begin: as many as they fill to three quarters."""
    return max(1, -(-4 * swarm.founders // (3 * limit_of(swarm))))


def founding_cell(swarm: Charter, peer: PeerId, site: bytes = NO_SITE) -> CellId:
    """Return the cell of *site* in which *peer* begins with nothing to compare yet: its lot decides."""
    name = charter_hash(swarm)
    draw = int.from_bytes(blake2b(name + peer, digest_size=8, person=b"sd/lot").digest(), "big")
    return _founded(name, site, draw % founding_cells(swarm))


def first_cell(swarm: Charter, site: bytes) -> CellId:
    """Return the cell in which the peers of a *site* begin when others are there already, but none there."""
    return _founded(charter_hash(swarm), site, 0)


def _founded(name: bytes, site: bytes, number: int) -> CellId:
    return _cell(name + number.to_bytes(4, "big") + (site if site != NO_SITE else b""))


def new_cell(certificate: PlanId) -> CellId:
    """Return the name of the cell that leaves another by this *certificate* of it."""
    return _cell(certificate)


def _cell(origin: bytes) -> CellId:
    return CellId(blake2b(origin, digest_size=16, person=b"sd/cell").digest())


def patterns_between_sites(swarm: Charter) -> tuple[str, ...]:
    """Return the topics that brokers of different sites must pass on to each other: no cell's."""
    scopes = (*scopes_of(swarm), *scopes_of(region_charter(swarm)))
    return tuple(f"{topics.ROOT}/{topics.scope_level(scope)}/#" for scope in scopes)


def scopes_of(charter: Charter) -> tuple[bytes, bytes]:
    """Return the hashes that frames under *charter* are signed under: its own, and its name's."""
    return charter_hash(charter), swarm_hash(charter.swarm)
