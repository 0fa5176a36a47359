"""Stream windows through a model for its predictions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from seqsal.attribution.compute import batches_for, fast_predictions, read_ahead
from seqsal.attribution.methods.base import check_prediction
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["predict_windows"]

CHUNK_BASES = 1 << 20


def predict_windows(
    model: nn.Module, source: Any, *, device: torch.device, batch_size: int | None = None, progress: bool = False
) -> NDArray[np.float32]:
    """Predict every window of `source`, (N,) in the model's output space.

    Parameters
    ----------
    model
        f: (N, 4, L) → (N,).
    source
        The windows; see :class:`seqsal.attribution.engine.WindowReader`.
    device
        Where to compute.
    batch_size
        Windows at a time; None lets the device decide.
    progress
        Show a progress bar.

    Raises
    ------
    ModelError
        The model returns another shape.
    """
    n_windows, n_rows = len(source.windows), max(CHUNK_BASES // source.length, 1)
    predictions = np.empty(n_windows, dtype=np.float32)
    starts = range(0, n_windows, n_rows)
    chunks = ((start, source.read(slice(start, min(start + n_rows, n_windows)))) for start in starts)
    with (
        batches_for(model, source, device, n_windows, batch_size=batch_size) as batches,
        tqdm(total=n_windows, unit="window", disable=not progress) as bar,
    ):
        fast: nn.Module | None = None
        for first, codes in read_ahead(chunks):
            if fast is None:
                fast = fast_predictions(model, one_hot_tensor(torch.from_numpy(codes[:1]).to(device)))

            def compute(
                start: int, stop: int, fast: nn.Module = fast, first: int = first, codes: NDArray[np.uint8] = codes
            ) -> None:
                X = one_hot_tensor(torch.from_numpy(codes[start:stop]).to(device))
                with torch.no_grad():
                    values = fast(X)
                check_prediction(values, stop - start)
                predictions[first + start : first + stop] = values.cpu().numpy()
                bar.update(stop - start)

            batches.run(compute, len(codes))
    return predictions
