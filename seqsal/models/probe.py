"""What is tried on a model before long work, to refuse at once, and say what to do, where it cannot be explained.

Two random sequences go through the model together, with a gradient, and each alone. That is enough to see another
length, layout or dtype, outputs of another shape, NaN, a cut gradient, an output that depends on what else is in the
batch (normalisation with the statistics of the batch), and an output that changes from call to call (dropout or noise
that is left on).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seqsal.errors import ModelError, counted, first_line
from seqsal.models.adapters import LOW_PRECISION
from seqsal.models.contrast import Contrast, Target
from seqsal.models.readout import Readout
from seqsal.models.recompute import is_full
from seqsal.sequence.tensors import one_hot_tensor

__all__ = [
    "FORWARD_ERRORS",
    "check_differentiable",
    "check_finite",
    "check_range",
    "check_real",
    "check_steady",
    "check_target",
    "explain_failure",
    "is_quantised",
    "random_sequences",
]

# What a model's own code raises on an input that it was not made for.
FORWARD_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
OTHER_DEVICE = (
    "to be on the same device",
    "is not on the expected device",
    "mat2 is on",
    "different from other tensors",
)
_SEED = 0
_SIZE = 2  # one sequence could not tell (N,) from (N, 1) squeezed, nor (T,) from (1, T)
# Shares of the scores' size, and of the difference between the two sequences: sums in another order differ by far less,
# statistics of a batch of two by more.
_TOLERANCE = (1e-4, 1e-3)
_TOLERANCE_LOW = (0.02, 0.05)  # bfloat16, float16; or a GPU, which may compute one batch size in TF32 and not another
_N_STEPS = 32
_FUSED = (
    "its attention was traced under torch.no_grad(), as one operation without a derivative: trace it outside, by "
    "torch.jit.trace(model, X, check_trace=False)"
)
_CUT = {  # what torch says of a gradient that it cannot have: why
    "use_reentrant": "its forward() uses checkpoint(use_reentrant=True): give use_reentrant=False, or turn "
    "checkpointing off",
    "_native_multi_head_attention": _FUSED,
    "_transformer_encoder_layer_fwd": _FUSED,
}
Score = Callable[[torch.Tensor], torch.Tensor]


def random_sequences(length: int, like: torch.Tensor) -> torch.Tensor:
    """Return two random one-hot sequences, (2, 4, L), on the device and in the dtype of `like`."""
    generator = torch.Generator().manual_seed(_SEED)
    codes = torch.randint(0, 4, (_SIZE, length), generator=generator, dtype=torch.uint8)
    return one_hot_tensor(codes).to(like)


def explain_failure(call: Callable[[Any], Any], X: torch.Tensor, readout: Readout, error: Exception) -> ModelError:
    """Find out what the model would rather have been given than X (2, 4, L), fed by `readout`; `call` runs it."""
    fed = readout.feed(X.detach())
    if any(words in str(error) for words in OTHER_DEVICE):
        return ModelError(
            f"model: has tensors of its own on another device than {X.device}, where it was to run "
            f"({first_line(error)}); trace or script it on {X.device}, or run it on the device that it was made on "
            "(--device, or device=)"
        )
    cure = next((cure for tried, cure in _other_inputs(X, fed, readout) if _runs(call, tried)), None)
    asked = _Asked(fed)
    if cure is None and _runs(call, asked) and asked.keys_asked:
        named = ", ".join(f"{key!r}: X" for key in asked.keys_asked)
        cure = f"it reads a dictionary: wrap it in a module whose forward(X) calls it with {{{named}}}"
    if cure is None and any(word in str(error) for word in ("shape", "size", "dimension", "length")):
        cure = f"give it windows of the length that it was made for, shape {_expected(readout)}"
    cure = cure or f"check what its forward() takes; seqsal calls it with one-hot DNA of shape {_expected(readout)}"
    return ModelError(
        f"model: fails on one-hot input of shape {tuple(fed.shape)} ({type(error).__name__}: {first_line(error)}); "
        f"{cure}"
    )


def _other_inputs(X: torch.Tensor, fed: torch.Tensor, readout: Readout) -> list[tuple[Any, str]]:
    """Return what a model might rather read, each with what to do about it."""
    other = "NLC" if readout.layout == "NCL" else "NCL"
    wrapped = "wrap it in a module whose forward(X) calls it with "
    found: list[tuple[Any, str]] = [(fed.mT.contiguous(), f"it works on {tuple(fed.mT.shape)}: give layout={other!r}")]
    for axis in (1, 2, 3):
        shape = tuple(fed.unsqueeze(axis).shape)
        found.append((fed.unsqueeze(axis), f"it works on {shape}: {wrapped}X.unsqueeze({axis})"))
    channels = 2 if readout.layout == "NLC" else 1
    fifth = torch.cat([fed, torch.zeros_like(fed.narrow(channels, 0, 1))], channels)
    found += [
        (fifth, f"it reads five channels: {wrapped}a fifth one of zeros, torch.cat([X, X.new_zeros(len(X), 1, L)], 1)"),
        (X.argmax(dim=1), "it reads numbers of bases (N, L): give layout='NL'"),
        (fed.long(), f"it works on integers, through which no gradient runs: make it read floating-point, or {wrapped}"
                     "X.long() and use ism"),
        (fed[:1], "it works on one sequence at a time: export or script it with a batch size that may change"),
    ]  # fmt: skip
    return found


class _Asked(dict[Any, Any]):
    """A dictionary that has the input under every key."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.keys_asked: list[Any] = []
        self._value = value

    def __missing__(self, key: Any) -> torch.Tensor:
        self.keys_asked.append(key)
        return self._value


