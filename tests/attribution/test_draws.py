"""A map belongs to its sequence: the same whatever else is attributed, and however."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from toys import Small, Windows, random_codes

import seqsal
from seqsal.attribution import AttributeOptions, attribute_to_file, attribute_windows, passes
from seqsal.attribution.methods import paths
from seqsal.attribution.methods.registry import METHODS, make_method
from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.store import read_attributions
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor

CPU = torch.device("cpu")
LENGTH = 40
OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 4},
    "integrated_gradients": {"n_steps": 8, "baseline": "shuffle", "allow_incomplete": True},
    "expected_gradients": {"n_references": 5},
    "deeplift_shap": {"n_references": 5},
    "tiles": {"tile": 10, "n_shuffles": 2},
}
DRAWING = sorted(OPTIONS)


class Averaged(nn.Module):
    """A network that all methods can explain, `cam` included."""

    def __init__(self) -> None:
        super().__init__()
        body = Small()
        self.stem, self.block, self.head = body.stem, body.block, body.head

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.stem(X))
        return self.head((h + torch.relu(self.block(h))).mean(-1)).squeeze(-1)


@pytest.fixture
def codes(rng: np.random.Generator) -> NDArray[np.uint8]:
    found = random_codes(rng, 12, LENGTH, 0.02)
    found[7] = found[2]  # the same bases in another place of the genome
    return found


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five windows a chunk; and steps that double once, since these networks would ask for all four."""
    monkeypatch.setattr(paths, "MAX_DOUBLINGS", 1)
    monkeypatch.setattr(passes, "CHUNK_BASES", 5 * LENGTH)
    monkeypatch.setattr(passes, "FEWEST_ROWS", 5)


def attribute(codes: NDArray[np.uint8], method: str, **changed: Any) -> Attributions:
    options = AttributeOptions(
        method, OPTIONS.get(method, {}), hypothetical=None, **{"n_controls": 2 * len(codes), "batch_size": 4, **changed}
    )
    return attribute_windows(Averaged(), Windows(codes), options, device=CPU)


def check_same(found: Attributions, expected: Attributions, rows: Any = slice(None)) -> None:
    """Compare all that was computed: equal, up to what a batch of another size rounds.

    That is 1e-6 of the largest score or prediction. The completeness error is a ratio of their differences.
    """
    scale = max(float(np.abs(np.asarray(values)).max()) for values in (expected.track, expected.prediction))
    for name in ("track", "prediction", "hypothetical", "completeness_error", "noise"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            one, other = np.asarray(one), np.asarray(other)[rows]
            near = {"rtol": 2e-2, "atol": 1e-4} if name == "completeness_error" else {"rtol": 0, "atol": 1e-6 * scale}
            np.testing.assert_allclose(one, other, **near, err_msg=name)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_alone_in_a_subset_permuted_or_in_another_batch(codes: NDArray[np.uint8], method: str) -> None:
    whole = attribute(codes, method, n_controls=4)
    np.testing.assert_allclose(whole.track[7], whole.track[2], rtol=0, atol=1e-6)
    for rows in ([8], slice(6, None), [9, 3, 0, 11, 5]):
        check_same(attribute(codes[rows], method, n_controls=0), whole, rows)
    for batch_size in (1, 3, 100):
        check_same(attribute(codes, method, n_controls=0, batch_size=batch_size), whole)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_controls_of_a_window_are_its_own(codes: NDArray[np.uint8], method: str) -> None:
    whole, part = attribute(codes, method), attribute(codes[[9]], method, n_controls=2)
    mine = np.flatnonzero(np.asarray(whole.controls.source) == 9)
    np.testing.assert_array_equal(np.asarray(part.controls.codes), np.asarray(whole.controls.codes)[mine])
    np.testing.assert_allclose(part.controls.track, np.asarray(whole.controls.track)[mine], rtol=0, atol=1e-6)
    assert len(np.unique(np.asarray(whole.controls.codes), axis=0)) == 24, (
        "windows with the same bases have other controls"
    )


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_with_one_thread_or_two(codes: NDArray[np.uint8], method: str) -> None:
    results = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        results.append(attribute(codes, method, n_controls=0))
    check_same(*results)


class _Stops(Windows):
    """Loses power after some windows have been read."""

    limit = 10**9

    def read(self, rows: Any) -> NDArray[np.uint8]:
        if self.n_read > self.limit:
            raise KeyboardInterrupt
        return super().read(rows)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_in_memory_through_a_file_or_resumed(codes: NDArray[np.uint8], method: str, tmp_path: Path) -> None:
    options = AttributeOptions(method, OPTIONS.get(method, {}), batch_size=4, n_controls=20, hypothetical=None, draw=3)
    memory = attribute_windows(Averaged(), Windows(codes), options, device=CPU)
    for limit in (8, 30, 10**9):
        source, path = _Stops(codes), tmp_path / f"{limit}.h5"
        source.limit = limit
        if limit < 10**9:
            with pytest.raises(KeyboardInterrupt):
                attribute_to_file(Averaged(), source, path, options, device=CPU)
            source.limit = 10**9
        found = read_attributions(attribute_to_file(Averaged(), source, path, options, device=CPU))
        for name in ("track", "prediction", "hypothetical", "completeness_error", "controls.track", "controls.codes"):
            one, other = (attrgetter(name)(attr) for attr in (found, memory))
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(np.asarray(one), np.asarray(other), err_msg=name)
        assert found.attrs["draw"] == 3


@pytest.mark.parametrize("method", sorted(METHODS))
def test_another_draw_is_other_references_noise_and_controls(codes: NDArray[np.uint8], method: str) -> None:
    first, second, again = (attribute(codes, method, draw=draw, n_controls=6) for draw in (0, 1, 1))
    np.testing.assert_array_equal(second.track, again.track)
    assert np.array_equal(first.track, second.track) == (method not in DRAWING)
    assert not np.array_equal(first.controls.codes, second.controls.codes)
    assert "draw" not in first.attrs and second.attrs["draw"] == 1


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_other_strand_has_the_same_average(codes: NDArray[np.uint8], method: str) -> None:
    X, model = one_hot_tensor(torch.from_numpy(codes)), Averaged().eval().requires_grad_(False)
    averaged = make_method(method, rc_average=True, **OPTIONS.get(method, {}))
    forward, reverse = (averaged.attribute(model, x) for x in (X, reverse_complement_tensor(X)))
    torch.testing.assert_close(forward.hypothetical, reverse_complement_tensor(reverse.hypothetical), rtol=0, atol=1e-6)
    torch.testing.assert_close(forward.prediction, reverse.prediction, rtol=0, atol=1e-6)


def test_the_public_function_takes_another_draw(codes: NDArray[np.uint8]) -> None:
    X = one_hot_tensor(torch.from_numpy(codes)).numpy()
    maps = [
        seqsal.attribute(Averaged(), X=X[part], method="expected_gradients", n_references=3, n_controls=0, draw=draw)
        for part, draw in ((slice(None), 0), (slice(6, None), 0), (slice(6, None), 5))
    ]
    np.testing.assert_allclose(maps[0].track[6:], maps[1].track, rtol=0, atol=1e-6)
    assert np.abs(np.asarray(maps[1].track) - np.asarray(maps[2].track)).max() > 1e-3
    with pytest.raises(UsageError, match="draw: got -1, expected a whole number from 0 to"):
        seqsal.attribute(Averaged(), X=X, draw=-1)
