"""What the leaders of a cell's root do with the region's result."""

from swarmdem.identifiers import GroupId, ModelHash, PeerId, PlanId
from swarmdem.protocol.cells.rooting import Rooting
from swarmdem.protocol.events import Averaged
from swarmdem.protocol.remarks import above_ext
from swarmdem.wire.messages import Final

PLAN, ROOT, BASE = PlanId(b"p" * 32), GroupId(b"r" * 16), b"b" * 32
ABOVE, BELOW, MEAN = (ModelHash(letter * 32) for letter in (b"a", b"l", b"m"))


def averaged(below):
    return Averaged(PLAN, ROOT, MEAN, 32, below=below)


def test_a_result_goes_into_one_root_mean_and_only_that_one_says_so():
    rooting = Rooting()
    rooting.told(Final(PLAN, 0, ROOT, 0, False, ABOVE, 32, ()), PeerId(b"s" * 16), BASE)
    rooting.fetched(ABOVE)

    assert rooting.goes_into(ROOT, (BASE,)) == ABOVE
    assert rooting.averaged(averaged(BELOW)) == rooting.ext == above_ext(ABOVE, BELOW)
    assert rooting.goes_into(ROOT, (BASE,)) is None
    assert rooting.averaged(averaged(None)) == rooting.ext == ()