def is_quantised(module: nn.Module) -> bool:
    """Whether some of a model computes in 8 bits: eager, scripted or exported."""
    named = re.compile(r"^torch\S*\.quantized|ops\.quantized")
    return any(named.search(f"{type(part).__module__} {getattr(part, 'code', '')}") for part in module.modules())


def check_target(target: Target, n_targets: int) -> None:
    """Raise `ModelError` unless the model has this output column, or all that a contrast names."""
    if isinstance(target, Contrast):
        return target.check(n_targets)
    if not 0 <= target < n_targets:
        raise ModelError(
            f"target: {target} is out of range, the model has {counted(n_targets, 'output')} (0 to {n_targets - 1})"
        )


def check_real(values: torch.Tensor) -> None:
    """Raise `ModelError` for complex outputs."""
    if values.is_complex():
        raise ModelError(
            f"model: gives {str(values.dtype).removeprefix('torch.')} values, expected real ones; return their real "
            "part or size"
        )


def check_finite(values: torch.Tensor, is_ratio: bool = False) -> None:
    """Raise `ModelError` for NaN and infinite values; one value or more for each sequence, (N, …)."""
    n_bad = int((~torch.isfinite(values)).sum())
    if n_bad and is_ratio:
        raise ModelError(
            "contrast: a log ratio of outputs that are not above 0, which have no logarithm; give their difference, "
            "such as 'a - b'"
        )
    if n_bad:
        raise ModelError(
            f"model: gives NaN or infinite values for {n_bad} of {len(values)} sequences; "
            "check its weights (a training that diverged?) and the precision that it runs in"
        )


def check_differentiable(score: Score, X: torch.Tensor, values: torch.Tensor) -> None:
    """Raise `ModelError` unless a usable gradient runs from the scores `values` (2,) to the sequences X (2, 4, L)."""
    gradient = _gradient(values, X)
    if gradient is None:
        raise ModelError(
            "model: its output does not depend differentiably on its input (detached, no_grad, quantised, or made of "
            "integers, as by argmax)"
        )
    if not torch.isfinite(gradient).all():
        raise ModelError(
            "model: its gradient on one-hot input is NaN or infinite (a square root or logarithm of 0, or a division "
            "by 0, in forward()?); add a small number under it"
        )
    if not gradient.any() and values[0] != values[1] and _is_flat_between(score, X):
        raise ModelError(
            "model: its output changes with the sequence but its gradient is 0 everywhere (round, sign, a threshold or "
            "a hard assignment on the path); return the smooth scores before that step"
        )


