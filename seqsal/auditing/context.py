"""What every part of the audit works on: attributions, the model behind them, and what else is known.

Of attributions that keep a span of each window, codes and maps are those of the span, and what is changed is changed
there; the model sees it in the window of its row, or, where a sequence stands for no row, in those of the audited
regions in turn.

A context samples regions, predicts and attributes any codes just as the attribution file was made (target, output
space, method, options, strand averaging), and remembers what several parts need, such as in-silico mutagenesis.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from seqsal.attribution import METHODS, AttributeOptions, attribute_windows, predict_windows
from seqsal.attribution.passes import predict_codes
from seqsal.auditing.content import Codes, Flags, Ints, Maps, Values, mask_of, spans_in_windows
from seqsal.auditing.settings import AuditSettings
from seqsal.errors import ModelError, StoreError, UsageError, counted
from seqsal.io.attributions import Attributions
from seqsal.io.inputs import WindowSource, open_codes
from seqsal.models import SequenceModel
from seqsal.motifs import Motif, MotifResult
from seqsal.peaks import PEAK_COLUMNS, call_peaks
from seqsal.regions import Span
from seqsal.sequence.codes import N_CODE, reverse_complement
from seqsal.sequence.draws import dinucleotide_shuffle, draw_number
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["SPREAD", "AuditContext", "Explainer", "Made", "one_hot_on"]

Explainer = Callable[[SequenceModel, Codes], Maps]
Spread = Callable[[str, Iterable[dict[str, Any]]], Iterator[Any]]
SPREAD: ContextVar[Spread | None] = ContextVar("spread", default=None)  # who calls methods of a context elsewhere
SPREAD_BP = 1 << 17  # that the model reads in one call elsewhere
SAME_PREDICTION = 1e-2  # of the spread of the predictions
N_CHECKED = 16


def one_hot_on(codes: Codes, device: torch.device) -> torch.Tensor:
    """Return codes (n, L) as one-hot (n, 4, L) on a device."""
    return one_hot_tensor(torch.from_numpy(np.ascontiguousarray(codes)).to(device))


class Made(NamedTuple):
    """Maps of sequences: track (n, L) and, if they were wanted, scores of all four bases (n, 4, L)."""

    track: Maps
    hypothetical: Maps | None


class AuditContext:
    """Attributions under audit, with their model.

    `attr`: attributions of N windows of L bases. `model`: the model that they are about; None leaves out every test
    that asks a model. `settings`: sizes and thresholds. `device`: where to compute. `seed`: of everything random.
    `peaks`: peaks called on `attr`; called at q ≤ 0.05 when None. `motifs`: known motifs, or None. `patterns`: motifs
    found in `attr`, or None. `annotations`: regions that are known to matter, chrom, start, end, or None. `artifacts`:
    the user's own :class:`seqsal.auditing.parts.artifacts.library.Artifact`, in addition to the library, or None.
    `strata`: A row a window, a column a factor such as a batch, of :func:`seqsal.auditing.parts.strata.read_strata`; or
    None. `positives`, `negatives`: codes (n, L) of sequences of either class, such as the training data, or None where
    a class is not known. `other_models`: the same model trained from other seeds or on other folds. `explainer`:
    (model, codes (n, L)) → map (n, L), for attributions that no method of seqsal made: how they were made. `progress`:
    show progress bars. Raises ModelError: The model does not give the predictions that the attributions are about.
    """

    def __init__(
        self,
        attr: Attributions,
        model: SequenceModel | None,
        *,
        settings: AuditSettings | None = None,
        device: torch.device | None = None,
        seed: int = 0,
        peaks: pd.DataFrame | None = None,
        motifs: Sequence[Motif] | None = None,
        patterns: MotifResult | None = None,
        annotations: pd.DataFrame | None = None,
        artifacts: Sequence[Any] | None = None,
        strata: pd.DataFrame | None = None,
        positives: Codes | None = None,
        negatives: Codes | None = None,
        other_models: Sequence[SequenceModel] = (),
        explainer: Explainer | None = None,
        progress: bool = False,
    ) -> None:
        self.attr, self.model, self.seed, self.progress = attr, model, seed, progress
        self.settings = settings or AuditSettings()
        self.device = device or torch.device("cpu")
        self.motifs, self.positives, self.negatives = motifs, positives, negatives
        self.patterns, self.annotations, self.artifacts, self.strata = patterns, annotations, artifacts, strata
        self.other_models, self.explainer = tuple(other_models), explainer
        for other in other_models:
            other.grid = other.grid or getattr(model, "grid", None)  # is read where the model is
        self._given_peaks = peaks
        self._order = self.rng("regions").permutation(len(attr))
        self._substitutions: Maps | None = None
        self._tracks: dict[tuple[str, int], Maps] = {}
        if model is not None:
            self._check_model(model)

    def rng(self, name: str) -> np.random.Generator:
        """Return a generator for one use; that of one use does not depend on what the others draw."""
        return np.random.default_rng([self.seed % 2**32, zlib.crc32(name.encode())])

    def rows(self, n: int) -> Ints:
        """Return n rows of the attributions, or all where there are fewer: random, ascending, rows(n) ⊂ rows(n + 1)."""
        return np.sort(self._order[:n])

    def codes(self, rows: Ints) -> Codes:
        """Return the sequences (n, L) of some windows, as the model reads them."""
        return np.asarray(self.attr.codes[rows])

    def track(self, rows: Ints) -> Maps:
        """Return the map (n, L) of some windows; 0 where the base is unknown."""
        return np.asarray(self.attr.track[rows])

    @property
    def signed(self) -> bool:
        """Whether the map has signs, or magnitudes only."""
        return bool(self.attr.attrs.get("signed", True))

    def region_table(self, rows: Ints) -> pd.DataFrame:
        """Return columns `row`, chrom, start, end and name of some windows."""
        table = self.attr.rows(rows, ["chrom", "start", "end", "name"])
        table.insert(0, "row", rows)
        return table

    @cached_property
    def peaks(self) -> pd.DataFrame:
        """The peaks, with chrom, start, end, sign, summit and q_value; empty where none could be called."""
        if self._given_peaks is not None:
            return self._given_peaks
        try:
            if not self.attr.n_controls and self.model is None:
                raise StoreError("controls: none, and no model to make them with")
            return call_peaks(self.attr, model=self.model, device=str(self.device), progress=self.progress)
        except StoreError:  # no controls, or a track without signal
            return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PEAK_COLUMNS.items()})

    def in_peaks(self, rows: Ints) -> Flags:
        """Whether each base (n, L) of some windows, as the model reads them, is in a peak of either sign."""
        spans, _ = spans_in_windows(self.attr.rows(rows), self.peaks)
        return mask_of(spans, (len(rows), self.attr.length))

    @property
    def can_attribute(self) -> bool:
        """Whether any sequence can be attributed as the attributions were: by a method of seqsal, or the explainer."""
        return self.model is not None and (self.explainer is not None or self.attr.method in METHODS)

    @property
    def rc_average(self) -> bool:
        """Whether the attributions are averages over both strands."""
        return bool(self._options.get("rc_average", False))

    def shuffled(self, codes: Codes, draw: int = 0) -> Codes:
        """Return dinucleotide-preserving shuffles (n, L); another draw, another shuffle."""
        return dinucleotide_shuffle(codes, seed=self.seed, draw=draw_number("audit", draw))

    def shuffles(self, codes: Codes, first: int, n_draws: int) -> Codes:
        """Return the shuffles (n_draws, n, L) of the draws from `first` on, each as in `shuffled`, drawn together."""
        draws = np.repeat(draw_number("audit", first + np.arange(n_draws)), len(codes))
        made = dinucleotide_shuffle(np.tile(codes, (n_draws, 1)), seed=self.seed, draw=draws)
        return made.reshape(n_draws, *codes.shape)

    def in_windows(self, codes: Codes, rows: Ints | None = None) -> Codes:
        """Return the whole windows that the model reads, with sequences (n, L) in their spans.

        They are those of `rows`, repeated where there are more sequences; None takes the audited regions in turn.
        """
        if self.attr.window_codes is None:
            return codes
        rows = np.resize(self.rows(self.settings.n_regions) if rows is None else rows, len(codes))
        whole = np.array(self.attr.window_codes[rows])
        here = whole[:, slice(*self.attr.span)]
        np.copyto(here, codes, where=codes != N_CODE)
        return whole

    def source(self, codes: Codes, rows: Ints | None = None, *, turned: bool = False) -> WindowSource:
        """Return the same as a source, which makes them as they are read; `turned` to the other strand."""
        if not self._has_places:
            return open_codes(reverse_complement(codes) if turned else codes)
        rows = np.resize(self.rows(self.settings.n_regions) if rows is None else rows, len(codes))
        shape = (len(codes), self.attr.window_length)

        def read(part: Any) -> Codes:
            whole = self.in_windows(codes[part], rows[part])
            return reverse_complement(whole) if turned else whole

        made = replace(open_codes(np.broadcast_to(np.uint8(N_CODE), shape)), _read=read)
        if "readout" in self.attr.columns:  # is read where the windows of the rows are
            made.windows = self.attr.windows.iloc[rows].reset_index(drop=True)
            if turned:
                made.windows["strand"] = np.where(made.windows["strand"] == "-", "+", "-")
        return made

    @property
    def _has_places(self) -> bool:
        """Whether it matters of which window a sequence is a part."""
        return self.attr.window_codes is not None or "readout" in self.attr.columns

    def predict(self, codes: Codes, model: SequenceModel | None = None, *, rows: Ints | None = None) -> Values:
        """Predict (n,) any sequences (n, L) in the output space of the attributions, by `model` or that under audit.

        `rows` are those whose windows they stand in; see :meth:`in_windows`.
        """
        spread = SPREAD.get()
        if spread is not None and model is None and len(codes):
            return np.concatenate(list(spread("predict", self._pieces(codes, rows))))
        which = self._chosen(model)
        if not self._has_places:
            return predict_codes(which, codes, device=self.device, rc_average=self.rc_average)
        if not len(codes):
            return np.zeros(0)
        values = predict_windows(which, self.source(codes, rows), device=self.device).astype(np.float64)
        if self.rc_average:
            other = predict_windows(which, self.source(codes, rows, turned=True), device=self.device)
            values = (values + other) / 2
        return values

    def attribute(
        self,
        codes: Codes,
        *,
        method: str | None = None,
        model: SequenceModel | None = None,
        draw: int = 0,
        rows: Ints | None = None,
        turned: bool = False,
        **options: Any,
    ) -> Maps:
        """Attribute any sequences (n, L), by the method of the attributions and with its options, or by another.

        Another `method` has its own default options and averages over strands as the attributions do; without one, an
        `explainer` makes it. `draw` counts other draws of references and noise than those of the attributions. `rows`
        are those whose windows the sequences stand in; `turned` gives the map of the other strand, first base first.
        """
        if self.explainer is not None and method is None:
            whole = self.source(codes, rows, turned=turned).read(slice(None))
            made = np.asarray(self.explainer(self._chosen(model), whole), dtype=np.float32)
            return made[:, slice(*self._span(turned))]
        return self.make(codes, rows, method, model, options, draw=draw, turned=turned).track

    def _pieces(self, codes: Codes, rows: Ints | None) -> Iterator[dict[str, Any]]:
        """Cut sequences, and the rows whose windows they stand in, for one call each."""
        if self._has_places:
            rows = np.resize(self.rows(self.settings.n_regions) if rows is None else rows, len(codes))
        step = max(1, SPREAD_BP // self.attr.window_length)
        for at in range(0, len(codes), step):
            yield {"codes": codes[at : at + step], "rows": None if rows is None else rows[at : at + step]}

    def _span(self, turned: bool = False) -> Span:
        start, end = self.attr.span
        length = self.attr.window_length
        return Span(length - end, length - start) if turned else Span(start, end)

    def map_by(self, method: str, n: int) -> Maps:
        """Return the maps (n, L) that another method gives for `rows(n)`; remembered."""
        if method == self.attr.method:
            return self.track(self.rows(n))
        if (method, n) not in self._tracks:
            self._tracks[method, n] = self.attribute(self.codes(self.rows(n)), method=method, rows=self.rows(n))
        return self._tracks[method, n]

    def hypothetical(self, rows: Ints) -> Maps | None:
        """Return the scores of all four bases (n, 4, L) of some windows, as they were kept or else computed again.

        None where the method scores only the base that is there, or is not known.
        """
        own = None if self.explainer is not None else METHODS.get(self.attr.method)
        if own is None or not own.hypothetical:
            return None
        if self.attr.hypothetical is not None:
            return np.asarray(self.attr.hypothetical[rows])
        if self.model is None:
            return None
        return self.make(self.codes(rows), rows, hypothetical=True).hypothetical

    def substitutions(self, n: int) -> Maps:
        """Return the effect f(X with b at i) - f(X) of every substitution in `rows(n)`, (n, 4, L); remembered.

        It is 0 for the base that is there, and at an unknown base relative to the mean of the four.
        """
        rows = self._order[:n]
        known = 0 if self._substitutions is None else len(self._substitutions)
        if known < len(rows):
            codes = self.codes(rows[known:])
            made = self.make(codes, rows[known:], "ism", hypothetical=True)
            effects = np.array(made.hypothetical, dtype=np.float32)
            there = np.take_along_axis(effects, np.minimum(codes, N_CODE - 1)[:, None].astype(np.int64), axis=1)
            new = np.where((codes == N_CODE)[:, None], effects, effects - there)
            self._substitutions = new if self._substitutions is None else np.concatenate([self._substitutions, new])
        assert self._substitutions is not None
        return self._substitutions[: len(rows)][np.argsort(rows)]

    def losses(self, n: int) -> Values:
        """Return the effect of losing each base of `rows(n)`, (n, L): −⅓ Σ of the three substitutions' effects."""
        return -self.substitutions(n).astype(np.float64).sum(axis=1) / 3

    @cached_property
    def effect_scale(self) -> float:
        """What counts as a large change of the prediction, in units of the attributed output.

        The difference of the mean prediction of the regions and that of their shuffles, or the standard deviation of
        the regions' predictions where that is larger; 0 for a model that gives all sequences the same.
        """
        rows = self.rows(self.settings.n_regions)
        codes = self.codes(rows)
        values, shuffled = self.predict(codes, rows=rows), self.predict(self.shuffled(codes), rows=rows)
        return float(max(abs(values.mean() - shuffled.mean()), values.std()))

    @cached_property
    def _options(self) -> dict[str, Any]:
        return dict(self.attr.attrs.get("options", {}))

    def _chosen(self, model: SequenceModel | None) -> SequenceModel:
        which = self.model if model is None else model
        if which is None:
            raise UsageError("model: none given, expected the one that the attributions are about")
        return which

    def make(
        self,
        codes: Codes,
        rows: Ints | None = None,
        method: str | None = None,
        model: SequenceModel | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        hypothetical: bool = False,
        draw: int = 0,
        turned: bool = False,
    ) -> Made:
        """Return what :meth:`attribute` does and, if wanted, the scores of all four bases; no `explainer` is called."""
        spread, options = SPREAD.get(), options or {}
        if spread is not None and model is None and len(codes):
            how = {"method": method, "options": options, "hypothetical": hypothetical, "draw": draw, "turned": turned}
            parts = list(spread("make_from", ({**piece, "model": None, **how} for piece in self._pieces(codes, rows))))
            track, scores = zip(*parts, strict=True)
            return Made(np.concatenate(track), np.concatenate(scores) if hypothetical else None)
        return self.make_from(codes, rows, method, model, options, hypothetical, draw, turned)

    def make_from(
        self, codes: Codes, rows: Ints | None, method: str | None, model: SequenceModel | None,
        options: Mapping[str, Any], hypothetical: bool, draw: int, turned: bool,
    ) -> Made:  # fmt: skip
        """Do what :meth:`make` does, in this process."""
        own = {key: value for key, value in self._options.items() if key not in ("rc_average", "input_length")}
        if " " in str(own.get("layer", "")):  # a layer that cam or grad_cam found, "last convolution", and not a name
            del own["layer"]
        same = method is None or method == self.attr.method
        settings = AttributeOptions(
            method=method or self.attr.method,
            method_options={**(own if same else {}), **options},
            rc_average=self.rc_average,
            n_controls=0,
            hypothetical=hypothetical,
            seed=int(self.attr.attrs.get("seed", self.seed)),
            draw=int(self.attr.attrs.get("draw", 0)) + draw,
            span=None if self.attr.window_codes is None else self._span(turned),
        )
        source = self.source(codes, rows, turned=turned)
        made = attribute_windows(self._chosen(model), source, settings, device=self.device, progress=self.progress)
        return Made(*(None if one is None else np.asarray(one) for one in (made.track, made.hypothetical)))  # type: ignore[arg-type]

    def _check_model(self, model: SequenceModel) -> None:
        rows = self.rows(N_CHECKED)
        stored = np.asarray(self.attr.prediction[rows], dtype=np.float64)
        if not np.isfinite(stored).all():  # attributions of others need not say what was predicted
            return
        ours = self.predict(self.codes(rows), rows=rows)
        off = float(np.abs(ours - stored).max())
        if off > SAME_PREDICTION * max(float(stored.std()), 1e-3 * float(np.abs(stored).max()), 1e-6):
            raise ModelError(
                f"model: predicts {ours[0]:.4g} for the first region looked at, but the attributions are about a "
                f"prediction of {stored[0]:.4g} (off by up to {off:.2g} in {counted(len(rows), 'region')}); give the "
                "model, target and output space that they were made with"
            )
