import subprocess
import sys

import pytest
import torch

from swarmdem.errors import ConfigError
from swarmdem.learning import models


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        ("cnn", (28, 28), 10, 834_922),
        ("cnn", (28, 28), 62, 861_598),
        ("cnn-femnist", (28, 28), 62, 861_598),
        ("cnn3", (3, 32, 32), 10, 581_866),
        ("cnn3bn", (3, 32, 32), 10, 582_090),
        ("mlp", (28, 28), 10, 109_386),
        ("mlp", (8, 8), 10, 17_226),
    ],
)
def test_the_networks_have_the_papers_number_of_parameters(name, shape, classes, parameters):
    assert count(models.build(name, shape, classes)) == parameters


@pytest.mark.parametrize(
    ("name", "shape"),
    [("cnn", (8, 8)), ("cnn", (3, 9, 6)), ("cnn3", (8, 9)), ("mlp", (5,)), ("mlp", (3, 4, 2))],
)
def test_networks_are_sized_from_the_data(name, shape):
    assert models.build(name, shape, 7)(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(64,), (3, 3), (1, 2, 28)])
def test_the_cnn_refuses_what_is_no_image(shape):
    with pytest.raises(ConfigError, match="model = 'cnn': inputs of shape"):
        models.build("cnn", shape, 10)


def test_the_three_layer_network_needs_eight_pixels_a_side():
    with pytest.raises(ConfigError, match=r"model = 'cnn3bn': inputs of shape .* at least 8x8"):
        models.build("cnn3bn", (3, 7, 32), 10)


def test_dropout_is_the_only_difference_of_the_network_for_fe_mnist():
    kinds = [type(layer).__name__ for layer in models.build("cnn", (28, 28), 62)]

    assert [type(layer).__name__ for layer in models.build("cnn-femnist", (28, 28), 62)] == [
        kind for kind in kinds if kind != "Dropout"
    ]
    assert kinds.count("Dropout") == 2


def test_a_seed_names_the_first_parameters_and_torchs_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)

    one, two, other = (models.build("mlp", (4,), 2, seed=seed) for seed in (1, 1, 2))

    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(one[1].weight, two[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)


def test_a_network_can_come_from_any_module(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "import torch\ndef small(shape, classes):\n    return torch.nn.Linear(shape[0], classes)\n"
        "def wrong(shape, classes):\n    return 3\nvalue = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert count(models.build("my_networks:small", (4,), 2)) == 10
    for name, named in (
        ("my_networks:large", "has no 'large'"),
        ("my_networks:wrong", "gave a int"),
        ("my_networks:value", "not a function"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("resnet", "known are mlp, cnn, cnn-femnist, cnn3, cnn3bn, softmax, or module:function"),
    ):
        with pytest.raises(ConfigError, match=named):
            models.build(name, (4,), 2)


def test_without_torch_one_sentence_says_what_to_install():
    """And the numpy learner is there all the same."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from swarmdem.learning import building, deployment, aggregation, digest, strategies\n"
        "from swarmdem.errors import MissingExtraError\n"
        "import numpy as np\n"
        "from swarmdem.learning.learner import Dataset\n"
        "data = Dataset(np.zeros((2, 4), np.float32), np.array([0, 1]))\n"
        "def build(model): return building.build_learners(model, [(data, data)], shape=(4,), classes=2,\n"
        "    settings=building.TrainingSettings())\n"
        "build('softmax')\n"
        "try: build('mlp')\n"
        "except MissingExtraError as error: print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "training with torch needs an optional package: pip install 'swarmdem[torch]'\n"


@pytest.mark.parametrize("name", ["json:loads", "builtins:int"])
def test_a_function_that_builds_no_network_is_named(name):
    with pytest.raises(ConfigError, match=name):
        models.build(name, (8, 8), 10)
