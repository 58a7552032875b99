"""One peer's codec: what it sends of its models, what it makes of others', and what stays here."""

from collections import Counter

import numpy as np
import pytest

from swarmdem.errors import SchemaError
from swarmdem.identifiers import GroupId, ModelHash
from swarmdem.learning.compression import encode
from swarmdem.learning.encoded import FP16, INT8, NESTED, SPARSE, Base, nest, unnest
from swarmdem.learning.parameters import schema_of
from swarmdem.node.layout import Layout
from swarmdem.node.models import (
    BASES_MAX,
    ModelPool,
    ModelShelf,
    from_checkpoint,
    model_of,
    model_of_bytes,
    to_checkpoint,
)
from swarmdem.node.packing import EXACT, GROUP, RESIDUAL, Packing, root_of
from swarmdem.protocol.events import Slot
from swarmdem.wire.blobs import describe
from swarmdem.wire.charter import Charter

RANDOM = np.random.default_rng(3)
GENESIS = {"b": np.zeros(4, np.float32), "w": RANDOM.normal(0, 0.1, (20, 100)).astype(np.float32)}
SCHEMA = schema_of(GENESIS)
ONE, OTHER = GroupId(b"1" * 16), GroupId(b"2" * 16)


def model(step):
    """Return a model some steps away from the genesis, in a direction of its own."""
    way = np.random.default_rng(step).standard_t(3, (20, 100)).astype(np.float32)
    return model_of(
        {"b": GENESIS["b"] + np.float32(step), "w": GENESIS["w"] + way * np.float32(0.01)}, SCHEMA
    )


REFERENCE, TRAINED, MEAN, MIXED = model_of(GENESIS, SCHEMA), model(1), model(2), model(3)


def packing(codec, schemas=(SCHEMA,), **settings):
    return Packing(Charter(swarm="s", schema=SCHEMA, codec=codec, **settings), schemas)


def away(one, other):
    return float(np.abs(one.parameters["w"] - other.parameters["w"]).max())


def opened(packing, sent, *bases):
    """Return what a receiver with these bases makes of a model."""
    data = bytes(sent.data)
    return packing.opened(data, describe(data), {base.name: base for base in bases})


def test_raw_models_are_sent_as_they_are():
    pack = packing("raw")

    assert pack.upload(TRAINED, reference=REFERENCE, base=None, kept=None).model is TRAINED
    assert pack.mean(MEAN, Counter(), reference=REFERENCE, bases={}) is MEAN
    assert pack.result(MIXED, MEAN, reference=REFERENCE) is MIXED
    assert opened(pack, MEAN).name == MEAN.name


@pytest.mark.parametrize(("codec", "kind", "share"), [("fp16", FP16, 0.52), ("int8", INT8, 0.27)])
def test_dense_codecs_shorten_whatever_is_sent(codec, kind, share):
    pack = packing(codec)
    upload = pack.upload(TRAINED, reference=REFERENCE, base=MEAN, kept=None)
    sent = [
        upload.model,
        pack.mean(TRAINED, Counter(), reference=REFERENCE, bases={}),
        pack.result(TRAINED, MEAN, reference=REFERENCE),
    ]

    assert upload.beside == {}
    for each in sent:
        assert (each.head.kind, each.head.base) == (kind, REFERENCE.name if kind == INT8 else None)
        assert each.info.total_bytes < share * TRAINED.info.total_bytes
        assert 0 < away(each, TRAINED) < 1e-3
        assert opened(pack, each, REFERENCE).parameters["w"].tobytes() == each.parameters["w"].tobytes()


def test_a_sparse_upload_leaves_the_exact_model_and_the_residual_here():
    upload = packing("topk").upload(TRAINED, reference=REFERENCE, base=MEAN, kept=None)

    assert (upload.model.head.kind, upload.model.head.base) == (SPARSE, MEAN.name)
    assert upload.model.info.total_bytes <= TRAINED.info.total_bytes // 16
    assert sorted(upload.beside) == [EXACT + "b", EXACT + "w", RESIDUAL + "w"]
    np.testing.assert_array_equal(upload.beside[EXACT + "w"], TRAINED.parameters["w"])
    np.testing.assert_allclose(
        upload.model.parameters["w"] + upload.beside[RESIDUAL + "w"], TRAINED.parameters["w"], atol=1e-6
    )


