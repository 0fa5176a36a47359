"""What every attribution method is: a scalar function of one-hot DNA in, scores of all four bases out.

With f the model (N, 4, L) → (N,), a method returns `hypothetical` scores h of shape (N, 4, L); the *track* is their
projection onto the bases that are there, track[n, l] = Σ_b h[n, b, l] · X[n, b, l], which is zero where the base is
unknown. Each method's formula is a pure function of (f, X), which users may call by themselves and, where its
mathematics allow, differentiate; a small class holds its options and says what it promises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import ClassVar, NamedTuple, Protocol

import torch

from seqsal.errors import MethodError, ModelError
from seqsal.regions import Span
from seqsal.sequence.tensors import reverse_complement_tensor

__all__ = [
    "MAX_COMPLETENESS_ERROR",
    "Method",
    "Model",
    "OneTarget",
    "ReverseComplementAverage",
    "ScalarModel",
    "Scores",
    "SharedForward",
    "TargetsModel",
    "check_option",
    "check_prediction",
    "completeness_error",
    "mask_unknown",
    "project",
    "refuse_incomplete",
    "sum_over_bases",
]


class ScalarModel(Protocol):
    """A model that maps one-hot DNA (N, 4, L) to one number a sequence (N,), differentiably."""

    def __call__(self, X: torch.Tensor, /) -> torch.Tensor:
        """Return f(X), shape (N,)."""
        ...


class TargetsModel(Protocol):
    """T outputs of one model: all of them from one forward pass, or each as a scalar model of its own."""

    @property
    def single(self) -> Sequence[ScalarModel]:
        """The outputs one by one, T scalar models."""
        ...

    def __call__(self, X: torch.Tensor, /) -> torch.Tensor:
        """Return all outputs, shape (N, T), in one forward pass and differentiably."""
        ...


Model = ScalarModel | TargetsModel
MAX_COMPLETENESS_ERROR = 0.01  # of the promised sum, above which users are told
INCOMPLETE = 0.1  # of the promised sum, above which a map is refused
NOISE = 0.01  # of all that the bases contribute: a smaller miss is no fault, however small the sum
ROUNDING = 32  # a network adds up many numbers, each rounded


class Scores(NamedTuple):
    """What a method computes for N windows of L bases; of a model with T targets, each with an axis T after the first.

    Attributes
    ----------
    prediction
        f(X), (N,).
    hypothetical
        Scores of all four bases, (N, 4, L); 0 but at the base that is there, where a method scores positions.
    completeness_error
        (N,), |Σ track − (f(X) − f(reference))| relative to |f(X) − f(reference)|, beyond what rounding explains; None
        when no sum is promised.
    noise
        (N, L), the standard deviation that the track has where nothing of the sequence matters; None where that is not
        measured.
    """

    prediction: torch.Tensor
    hypothetical: torch.Tensor
    completeness_error: torch.Tensor | None = None
    noise: torch.Tensor | None = None

    def track(self, X: torch.Tensor) -> torch.Tensor:
        """Scores of the bases that are there in X (N, 4, L): (N, L), or (N, T, L)."""
        return project(self.hypothetical, X)


class Method(ABC):
    """One attribution method.

    Attributes
    ----------
    name
        What users call it by.
    signed
        Whether negative scores mean "lowers the output"; False when only magnitudes are given.
    sums_to_difference
        Whether the track is promised to sum to f(X) − f(reference).
    remedy
        What to do when the sum is off.
    shares_targets
        Whether one instance scores several targets at once (:meth:`attribute_targets`); otherwise each target gets an
        instance of its own, which may keep what :meth:`prepare` learnt about the model.
    scores_unknown
        Whether the hypothetical scores at an unknown base mean something; otherwise they are stored as 0. The track is
        0 there in any case.
    hypothetical
        Whether all four bases are scored; False when only positions are, and `Scores.hypothetical` is 0 but at the base
        that is there.
    needs_gradient
        Whether the model has to be differentiable; False for a method that only calls it.
    measures_noise
        Whether the scores come with their noise.
    can_compile
        Whether the model is only called, and its input's gradient taken, so that it may be compiled.
    span
        The part of a window that is kept, None for all of it: what one that scores base by base need not go beyond.
    """

    name: ClassVar[str]
    signed: ClassVar[bool] = True
    sums_to_difference: ClassVar[bool] = False
    remedy: ClassVar[str] = ""
    shares_targets: ClassVar[bool] = False
    scores_unknown: ClassVar[bool] = False
    hypothetical: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = True
    can_compile: ClassVar[bool] = False
    measures_noise: ClassVar[bool] = False
    span: Span | None = None

    def keep(self, span: Span, length: int) -> None:
        """Hear, before any window of `length` bases is attributed, which of its bases are kept."""
        self.span = None if span.length == length else span

    def prepare(self, model: ScalarModel, X: torch.Tensor, batch_size: int) -> None:  # noqa: B027 (most need nothing)
        """Look at the model once, before any window is attributed.

        Parameters
        ----------
        model
            f: (N, 4, L) → (N,), frozen, in evaluation mode and on its device.
        X
            One window, (1, 4, L).
        batch_size
            How many windows' forward and backward passes suit the device.

        Raises
        ------
        MethodError, ModelError
            The method cannot explain this model; says what stands in the way and what to use instead.
        """

    def prepare_targets(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Look once at a model of several targets that this instance is to score; see :meth:`prepare`.

        Called instead of :meth:`prepare`, and only where `shares_targets`.
        """
        for single in model.single:
            self.prepare(single, X, batch_size)

    def windows_at_once(self, batch_size: int) -> int:
        """Windows to hand over together when `batch_size` sequences suit the device.

        Fewer for a method that makes a batch of many sequences out of each window.
        """
        return batch_size

    def n_passes(self, length: int) -> int:
        """Sequences that go through the model for each window of `length` bases: how long a window takes."""
        return 1

    @abstractmethod
    def attribute(self, model: ScalarModel, X: torch.Tensor) -> Scores:
        """Score one batch.

        Parameters
        ----------
        model
            f: (N, 4, L) → (N,), frozen and in evaluation mode.
        X
            One-hot windows, (N, 4, L), on the model's device. Anything random comes from their bases
            (:mod:`seqsal.sequence.draws`), so that no result depends on which other windows there are; a batch of
            another size may round differently, by about 1e-6 of the largest score or prediction.
        """

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch for several targets, each exactly as :meth:`attribute` would by itself.

        Parameters
        ----------
        model
            The targets, frozen and in evaluation mode.
        X
            As for :meth:`attribute`.

        Returns
        -------
        list of Scores
            One a target. A method that overrides this to share work between targets sets `shares_targets`.
        """
        return [self.attribute(single, X) for single in model.single]

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Options that shaped the result, to be recorded with it."""
        return {}


