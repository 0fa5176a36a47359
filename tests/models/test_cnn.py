"""The built-in network: its sizes, its arithmetic, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from nets import random_X
from torch import nn

from seqsal.errors import ModelError
from seqsal.models.cnn import CNN, CNNConfig

SMALL = {"n_filters": 5, "stem_kernel": 7, "n_blocks": 3}


@pytest.mark.parametrize("length", [200, 203, 2114])
@pytest.mark.parametrize("pooling", ["attention", "max", "mean", "flatten"])
def test_output_shape(length: int, pooling: str) -> None:
    model = CNN(CNNConfig(length, n_targets=3, pooling=pooling, **SMALL))
    assert model(random_X(2, length)).shape == (2, 3)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("stem_pool", [1, 4])
def test_a_sequence_does_not_depend_on_its_batch(batch_norm: bool, activation: str, stem_pool: int) -> None:
    config = CNNConfig(60, batch_norm=batch_norm, activation=activation, stem_pool=stem_pool, **SMALL)
    model = CNN(config)
    model(random_X(16, 60, seed=1))  # running statistics
    model.eval()
    X = random_X(6, 60, seed=2)
    torch.testing.assert_close(model(X), torch.cat([model(x[None]) for x in X]), rtol=1e-5, atol=1e-6)


def test_every_base_is_read() -> None:
    """Also the last ones, where the pooling does not divide the length."""
    torch.manual_seed(0)
    model = CNN(CNNConfig(31, **SMALL | {"stem_pool": 4, "n_blocks": 2}, pooling="flatten")).eval()
    X = random_X(8, 31).requires_grad_()
    (gradient,) = torch.autograd.grad(model(X).sum(), X)
    assert (gradient.abs().sum(dim=(0, 1)) > 0).all()


def test_blocks_are_dilated_and_residual() -> None:
    """With one filter, unit weights and no normalisation the receptive field can be counted."""
    config = CNNConfig(
        101, n_filters=1, stem_kernel=1, stem_pool=1, n_blocks=3, dilation_growth=3, batch_norm=False, pooling="flatten"
    )
    model = CNN(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    X = torch.zeros(1, 4, 101)
    X[0, 2, 50] = 1
    features = model.blocks(model.pool(model.stem(X)))
    reached = torch.nonzero(features[0, 0]).flatten()
    reach = 1 + 3 + 9
    assert (int(reached[0]), int(reached[-1])) == (50 - reach, 50 + reach)
    # each block adds its three taps to what it was given: 1 + 3 times the sum
    assert features.sum() == 4**3


def test_attention_pools_a_weighted_mean() -> None:
    torch.manual_seed(0)
    model = CNN(CNNConfig(40, **SMALL)).eval()
    x = torch.randn(2, 5, model.config.n_positions)
    pooled = model.pooling(x)
    assert ((pooled <= x.amax(-1)) & (pooled >= x.amin(-1))).all()
    nn.init.zeros_(model.pooling.score.weight)
    nn.init.zeros_(model.pooling.score.bias)
    torch.testing.assert_close(model.pooling(x), x.mean(-1))
    with torch.no_grad():
        model.pooling.position[3] = 100
    torch.testing.assert_close(model.pooling(x), x[:, :, 3])


def test_configuration_survives_json() -> None:
    config = CNNConfig(200, n_targets=2, loss="count", pooling="max", dropout=0.5)
    assert CNNConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_length": 0}, "input_length: got 0, expected a whole number above 0"),
        ({"input_length": 20.5}, "input_length: got 20.5"),
        ({"input_length": True}, "input_length: got True"),
        ({"input_length": 5}, "input_length: got 5 bp, expected 7 at least"),
        ({"n_targets": 0}, "n_targets: got 0"),
        ({"n_filters": -1}, "n_filters: got -1"),
        ({"stem_kernel": 20}, "stem_kernel: got 20, expected an odd width"),
        ({"block_kernel": 2}, "block_kernel: got 2, expected an odd width"),
        ({"n_blocks": -1}, "n_blocks: got -1"),
        ({"n_blocks": 8}, "n_blocks: the last of 8 blocks would be dilated by 128, beyond the 100 positions"),
        ({"dilation_growth": 0}, "dilation_growth: got 0"),
        ({"loss": "hinge"}, "loss: got 'hinge', expected binary or regression or count"),
        ({"pooling": "sum"}, "pooling: got 'sum'"),
        ({"activation": "elu"}, "activation: got 'elu', expected relu or gelu"),
        ({"dropout": 1.0}, "dropout: got 1.0"),
        ({"dropout": -0.1}, "dropout: got -0.1"),
    ],
)
def test_impossible_sizes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        CNNConfig(**{"input_length": 200} | changes)


def test_unknown_and_missing_entries() -> None:
    with pytest.raises(ModelError, match="unknown entry 'n_heads', expected entries of activation"):
        CNNConfig.from_dict({"input_length": 200, "n_heads": 4})
    with pytest.raises(ModelError, match="no input_length"):
        CNNConfig.from_dict({})


def test_wrong_input_shape() -> None:
    model = CNN(CNNConfig(40, **SMALL))
    for X in (random_X(2, 41), random_X(2, 40).transpose(1, 2), random_X(1, 40)[0]):
        with pytest.raises(ModelError, match=r"but the model reads \(N, 4, 40\); resize the regions to 40 bp"):
            model(X)