def test_before_the_first_result_uploads_are_differences_to_the_reference():
    upload = packing("topk").upload(TRAINED, reference=REFERENCE, base=None, kept=None)

    assert upload.model.head.base == REFERENCE.name


def test_a_mean_is_a_difference_to_what_most_inputs_were_and_its_leader_holds():
    pack, held = packing("topk"), {base.name: base for base in (TRAINED, MIXED)}
    lost = ModelHash(b"x" * 32)

    def base(**inputs):
        names = {"lost": lost, "trained": TRAINED.name, "mixed": MIXED.name}
        counted = Counter({names[name]: count for name, count in inputs.items()})
        return pack.mean(MEAN, counted, reference=REFERENCE, bases=held).head.base

    assert base(trained=2, mixed=3, lost=9) == MIXED.name
    assert base(trained=2, mixed=2) == min(TRAINED.name, MIXED.name)
    assert base(lost=9) == base() == REFERENCE.name


def test_every_result_brings_the_roots_model_along():
    pack = packing("topk")
    root = pack.mean(MEAN, Counter(), reference=REFERENCE, bases={})
    middle = pack.result(MIXED, root, reference=REFERENCE)
    low = pack.result(TRAINED, middle, reference=REFERENCE)

    for result in (middle, low):
        assert (result.head.kind, result.head.base) == (NESTED, REFERENCE.name)
        assert bytes(unnest(result.data)[0]) == bytes(root.data)
        assert result.info.total_bytes <= MEAN.info.total_bytes // 16
        assert root_of(result).name == root_of(root).name == root.content().name
        back = opened(pack, result, REFERENCE)
        assert back.parameters["w"].tobytes() == result.parameters["w"].tobytes()
        assert root_of(back).name == root_of(root).name


def test_without_groups_the_root_takes_the_whole_budget():
    flat, tree = (packing("topk", levels=levels) for levels in (0, 3))
    sent = [pack.mean(MEAN, Counter(), reference=REFERENCE, bases={}) for pack in (flat, tree)]

    assert sent[1].info.total_bytes <= 0.05 * MEAN.info.total_bytes < sent[0].info.total_bytes


def test_a_result_below_a_raw_one_is_raw_too():
    assert packing("topk").result(MIXED, MEAN, reference=REFERENCE) is MIXED


def test_what_would_not_be_shorter_is_sent_raw():
    small = {"w": np.arange(8, dtype=np.float32)}
    pack = Packing(Charter(swarm="s", schema=schema_of(small), codec="int8"), (schema_of(small),))
    whole = model_of(small, schema_of(small))

    assert pack.upload(whole, reference=whole, base=None, kept=None).model is whole


def test_a_model_whose_base_is_not_here_comes_sealed():
    pack = packing("topk")
    sent = pack.upload(TRAINED, reference=REFERENCE, base=MEAN, kept=None).model

    assert opened(pack, sent).sealed
    assert opened(pack, sent).parameters == {}
    assert not opened(pack, sent, MEAN).sealed


def test_other_codecs_than_the_swarms_are_refused():
    int8 = packing("int8").upload(TRAINED, reference=REFERENCE, base=None, kept=None).model
    half = packing("fp16").upload(TRAINED, reference=REFERENCE, base=None, kept=None).model
    for codec, sent in (("fp16", int8), ("topk", int8), ("int8", half), ("raw", half)):
        with pytest.raises(SchemaError, match=f"under the codec {codec}"):
            opened(packing(codec), sent, REFERENCE)