def check_range(values: torch.Tensor, space: str) -> None:
    """Raise `ModelError` for values that cannot be of the space that the caller says they are in."""
    low, high = values.min().item(), values.max().item()
    if (space == "probability" and not 0 <= low <= high <= 1) or (space == "count" and low < 0):
        raise ModelError(
            f"output_space: {space!r} was asked for, but the model gives values from {low:.3g} to {high:.3g}; "
            "choose 'auto' or 'linear'"
        )


def check_steady(score: Score, X: torch.Tensor, together: torch.Tensor, dtype: torch.dtype) -> None:
    """Raise `ModelError` unless each of X (2, 4, L) gets the same score alone, and again, as `together` (2,).

    `dtype` is the type that the model computes in.
    """
    X, together = X.detach(), together.detach()
    with torch.no_grad():
        try:
            alone = torch.cat([score(X[:1]), score(X[1:])])
        except FORWARD_ERRORS as error:
            if is_full(error):
                raise
            raise ModelError(
                f"model: works on 2 sequences but fails on 1 ({type(error).__name__}: {first_line(error)}); "
                "normalise with running statistics, and export or script it with a batch size that may change"
            ) from error
    of_size, of_difference = _TOLERANCE_LOW if dtype in LOW_PRECISION or X.is_cuda else _TOLERANCE
    tolerance = of_size * together.abs().max() + of_difference * (together[0] - together[1]).abs() + 1e-6
    if not (alone - together).abs().max() <= tolerance:
        with torch.no_grad():
            again = torch.cat([score(X[:1]), score(X[1:])])
        worst = int((alone - again).abs().argmax())
        if not (alone - again).abs().max() <= tolerance:
            raise ModelError(
                f"model: gives {alone[worst].item():.4g} and then {again[worst].item():.4g} for one and the same "
                "sequence; make it deterministic: dropout by nn.Dropout or F.dropout(training=self.training), no noise "
                "in evaluation mode, which a trace has to be made in"
            )
        worst = int((alone - together).abs().argmax())
        cure = "normalise with running statistics (nn.BatchNorm1d in evaluation mode), not with those of the batch"
        if dtype in LOW_PRECISION:
            cure = "16 bits may be too coarse for it: use the model in float32"
        raise ModelError(
            f"model: gives {alone[worst].item():.4g} for a sequence alone but {together[worst].item():.4g} next to "
            f"another: its output depends on the batch; {cure}"
        )


def _gradient(values: torch.Tensor, X: torch.Tensor) -> torch.Tensor | None:
    if not values.requires_grad:
        return None
    try:
        return torch.autograd.grad(values.sum(), X, allow_unused=True)[0]
    except RuntimeError as error:
        if is_full(error):
            raise
        why = next((why for words, why in _CUT.items() if words in str(error)), first_line(error))
        raise ModelError(f"model: has no gradient, as {why}") from error


def _is_flat_between(score: Score, X: torch.Tensor) -> bool:
    """Whether the gradient is 0 on the way from one sequence to the other too, as it is not in a saturated model."""
    steps = torch.linspace(0, 1, _N_STEPS, device=X.device, dtype=X.dtype)
    for pair in steps.reshape(-1, 2, 1, 1):
        between = torch.lerp(X[:1].detach(), X[1:].detach(), pair).requires_grad_()
        gradient = _gradient(score(between), between)
        if gradient is not None and gradient.any():
            return False
    return True


def _runs(call: Callable[[Any], Any], given: Any) -> bool:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what was never meant to be read
            call(given)
    except FORWARD_ERRORS as error:
        if is_full(error):
            raise
        return False
    return True


def _expected(readout: Readout) -> str:
    return "(N, 4, L)" if readout.layout == "NCL" else "(N, L, 4)"
