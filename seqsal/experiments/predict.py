"""What models say of both alleles: targets of one or several models, averaged over strands, with profiles compared.

Of a substitution of one base only what it changes is computed for the alternative allele, where the model's operations
allow it (:mod:`seqsal.attribution.ism.pairs`); other alleles take whole forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.compute import Batches, batches_for, fast_predictions
from seqsal.attribution.ism.pairs import PairModel
from seqsal.attribution.targets import TargetView, with_target
from seqsal.errors import ModelError
from seqsal.experiments.words import written
from seqsal.io.inputs import open_codes
from seqsal.models import SequenceModel
from seqsal.models.contrast import Target
from seqsal.sequence.codes import reverse_complement
from seqsal.sequence.tensors import one_hot_tensor

if TYPE_CHECKING:
    from seqsal.experiments.variants.alleles import Pairs

__all__ = ["PairScores", "Predictor"]

Values = NDArray[np.float64]
TINY = 1e-12
WORDS = 64  # of a window at once
FORWARD = 4  # times as many windows at once as with a backward pass


@dataclass(frozen=True)
class PairScores:
    """Scores of both alleles, by evaluation (a model, strand or anchoring, E of them): (E, n, T).

    `model` (E,) is the number of the model; `distance` (E, n, T) that of the profiles, None without any.
    """

    ref: Values
    alt: Values
    model: NDArray[np.int64]
    distance: Values | None

    @classmethod
    def join(cls, parts: Sequence[PairScores]) -> PairScores:
        """Put evaluations of the same variants together."""
        ref, alt, model = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ref", "alt", "model"))
        distances = [part.distance for part in parts if part.distance is not None]
        return cls(ref, alt, model, np.concatenate(distances) if distances else None)


class Predictor:
    """Models on a device; a context manager that gives them back as they were.

    `targets` None are the models' own. `batch_size` None lets the device decide.
    """

    def __init__(
        self, models: Sequence[SequenceModel], targets: Sequence[Target | None], *, device: torch.device,
        rc_average: bool = True, batch_size: int | None = None,
    ) -> None:  # fmt: skip
        self.models, self.targets, self.device = list(models), list(targets), device
        self.rc_average, self._batch_size = rc_average, batch_size
        self._stack = ExitStack()
        self._ready: list[tuple[TargetView, PairModel, Batches]] = []

    def prepare(self, example: NDArray[np.uint8], n_windows: int) -> None:
        """Look at the models with an example (1, L) of `n_windows` windows."""
        source, X = open_codes(example), self._one_hot(example)
        for model in self.models:
            batches = self._stack.enter_context(
                batches_for(model, source, self.device, n_windows, batch_size=self._batch_size)
            )
            first = fast_predictions(with_target(model, self.targets[0]), X)
            chosen = TargetView(first, self.targets, self.device)
            if self._batch_size is None:  # that number is for what a gradient keeps, which nothing here does
                batches = batches.resized(FORWARD * batches.batch_size)
            local = PairModel(TargetView(model, self.targets, self.device), X)
            self._ready.append((chosen, local, batches))

    def score(self, pairs: Pairs) -> PairScores:
        """Score the windows of both alleles."""
        parts = []
        strands = (False, True) if self.rc_average else (False,)
        for number, (chosen, local, batches) in enumerate(self._ready):
            has_profile = self.models[number].has_profile
            for is_reverse in strands:
                windows = [reverse_complement(codes) if is_reverse else codes for codes in (pairs.ref, *pairs.alts)]
                at = pairs.at if pairs.at is None or not is_reverse else pairs.ref.shape[1] - 1 - pairs.at
                if at is not None and not has_profile and local.is_fit:
                    ref, alt = self._locally(local, batches, windows[0], windows[1], at)
                    parts.append(PairScores(ref[None], alt[None], np.array([number]), None))
                    continue
                found = [self._whole(chosen, batches, codes, has_profile, number) for codes in windows]
                (ref, ref_profile), alts = found[0], found[1:]
                for alt, profile in alts:
                    apart = None
                    if ref_profile is not None and profile is not None:
                        apart = _js_distance(ref_profile, profile)[None, :, None].repeat(len(self.targets), 2)
                    parts.append(PairScores(ref[None], alt[None], np.array([number]), apart))
        return PairScores.join(parts)

    def predict(self, codes: NDArray[np.uint8]) -> Values:
        """Predict windows (n, L), averaged over models and strands, (n, T)."""
        strands = [codes, reverse_complement(codes)] if self.rc_average else [codes]
        return np.mean([self._whole(chosen, batches, one, False, 0)[0] for chosen, _, batches in self._ready
                        for one in strands], axis=0)  # fmt: skip

    def written(
        self, codes: NDArray[np.uint8], words: NDArray[np.uint8], start: NDArray[np.int64], forward: NDArray[np.bool_]
    ) -> Values:
        """Predict windows (n, L) with words (K, w) at `start` (n,), turned where not `forward`, on the first target.

        Returns (K, n). Each window is computed once, and of each word what it changes, where the model allows.
        """
        length, width = codes.shape[1], words.shape[1]
        if not all(local.is_fit for _, local, _ in self._ready):
            replaced = written(codes, words, start, forward)
            return self.predict(replaced.reshape(-1, length))[:, 0].reshape(len(words), -1)
        total = np.zeros((len(words), len(codes)))
        strands = (False, True) if self.rc_average else (False,)
        turned = reverse_complement(words)
        for _, local, batches in self._ready:

            def compute(first: int, stop: int, local: PairModel = local) -> None:
                for row in range(first, stop):
                    for is_reverse in strands:
                        window = codes[row : row + 1]
                        X = self._one_hot(reverse_complement(window) if is_reverse else window)
                        own = self._one_hot(words if forward[row] != is_reverse else turned)
                        at = length - int(start[row]) - width if is_reverse else int(start[row])
                        for low in range(0, len(own), WORDS):
                            part = slice(low, low + WORDS)
                            with torch.no_grad():
                                total[part, row] += local.words(X, at, own[part])[:, 0].cpu().numpy()

            batches.run(compute, len(codes))
        return self._finite(total / (len(self._ready) * len(strands)))

    def _locally(
        self, local: PairModel, batches: Batches, ref: NDArray[np.uint8], alt: NDArray[np.uint8], at: int
    ) -> tuple[Values, Values]:
        """Score pairs that differ at one position, (n, T) each."""
        found = np.empty((2, len(ref), len(self.targets)))

        def compute(start: int, stop: int) -> None:
            bases = torch.from_numpy(alt[start:stop, at].astype(np.int64)).to(self.device)
            with torch.no_grad():
                found[:, start:stop] = local(self._one_hot(ref[start:stop]), at, bases).cpu().numpy()

        batches.run(compute, len(ref))
        return self._finite(found[0]), self._finite(found[1])

    def _whole(
        self, chosen: TargetView, batches: Batches, codes: NDArray[np.uint8], has_profile: bool, number: int
    ) -> tuple[Values, Values | None]:
        """Score windows (n, T), with their profiles (n, tracks, positions) where there are any."""
        values = np.empty((len(codes), len(self.targets)))
        profiles: dict[int, Values] = {}
        model = self.models[number]

        def compute(start: int, stop: int) -> None:
            X = self._one_hot(codes[start:stop])
            with torch.no_grad():
                values[start:stop] = chosen(X).double().cpu().numpy()
                if has_profile:
                    profiles[start] = model.profile(X).double().cpu().numpy()

        batches.run(compute, len(codes))
        whole = np.concatenate([profiles[start] for start in sorted(profiles)]) if profiles else None
        return self._finite(values), whole

    def _one_hot(self, codes: NDArray[np.uint8]) -> torch.Tensor:
        return one_hot_tensor(torch.from_numpy(np.ascontiguousarray(codes)).to(self.device))

    def _finite(self, values: Values) -> Values:
        if not np.isfinite(values).all():
            raise ModelError("model: gives values that are not finite for some alleles; check the weights")
        return values

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _js_distance(a: Values, b: Values) -> Values:
    """Jensen–Shannon distance, base 2, of profiles (n, tracks, positions), its mean over tracks, (n,).

    The square root of the divergence (Endres and Schindelin 2003, doi:10.1109/TIT.2003.813506).
    """
    middle = np.maximum((a + b) / 2, TINY)
    apart = sum((x * np.log2(np.maximum(x, TINY) / middle)).sum(-1) for x in (a, b)) / 2
    return np.asarray(np.sqrt(np.maximum(apart, 0)).mean(-1))
