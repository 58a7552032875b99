import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import growth, lossy, sized_models
from swarmdem.identifiers import GroupId, ModelHash, PlanId
from swarmdem.protocol.events import RoundFinished


def finished(round, *, certified=True, applied=True):
    return RoundFinished(
        plan=PlanId(b"p"), round=round, certified=certified, applied=applied, model=ModelHash(b"m"),
        group=GroupId(b"g"), reason="",
    )  # fmt: skip


def test_rounds_are_measured_from_the_end_of_the_first():
    own = [(10.0, finished(1)), (11.0, finished(2)), (14.0, finished(3, certified=False))]
    late = [(10.5, finished(1)), (13.5, finished(3, applied=False))]

    found = lossy.figures([own, late])

    assert found["rounds"] == 3
    assert found["seconds"] == 2.0  # 1.0 and 3.0; the late peer skipped a round
    assert found["certified"] == pytest.approx(2 / 3)
    assert found["applied"] == pytest.approx(2 / 3)
    assert lossy.figures([[], []])["failed"] == "no peer ended two rounds in a row in time"


async def test_the_bus_loses_its_share_of_control_messages_and_no_chunk():
    bus = lossy.LossyBus(0.25, seed=3)
    port = await bus.link().open_port()
    await port.subscribe("control/+")
    await port.subscribe("bulk/+", bulk=True)

    for _ in range(400):
        bus.publish("control/a", b"x")
        bus.publish("bulk/a", b"x")

    assert bus.lost + bus.delivered == 400
    assert 80 < bus.lost < 120
    assert port._link.socket_bytes_received == bus.delivered * 10 + 400 * 7


def test_a_runs_figures_leave_the_first_round_out():
    rows = [
        {"wall_s": wall_s, "cpu_s": 5.0, "train_cpu_s": 3.0, "evaluate_cpu_s": 0.5, "bytes_sent": 4_000_000,
         "certified": True, "applied": 4}
        for wall_s in (60.0, 1.0, 2.0, 3.0)
    ]  # fmt: skip
    summary = {"traffic": {"control": {"bytes_sent": 2500, "bytes_received": 9000}}}

    found = growth.row_figures(rows, summary, 4)

    assert found["seconds"] == 2.0
    assert found["other_cpu_s"] == 1.5
    assert found["sent_mb"] == 1.0
    assert (found["control_kb"], found["control_received_kb"]) == (2.5, 9.0)
    assert (found["certified"], found["complete"]) == (1.0, 1.0)


def test_a_run_that_cannot_be_counted_is_a_row_that_says_so():
    told = {"traffic": {"control": {"bytes_sent": 1, "bytes_received": 1}}}

    assert growth.row_figures([{}], told, 4) == {"failed": "no round after the first"}
    assert growth.row_figures([{}, {}], {"traffic": {"control": None}}, 4) == {
        "failed": "no peer told what it sent"
    }


def test_one_round_is_refused_before_it_is_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        growth.main(["peers", "--out", str(tmp_path), "--rounds", "1"])

    assert ended.value.code == 2
    assert capsys.readouterr().err == "--rounds 1: at least 2, the first does not count\n"


def test_every_peer_has_a_device_of_its_own(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(growth.workload, "write", lambda path, devices: written.append(devices))
    monkeypatch.setattr(growth, "measure", lambda curve, value, options, data: {"value": value})

    growth.main(["peers", "--out", str(tmp_path), "--values", "10", "200"])

    assert written == [200]


def test_the_slope_of_a_power_is_found():
    assert growth.slope([(x, 7 * x**1.5) for x in (1, 10, 50)]) == pytest.approx(1.5)


def test_curves_are_drawn_and_told_with_their_exponents(tmp_path, capsys):
    rows = [
        {"value": value, "seconds": value / 10, "other_cpu_s": 1.0, "sent_mb": 2.0 * value, "failed": ""}
        for value in (0.1, 1.0, 10.0)
    ]
    failed = {"value": 50.0, "failed": "not finished within 300 s, 0 marks seen"}
    (tmp_path / "size.json").write_text(json.dumps([*rows, failed]))

    written = growth.draw(tmp_path, tmp_path / "figures")

    assert [path.name for path in written] == ["growth-size.svg"]
    text = written[0].read_text()
    assert "MB of the model" in text
    assert "MB sent a peer" in text
    told = capsys.readouterr().out
    assert "exponents: seconds a round 1.00, CPU s beside training 0.00, MB sent a peer 1.00" in told


def test_a_loss_without_a_length_is_not_drawn(tmp_path):
    row = {"value": 0.1, **lossy.figures([[], []])}
    (tmp_path / "loss.json").write_text(json.dumps([row]))
    assert growth.draw(tmp_path, tmp_path / "figures") == []

    whole = {"value": 0.0, "seconds": 1.0, "seconds_90": 2.0, "certified": 1.0}
    (tmp_path / "loss.json").write_text(json.dumps([whole, row]))
    assert [path.name for path in growth.draw(tmp_path, tmp_path / "figures")] == ["growth-loss.svg"]


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        growth, "measure", lambda curve, value, options, data: asked.append(value) or {"value": value}
    )
    (tmp_path / "loss.json").write_text(json.dumps([{"value": 0.01}]))

    growth.main(["loss", "--out", str(tmp_path), "--values", "0.1", "0.01"])

    assert asked == [0.1]
    assert json.loads((tmp_path / "loss.json").read_text()) == [{"value": 0.01}, {"value": 0.1}]


@pytest.mark.parametrize(("size", "name"), growth.MODELS.items())
def test_models_have_the_size_they_are_named_for(size, name, monkeypatch):
    counted = SimpleNamespace(parameters=0)

    def linear(inputs, outputs):
        counted.parameters += inputs * outputs + outputs
        return sized_models.torch.nn.Identity()

    monkeypatch.setattr(sized_models.torch.nn, "Linear", linear)
    getattr(sized_models, name)((28, 28), 10)

    assert np.isclose(4 * counted.parameters / 1e6, size, rtol=0.02)