def test_a_nested_model_whose_parts_do_not_belong_together_is_refused():
    pack = packing("topk")
    root = pack.mean(MEAN, Counter(), reference=REFERENCE, bases={})
    own = pack.upload(TRAINED, reference=REFERENCE, base=MIXED, kept=None).model
    blob = nest(root.data, bytes(own.data))

    with pytest.raises(SchemaError, match="something else"):
        pack.opened(blob, describe(blob), {REFERENCE.name: REFERENCE, MIXED.name: MIXED})


def test_a_base_of_another_schema_is_refused():
    other = model_of({"w": np.zeros(2004, np.float32)}, schema_of({"w": np.zeros(2004, np.float32)}))
    blob = encode(TRAINED.parameters, SCHEMA, INT8, base=Base(other.name, GENESIS))

    with pytest.raises(SchemaError, match="base is not of the schema"):
        packing("int8").opened(blob, describe(blob), {other.name: other})


def aside(pack, upload):
    charter = Charter(swarm="s", schema=SCHEMA, codec="topk")
    layout = Layout(charter, _Nothing(), GENESIS)
    return layout.aside(GENESIS, {}, upload.beside, of=upload.model.name), layout


class _Nothing:
    """A strategy that adds nothing."""

    name = "nothing"

    def kept(self, initial):
        return frozenset()

    def extra(self, schema):
        return ()


def test_the_residual_stays_while_results_are_of_one_group_and_goes_with_it():
    pack = packing("topk")
    upload = pack.upload(TRAINED, reference=REFERENCE, base=MEAN, kept=None)
    trained, layout = aside(pack, upload)
    first = layout.settled(trained, pack.left(trained, None, ONE))
    same = layout.settled(trained, pack.left(trained, first, ONE))
    moved = layout.settled(trained, pack.left(trained, same, OTHER))

    assert [sorted(each.parameters) for each in (first, same, moved)] == [
        [GROUP], [GROUP, RESIDUAL + "w"], [GROUP],
    ]  # fmt: skip
    again, anew = (
        packing("topk").upload(TRAINED, reference=REFERENCE, base=MEAN, kept=kept).model
        for kept in (same, moved)
    )
    assert anew.name == upload.model.name != again.name
    assert pack.exact(upload.model, trained).name == TRAINED.name
    assert pack.exact(upload.model, moved) is upload.model


def test_an_encoded_model_survives_on_disk_with_its_blob():
    pack = packing("topk")
    sent = pack.upload(TRAINED, reference=REFERENCE, base=MEAN, kept=None).model
    data = b"".join(to_checkpoint(sent))
    back = from_checkpoint(data)

    assert back.name == sent.name
    assert bytes(back.data) == bytes(sent.data)
    assert back.content().name == sent.content().name
    assert back.parameters["w"].tobytes() == sent.parameters["w"].tobytes()
    spoilt = bytearray(data)
    spoilt[spoilt.index(sent.parameters["w"].tobytes()) + 6] ^= 1
    with pytest.raises(SchemaError, match="not those of the encoded model"):
        from_checkpoint(bytes(spoilt))


def test_a_shelf_holds_the_last_bases_and_the_reference():
    shelf = ModelShelf(ModelPool())
    shelf.fill({Slot.REFERENCE: REFERENCE})
    roots = [model(step) for step in range(10, 16)]
    for root in roots:
        shelf.fill({Slot.BASE: root})
        shelf.keep(())

    assert set(shelf.bases) == {REFERENCE.name, *(root.name for root in roots[-BASES_MAX:])}
    assert shelf.get(roots[-BASES_MAX].name).name == roots[-BASES_MAX].name
    assert shelf.get(roots[0].name) is None


def test_an_encoded_models_raw_form_is_named_by_its_own_bytes():
    sent = packing("int8").upload(TRAINED, reference=REFERENCE, base=None, kept=None).model
    raw = sent.content()

    assert raw.name != sent.name
    assert raw.name == model_of_bytes(bytes(raw.data), SCHEMA).name
    assert raw.content() is raw is sent.content()