class OneTarget:
    """A scalar model, f: (N, 4, L) → (N,), as a model of one target."""

    def __init__(self, model: ScalarModel) -> None:
        self.single = (model,)

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Return f(X), shape (N, 1).

        Raises
        ------
        ModelError
            The model gives another shape than (N,).
        """
        prediction = self.single[0](X)
        check_prediction(prediction, len(X))
        return prediction[:, None]


class SharedForward(Method):
    """A method whose formula scores several targets at once; one target is the case T = 1."""

    shares_targets = True

    @abstractmethod
    def score(self, f: TargetsModel, X: torch.Tensor) -> Scores:
        """Score one batch (N, 4, L) for T targets: :class:`Scores` with an axis T."""

    def attribute(self, model: ScalarModel, X: torch.Tensor) -> Scores:
        """Score one batch; see :meth:`Method.attribute`."""
        return self.attribute_targets(OneTarget(model), X)[0]

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score one batch for several targets; see :meth:`Method.attribute_targets`."""
        scores = self.score(model, X)
        n_targets = scores.prediction.shape[1]
        each = [[None] * n_targets if part is None else part.unbind(dim=1) for part in scores]
        return [Scores(*parts) for parts in zip(*each, strict=True)]


class ReverseComplementAverage(Method):
    """Average a method over both strands: ½ (h(x) + rc(h(rc(x)))), and the same for the prediction.

    The result for the reverse complement of a sequence is exactly the reverse complement of its result, whatever the
    model: each strand's references and noise are drawn from its own bases, so both sequences have the same two halves.
    """

    name = "reverse_complement_average"

    def __init__(self, method: Method) -> None:
        self.method = method
        self.signed, self.sums_to_difference = method.signed, method.sums_to_difference  # type: ignore[misc]
        self.shares_targets, self.scores_unknown = method.shares_targets, method.scores_unknown  # type: ignore[misc]
        self.hypothetical, self.can_compile = method.hypothetical, method.can_compile  # type: ignore[misc]
        self.needs_gradient, self.measures_noise = method.needs_gradient, method.measures_noise  # type: ignore[misc]

    def keep(self, span: Span, length: int) -> None:
        """Keep what either strand needs; see :meth:`Method.keep`."""
        self.method.keep(Span(min(span.start, length - span.end), max(span.end, length - span.start)), length)

    def prepare(self, model: ScalarModel, X: torch.Tensor, batch_size: int) -> None:
        """Prepare the averaged method; see :meth:`Method.prepare`."""
        self.method.prepare(model, X, batch_size)

    def prepare_targets(self, model: TargetsModel, X: torch.Tensor, batch_size: int) -> None:
        """Prepare the averaged method; see :meth:`Method.prepare_targets`."""
        self.method.prepare_targets(model, X, batch_size)

    def windows_at_once(self, batch_size: int) -> int:
        """As many windows as the averaged method takes; see :meth:`Method.windows_at_once`."""
        return self.method.windows_at_once(batch_size)

    def n_passes(self, length: int) -> int:
        """Twice those of the averaged method; see :meth:`Method.n_passes`."""
        return 2 * self.method.n_passes(length)

    def attribute(self, model: ScalarModel, X: torch.Tensor) -> Scores:
        """Score both strands of one batch and average; see :meth:`Method.attribute`."""
        forward = self.method.attribute(model, X)
        return _strand_mean(forward, self.method.attribute(model, reverse_complement_tensor(X)))

    def attribute_targets(self, model: TargetsModel, X: torch.Tensor) -> list[Scores]:
        """Score both strands for several targets and average; see :meth:`Method.attribute_targets`."""
        forward = self.method.attribute_targets(model, X)
        reverse = self.method.attribute_targets(model, reverse_complement_tensor(X))
        return [_strand_mean(*pair) for pair in zip(forward, reverse, strict=True)]

    @property
    def remedy(self) -> str:  # type: ignore[override]
        """What to do when the sum is off, as the averaged method says once it has run."""
        return self.method.remedy

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """Options of the averaged method, and that it is averaged."""
        return {**self.method.options, "rc_average": True}


