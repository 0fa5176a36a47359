"""In-silico saturation mutagenesis: what the model says when each base is really changed.

h[b, l] = f(x with base b at l) − ¼ Σ_c f(x with base c at l), so the track is how much the base that is there beats the
mean of the four. It is exact, needs no gradient, and costs 3 L forward passes a window, one more for each unknown base.
For a linear model it is the corrected gradient. At an unknown base the four substitutions are scored, and the track is
0.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.base import Method, ScalarModel, Scores, check_prediction
from seqsal.errors import MethodError

__all__ = ["InSilicoMutagenesis"]


class InSilicoMutagenesis(Method):
    """All single-base substitutions.

    Parameters
    ----------
    n_at_once
        Mutated sequences that go through the model together.
    """

    name = "ism"
    scores_unknown = True

    def __init__(self, *, n_at_once: int = 256) -> None:
        if n_at_once < 1:
            raise MethodError(f"n_at_once: got {n_at_once}, expected a whole number above 0")
        self.n_at_once = n_at_once

    def attribute(self, model: ScalarModel, X: torch.Tensor, rows: NDArray[np.int64]) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        with torch.no_grad():
            prediction = model(X)
            check_prediction(prediction, len(X))
            outputs = torch.stack(
                [self._outputs(model, window, value) for window, value in zip(X, prediction, strict=True)]
            )
        return Scores(prediction, outputs - outputs.mean(dim=1, keepdim=True))

    def _outputs(self, model: ScalarModel, window: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """Score each base at each position, (4, L), of one window (4, L)."""
        outputs = prediction.expand(window.shape).clone()  # right where the base is the one that is there
        base, position = torch.nonzero(window == 0, as_tuple=True)
        for first in range(0, len(base), self.n_at_once):
            b, p = base[first : first + self.n_at_once], position[first : first + self.n_at_once]
            mutated = window.repeat(len(b), 1, 1)  # (n, 4, L)
            row = torch.arange(len(b), device=window.device)
            mutated[row, :, p] = 0
            mutated[row, b, p] = 1
            outputs[b, p] = model(mutated)
        return outputs
