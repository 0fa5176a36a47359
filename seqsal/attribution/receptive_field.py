"""How far a model looks: the effective receptive field of each of its layers, measured.

The impulse response of a position of a layer is how strongly each base of the window moves it: |∂A_j / ∂X| at the
middle position j, summed over bases, averaged over windows of random DNA and over random mixtures of the layer's
channels. Its standard deviation σ is the layer's *effective* receptive field, and the span on which it is not 0 the
*theoretical* one.
In a stack of L convolutions with equal, uniform kernels the response is the kernel convolved L times with itself, so
that σ = √L · σ₀ with σ₀² = (k² − 1) / 12 for width k, while the theoretical field grows as L (Luo, Li, Urtasun and
Zemel 2016, arXiv:1701.04128): the deeper a stack, the smaller the share of its field that it uses. How well a model
follows that law is told by a fit through the origin. Dilations that double, pooling and attention break it.

Layers are found by what they do, not by their names: a layer begins wherever the theoretical field grows, or at a
convolution wider than one base. What is measured is the last activation before the next layer begins, with whatever was
added to it or gated it. Functions inside TorchScript are not seen; the output still is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from seqsal.attribution.compute import frozen_on_device
from seqsal.attribution.request import PathLike, as_given, read_model
from seqsal.errors import UsageError
from seqsal.models.state import resolve_device
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["receptive_field"]

DEFAULT_LENGTH = 2048  # of a window, where the model reads any
N_WINDOWS = 8
SHARE = 0.95  # of the response, whose central width is told
MIN_STRIDE = 0.7  # bases from one position to the next, measured
MIN_SPAN = 1 / 16  # of the window, that half of the positions should span
MANY_LAYERS = 512  # activations that are looked at, the rest of a deeper model evenly left out


def receptive_field(
    model: PathLike | nn.Module,
    *,
    input_length: int | None = None,
    n_windows: int = N_WINDOWS,
    device: str | torch.device = "auto",
    seed: int = 0,
    **reading: Any,
) -> pd.DataFrame:
    """Measure how far each layer of a model, and its output, look.

    Parameters
    ----------
    model
        A file, a factory, a module or a wrapped model, as for :func:`seqsal.attribute`.
    input_length
        Window in bp, where the model does not say; 2,048 unless given.
    n_windows
        Windows of random DNA that the response is averaged over.
    device
        Where to compute.
    seed
        Of the windows and of the mixtures of channels.
    reading
        How to read the model, as for :func:`seqsal.wrap`.

    Returns
    -------
    DataFrame
        A row a layer, in order, and one for the output: `layer`; `depth`, from 1, 0 for the output; `n_positions` of
        the activation; `sigma_bp`, the standard deviation of the middle position's response; `width_bp`, the bases
        that hold the central 95 % of it; `field_bp`, the theoretical field; `is_cut`, whether the window ends before
        it does, so that all three are lower limits. The output's row says where in the window it looks. In `attrs`:
        `sqrt_slope` and `sqrt_r2`, σ fitted by slope · √depth; `field_slope` and `field_r2`, by slope · field, over
        layers that the window does not cut; `length`; `profiles`, a list of each row's response (L floats, sum 1).

    Raises
    ------
    ModelError
        The model cannot be read, or has no gradient.
    UsageError
        `n_windows` or `input_length` is below 1.

    Examples
    --------
    >>> import seqsal, torch
    >>> stack = torch.nn.Sequential(*(torch.nn.Conv1d(4 if i == 0 else 1, 1, 5, padding=2) for i in range(4)))
    >>> for layer in stack:
    ...     _ = torch.nn.init.ones_(layer.weight)
    >>> model = torch.nn.Sequential(stack, torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> field = seqsal.receptive_field(model, input_length=100, device="cpu")
    >>> field[["layer", "sigma_bp", "field_bp"]].round(2).head(4)  # √L · √2, and 1 + 4 L
      layer  sigma_bp  field_bp
    0   0.0      1.41         5
    1   0.1      2.00         9
    2   0.2      2.45        13
    3   0.3      2.83        17
    >>> round(field.attrs["sqrt_slope"], 3)
    1.414
    """
    for name, value in (("n_windows", n_windows), ("input_length", input_length)):
        if value is not None and value < 1:
            raise UsageError(f"{name}: got {value}, expected 1 or more")
    where = resolve_device(device)
    read = read_model(model, device=where, **as_given({"input_length": input_length, **reading}))
    length = read.input_length or input_length or DEFAULT_LENGTH
    with frozen_on_device(read, where):
        windows = _random_windows(n_windows, length, where, seed)
        read.look_at(windows[:1])
        read.require_gradient("receptive_field")
        layers, responses = _measure(read, windows, seed)
    names = {id(tensor): name.rpartition(".")[0] for name, tensor in read.module.named_parameters()}
    rows = [
        {"layer": names.get(layer.weight, layer.function), "depth": depth, "n_positions": layer.n_positions}
        for depth, layer in enumerate(layers, 1)
    ]
    rows.append({"layer": "output", "depth": 0, "n_positions": 1})
    table = pd.DataFrame([row | _widths(response) for row, response in zip(rows, responses, strict=True)])
    table.attrs = _fits(table[table["depth"] > 0]) | {
        "length": length,
        "profiles": [(response / max(response.sum(), 1e-300)).tolist() for response in responses],
    }
    return table


class _Layer(NamedTuple):
    """An activation to measure: its number among those of a pass, its axis of positions, and what began it."""

    number: int
    axis: int
    n_positions: int
    function: str
    weight: int


def _measure(
    model: Callable[[torch.Tensor], torch.Tensor], windows: torch.Tensor, seed: int
) -> tuple[list[_Layer], list[NDArray[np.float64]]]:
    """Find the layers from the first window, and sum the responses of all, (L,) each, the output's last."""
    first = windows[:1].clone().requires_grad_()
    record, prediction = _record(model, first)
    layers = _find_layers(record.calls, first, seed)
    sums = [np.zeros(windows.shape[2]) for _ in range(len(layers) + 1)]
    for number, window in enumerate(windows):
        X = window[None].clone().requires_grad_()
        record, prediction = _record(model, X)
        for total, layer in zip(sums, layers, strict=False):
            call = record.calls[layer.number]
            total += _response(_unit(call.result, layer.axis, layer.n_positions // 2, seed + number), X)
        sums[-1] += _response(prediction.sum(), X)
    return layers, sums


class _Call(NamedTuple):
    result: torch.Tensor
    function: str
    weight: int  # identity of a parameter
    is_wide: bool


class _Recorder(TorchFunctionMode):
    """Keeps every activation (1, a, b) of a forward pass that gradients run through."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        kept = result[0] if isinstance(result, tuple) and len(result) else result  # of recurrent layers and attention
        if isinstance(kept, torch.Tensor) and kept.requires_grad and kept.ndim == 3 and len(kept) == 1:
            weight = args[1] if len(args) > 1 else kwargs.get("weight")
            is_weight = isinstance(weight, nn.Parameter)
            name = getattr(func, "__name__", "function").strip("_")
            is_wide = name.startswith("conv") and isinstance(weight, torch.Tensor) and weight.shape[-1] > 1
            self.calls.append(_Call(kept, name, id(weight) if is_weight else 0, is_wide))
        return result


def _record(model: Callable[[torch.Tensor], torch.Tensor], X: torch.Tensor) -> tuple[_Recorder, torch.Tensor]:
    with torch.enable_grad(), _Recorder() as record:
        prediction = model(X)
    return record, prediction


def _find_layers(calls: list[_Call], X: torch.Tensor, seed: int) -> list[_Layer]:
    """Group the activations of a pass by the layer that began them, and take the last of each."""
    layers: list[_Layer] = []
    axes: dict[tuple[int, ...], int] = {tuple(X.shape): 2}
    widest, begun = 1, False
    function, weight = "", 0
    for index in range(0, len(calls), -(-len(calls) // MANY_LAYERS) or 1):
        call = calls[index]
        shape = tuple(call.result.shape)
        if shape not in axes:
            axes[shape] = _axis_of_positions(call.result, X, seed)
        axis = axes[shape]
        if axis == 0:
            continue
        support = np.flatnonzero(_response(_unit(call.result, axis, shape[axis] // 2, seed), X))
        extent = int(support[-1] - support[0] + 1) if len(support) else 0
        if call.is_wide or extent > widest:
            widest, begun = max(extent, widest), True
            function, weight = call.function, call.weight
        elif not begun or extent < widest:  # before the first layer, or what reads less: another branch
            continue
        else:
            layers.pop()
        layers.append(_Layer(index, axis, shape[axis], function, weight))
    return layers


def _axis_of_positions(A: torch.Tensor, X: torch.Tensor, seed: int) -> int:
    """Which axis of (1, a, b) goes along the window; 0 for none.

    Positions n/2 apart look at bases at least n/2 apart, while the channels of either axis look at the same.
    """
    apart, least = [0.0], [0.0]
    for axis in (1, 2):
        quarter = A.shape[axis] // 4
        ends = [_response(_unit(A, axis, j, seed), X) for j in (quarter, A.shape[axis] - 1 - quarter)]
        where = np.arange(X.shape[2])
        centres = [float(end @ where) / end.sum() if end.sum() > 0 else 0.0 for end in ends]
        apart.append(centres[1] - centres[0])
        least.append(max(MIN_STRIDE * (A.shape[axis] - 1 - 2 * quarter), MIN_SPAN * X.shape[2]))
    best = int(np.argmax(apart))
    return best if apart[best] > least[best] else 0


def _unit(A: torch.Tensor, axis: int, position: int, seed: int) -> torch.Tensor:
    """Mix the channels of one position of an activation (1, a, b) at random, so that none cancels another for good."""
    values = A.select(axis, position)[0]
    signs = torch.randint(0, 2, values.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return (values * signs.to(values)).sum()


def _response(unit: torch.Tensor, X: torch.Tensor) -> NDArray[np.float64]:
    """|∂unit/∂X| of one window summed over bases, (L,)."""
    (gradient,) = torch.autograd.grad(unit, X, retain_graph=True, allow_unused=True)
    if gradient is None:
        return np.zeros(X.shape[2])
    response: NDArray[np.float64] = gradient[0].abs().sum(0).double().cpu().numpy()
    return np.nan_to_num(response)


def _widths(response: NDArray[np.float64]) -> dict[str, Any]:
    """Describe a response (L,) by its σ, central width and extent."""
    support = np.flatnonzero(response)
    if not len(support):
        return {"sigma_bp": float("nan"), "width_bp": 0, "field_bp": 0, "is_cut": False}
    share = response / response.sum()
    where = np.arange(len(response))
    mean = share @ where
    least = (1 - SHARE) / 2
    first, last = np.searchsorted(np.cumsum(share), [least, 1 - least])
    return {
        "sigma_bp": float(np.sqrt(share @ (where - mean) ** 2)),
        "width_bp": int(last - first + 1),
        "field_bp": int(support[-1] - support[0] + 1),
        "is_cut": bool(support[0] == 0 or support[-1] == len(response) - 1),
    }


def _fits(layers: pd.DataFrame) -> dict[str, float]:
    """Fit σ = slope · √depth and σ = slope · field through the origin, over layers that the window does not cut."""
    whole = layers[~layers["is_cut"] & (layers["sigma_bp"] > 0)]
    sigma = whole["sigma_bp"].to_numpy()
    found: dict[str, float] = {}
    for name, x in (("sqrt", np.sqrt(whole["depth"].to_numpy())), ("field", whole["field_bp"].to_numpy(float))):
        slope = float(x @ sigma / (x @ x)) if len(x) else float("nan")
        spread = float(((sigma - sigma.mean()) ** 2).sum()) if len(x) > 1 else 0.0
        missed = float(((sigma - slope * x) ** 2).sum())
        found |= {f"{name}_slope": slope, f"{name}_r2": 1 - missed / spread if spread > 0 else float("nan")}
    return found


def _random_windows(n: int, length: int, device: torch.device, seed: int) -> torch.Tensor:
    codes = torch.randint(0, 4, (n, length), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return one_hot_tensor(codes.to(device))
