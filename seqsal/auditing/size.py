"""What the work of an audit follows from: its settings, what is audited, and what it is given.

Notation: N regions of L bases, R = min(N, `n_regions`), I = min(N, `n_ism_regions`), S = min(N, `n_small`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from seqsal.attribution import METHODS, AttributeOptions, make_method
from seqsal.attribution.request import options_of, plan_families
from seqsal.auditing.artifacts.findings import LEAST_SHUFFLES
from seqsal.auditing.artifacts.unknown import MIN_SHUFFLES
from seqsal.auditing.randomize import Randomizer
from seqsal.auditing.relabel import trained_config
from seqsal.auditing.settings import AuditSettings
from seqsal.models import SequenceModel

__all__ = ["AuditSize", "size_of"]


@dataclass(frozen=True)
class AuditSize:
    """What the work of an audit follows from.

    Attributes
    ----------
    settings
        Of the audit.
    n_regions, length
        N and L.
    method, method_options
        How the map is made, as :func:`seqsal.attribution.make_method` takes it.
    rc_average
        Whether it is an average over both strands.
    n_layers
        Layers of the model whose weights can be random; 0 where it has none.
    has_norms
        Whether there are normalisation statistics to renew with each draw of weights.
    keeps_hypothetical
        Whether the file has the scores of all four bases.
    n_other_models
        Models to compare with.
    n_positives, n_negatives
        Sequences of either class; None where a class is not known.
    retrainable
        Whether the network is one that can be trained again on other labels.
    """

    settings: AuditSettings
    n_regions: int
    length: int
    method: str
    method_options: Mapping[str, Any] = field(default_factory=dict)
    rc_average: bool = False
    n_layers: int = 0
    has_norms: bool = False
    keeps_hypothetical: bool = True
    n_other_models: int = 0
    n_positives: int | None = None
    n_negatives: int | None = None
    retrainable: bool = True

    @property
    def looked_at(self) -> int:
        """R, regions of the curves and of composition."""
        return min(self.n_regions, self.settings.n_regions)

    @property
    def small(self) -> int:
        """S, regions of the tests that attribute again and again."""
        return min(self.n_regions, self.settings.n_small)

    @property
    def mutated(self) -> int:
        """I, regions whose every substitution is tried."""
        return min(self.n_regions, self.settings.n_ism_regions)

    @property
    def signed(self) -> bool:
        """Whether the map has signs."""
        return METHODS[self.method].signed

    @property
    def artifacts_bp(self) -> int:
        """Bases that are searched for artifacts: examples and classes with their shuffles, and the regions again."""
        sets = [min(self.n_regions, self.settings.n_examples)]
        if self.n_positives is not None and self.n_negatives is not None:
            sets += 2 * [min(self.n_positives, self.settings.n_examples)]
            sets += 2 * [min(self.n_negatives, self.settings.n_examples)]
        return self.length * (self.looked_at + MIN_SHUFFLES + sum(n + max(n, LEAST_SHUFFLES) for n in sets))

    @property
    def scanned_bp(self) -> int:
        """Bases that are scanned for known motifs."""
        return min(self.looked_at * self.length, self.settings.n_scan_bp)

    def n_passes(self, method: str) -> int:
        """Sequences through the model for one window by a method, at most: `ism` may need fewer."""
        options = self.method_options if method == self.method else {}
        return make_method(method, rc_average=self.rc_average, **options).n_passes(self.length)


def size_of(
    settings: AuditSettings,
    n_regions: int,
    model: SequenceModel,
    codes: NDArray[np.uint8],
    options: AttributeOptions,
    *,
    device: torch.device,
    n_other_models: int = 0,
    n_positives: int | None = None,
    n_negatives: int | None = None,
) -> AuditSize:
    """Size an audit of attributions that are still to be made.

    Parameters
    ----------
    settings, n_regions, n_other_models, n_positives, n_negatives
        Of the audit, as in :class:`AuditSize`.
    model, codes
        The model, and windows (n, L), one or more, that show it the order of its layers.
    options
        How the attributions will be made; the first of several results is audited.
    device
        Where to compute.
    """
    method = plan_families(options)[0].method
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return AuditSize(
        settings,
        n_regions,
        codes.shape[1],
        options.methods[0],
        options_of(options.methods[0], options),
        rc_average=options.rc_average,
        n_layers=len(Randomizer(model, codes[:1], lambda name: np.random.default_rng(0), device).layers),
        has_norms=any(norm.running_mean is not None for norm in norms),
        keeps_hypothetical=options.hypothetical is not False and method.hypothetical,
        n_other_models=n_other_models,
        n_positives=n_positives,
        n_negatives=n_negatives,
        retrainable=trained_config(model.module) is not None,
    )
