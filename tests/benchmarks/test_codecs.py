import sys

import pytest

from benchmarks import codecs


def test_every_codec_gives_a_line_with_its_accuracy_and_its_share_of_the_bytes(monkeypatch, capsys):
    flags = ["--model", "softmax", "--rounds", "2", "--last", "1", "--codecs", "raw,int8,topk"]
    monkeypatch.setattr(sys, "argv", ["codecs.py", *flags])
    codecs.main()

    head, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["codec", "C-SPE", "C-GEN", "Global", "bytes", "CPU", "s"]
    figures = {name: [float(number) for number in numbers] for name, *numbers in lines}
    assert figures["raw"][3] == 1
    assert 0.2 < figures["int8"][3] < 0.3
    assert figures["topk"][3] < 0.2
    assert figures["int8"][:3] == pytest.approx(figures["raw"][:3], abs=0.02)
