"""How long a model takes for what an audit asks of it, tried on a few windows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution import AttributeOptions, predict_windows, try_windows
from seqsal.auditing.cost import PREDICTION, ModelWork
from seqsal.auditing.size import AuditSize
from seqsal.errors import DeviceError, SeqsalError
from seqsal.io.inputs import open_codes
from seqsal.models import SequenceModel

__all__ = ["Speed", "model_seconds", "try_model"]

PREDICT_SECONDS, MOST_PREDICTED, N_SINGLE = 1.0, 1_024, 2
MOST_SECONDS = 10.0  # for one window by one method: beyond, its passes are counted and not tried
GRADIENT_PASSES = 3.0  # forward passes that take as long as one with its gradient
Codes = NDArray[np.uint8]


class Speed(NamedTuple):
    """Seconds of a call, beside those of each window in it."""

    call: float
    window: float


def try_model(
    model: SequenceModel, codes: Codes, size: AuditSize, work: ModelWork, *, device: torch.device
) -> dict[str, Speed]:
    """Time each kind of work on a few windows.

    A method of which one window would take more than `MOST_SECONDS` is not tried: its passes take as long as those of
    predictions do, three times that where they have gradients. A method that refuses the model takes no time, as the
    audit then leaves it out.

    Parameters
    ----------
    model
        As loaded.
    codes
        (n, L) some windows, n ≥ 1.
    size
        Of the audit.
    work
        What is to be timed.
    device
        Where to compute.

    Returns
    -------
    dict of str to Speed
        By the kinds in `work`.
    """
    prediction = _try_predictions(model, codes, device)
    speeds = {PREDICTION: prediction}
    for method in work.windows:
        if method != PREDICTION:
            n_forward = size.n_passes(method) * (1.0 if method == "ism" else GRADIENT_PASSES)
            untried = Speed(0.0, n_forward * prediction.window)
            tried = untried.window <= MOST_SECONDS
            speeds[method] = _try_method(model, codes, size, method, device) if tried else untried
    return speeds


def model_seconds(work: ModelWork, speeds: Mapping[str, Speed]) -> float:
    """Add up the seconds of all that is asked of a model."""
    return work.n_calls * speeds[PREDICTION].call + sum(n * speeds[kind].window for kind, n in work.windows.items())


def _try_predictions(model: SequenceModel, codes: Codes, device: torch.device) -> Speed:
    _time_predictions(model, codes[:1], device)  # warms up
    one = min(_time_predictions(model, codes[:1], device) for _ in range(N_SINGLE))
    n = int(np.clip(PREDICT_SECONDS / one, 2, MOST_PREDICTED))
    many = _time_predictions(model, np.resize(codes, (n, codes.shape[1])), device)
    window = (many - one) / (n - 1) if many > one else many / n
    return Speed(max(one - window, 0.0), window)


def _time_predictions(model: SequenceModel, codes: Codes, device: torch.device) -> float:
    start = time.perf_counter()
    predict_windows(model, open_codes(codes), device=device)
    return time.perf_counter() - start


def _try_method(model: SequenceModel, codes: Codes, size: AuditSize, method: str, device: torch.device) -> Speed:
    """Time a call of as many windows as the audit's small tests attribute at once, shared among them."""
    n = max(size.small, 1)
    own: Mapping[str, Any] = size.method_options if method == size.method else {}
    options = AttributeOptions(method=method, method_options=own, rc_average=size.rc_average, n_controls=0)
    try:
        trial = try_windows(model, open_codes(np.resize(codes, (n, codes.shape[1]))), options, device=device)
    except DeviceError:  # a single window does not fit: the run will not do either
        raise
    except (SeqsalError, RuntimeError):  # what the audit leaves out as well
        return Speed(0.0, 0.0)
    return Speed(0.0, trial.expected_seconds / n)