def _strand_mean(forward: Scores, reverse: Scores) -> Scores:
    """Mean of the scores of X and those of its reverse complement."""
    errors = None
    if forward.completeness_error is not None and reverse.completeness_error is not None:
        errors = torch.maximum(forward.completeness_error, reverse.completeness_error)
    return Scores(
        (forward.prediction + reverse.prediction) / 2,
        (forward.hypothetical + reverse_complement_tensor(reverse.hypothetical)) / 2,
        errors,
        None if forward.noise is None or reverse.noise is None else (forward.noise + reverse.noise.flip(-1)) / 2,
    )


def mask_unknown(hypothetical: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Set the scores of all four bases to 0 where the base is unknown; both (N, 4, L)."""
    return hypothetical.masked_fill(X.sum(dim=1, keepdim=True) == 0, 0.0)


def project(hypothetical: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Scores of the bases that are there: (N, 4, L) and X (N, 4, L) → (N, L); zero where the base is unknown.

    Scores of several targets (N, T, 4, L) give (N, T, L).
    """
    if hypothetical.ndim == 4:  # one by one, so that each has the very bits that it has alone
        return torch.stack([project(of_target, X) for of_target in hypothetical.unbind(dim=1)], dim=1)
    return torch.einsum("nbl,nbl->nl", hypothetical, X.to(hypothetical.dtype))


def sum_over_bases(values: torch.Tensor) -> torch.Tensor:
    """Add up the four bases of (…, 4, L): (…, 1, L). The order is the same whatever the shape, and so are the bits."""
    a, c, g, t = values.unbind(dim=-2)
    return (a + c + g + t).unsqueeze(-2)


def completeness_error(total: torch.Tensor, prediction: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """|Σ track − (f(X) − f(R))| relative to |f(X) − f(R)|, beyond what rounding explains; not differentiable.

    Of the miss, `ROUNDING` times |f(X)| + |f(R)| in units of the last place is left out: where f(X) and f(R) are nearly
    the same large number, their difference is known no better.
    """
    total, prediction, baseline = total.detach(), prediction.detach(), baseline.detach()
    limits, difference = torch.finfo(total.dtype), prediction - baseline
    rounding = ROUNDING * limits.eps * (prediction.abs() + baseline.abs())
    return ((total - difference).abs() - rounding).clamp_min(0) / difference.abs().clamp_min(limits.tiny)


def refuse_incomplete(
    name: str,
    f: TargetsModel,
    scores: Scores,
    X: torch.Tensor,
    baseline: Callable[[], torch.Tensor],
    remedy: Callable[[], str],
) -> None:
    """Raise where a sum is off by more than 10 %, and by more than 1 % of what the bases contribute up and down.

    The latter spares windows whose contributions cancel, so that what is promised is next to nothing. Nothing is
    promised of a profile whose weights are held constant. `baseline` gives f(R), (N, T).
    """
    assert scores.completeness_error is not None
    readout = getattr(f.single[0], "readout", None)
    if getattr(readout, "weighs_logits", False) or not (scores.completeness_error > INCOMPLETE).any():
        return
    track, promised = scores.track(X), scores.prediction - baseline()
    miss = (track.sum(-1) - promised).abs()
    worst = torch.where(miss > NOISE * track.abs().sum(-1), scores.completeness_error, 0.0)
    if not (worst > INCOMPLETE).any():
        return
    window, target = divmod(int(worst.argmax()), worst.shape[1])
    raise MethodError(
        f"{name}: the attributions of a window add up to {float(track[window, target].sum()):.4g}, expected f(X) - "
        f"f(reference) = {float(promised[window, target]):.4g} (off by {float(worst[window, target]):.0%}); "
        f"{remedy()}, "
        "or keep such maps with allow_incomplete=True (--allow-incomplete)"
    )


def check_option(name: str, value: int | str, allowed: Collection[str] | None = None) -> None:
    """Raise unless an option is one of the words that are allowed or, where none are given, a number above 0.

    Raises
    ------
    MethodError
        It is not.
    """
    if allowed is None and isinstance(value, int) and value < 1:
        raise MethodError(f"{name}: got {value}, expected a whole number above 0")
    if allowed is not None and value not in allowed:
        raise MethodError(f"{name}: got {value!r}, expected one of {', '.join(allowed)}")


def check_prediction(prediction: torch.Tensor, n_windows: int) -> None:
    """Raise unless a model returned one number for each window.

    Raises
    ------
    ModelError
        The output has another shape.
    """
    if prediction.shape != (n_windows,):
        raise ModelError(
            f"model: got an output of shape {tuple(prediction.shape)} for {n_windows} windows, expected one number a "
            f"window, ({n_windows},); wrap it with seqsal.wrap(module, target=…)"
        )
