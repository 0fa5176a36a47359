"""The knobs of training, flat, so that they travel as JSON inside the checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

from seqsal.errors import TrainingError, did_you_mean

__all__ = ["CUTOUTS", "NEGATIVE_SAMPLINGS", "PRIORS", "TrainConfig"]

CUTOUTS = ("none", "random", "salient")
PRIORS = ("fourier", "consistency")
NEGATIVE_SAMPLINGS = ("auto", "gc", "random", "shuffle")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; what to train is `CNNConfig`.

    Parameters
    ----------
    epochs
        Passes over the training examples, at most.
    patience
        Stop after so many epochs without a lower validation loss.
    batch_size
        Sequences per step.
    learning_rate
        Peak of the one-cycle schedule (Smith and Topin 2018, arXiv:1708.07120).
    warmup
        Share of all steps in which the rate rises.
    weight_decay
        Of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
    weight_average
        Decay per step of the moving average of the weights that is validated and kept (Polyak and Juditsky 1992,
        doi:10.1137/0330046); 0 keeps the last weights.
    max_shift
        Windows are moved by up to so many bp either way, drawn anew in each epoch.
    reverse_complement
        Show each window from a random strand, drawn anew in each epoch.
    balance
        Weigh the positives of a binary target so that both classes count the same in the loss.
    negative_sampling
        Where negatives come from when none are given: ``gc`` (windows of the genome with the positives' GC content),
        ``random`` (any windows of the genome), ``shuffle`` (dinucleotide shuffles of the positives), or ``auto``:
        ``gc`` with a genome, else ``shuffle``.
    negatives_per_positive
        How many negatives to sample for each positive.
    mine
        Rounds of hard-negative mining (:mod:`seqsal.training.mining`): score further negatives of the training part,
        add the strongest, and train anew; only for a binary model.
    min_distance
        Least distance in bp of a sampled window from any positive; None takes the input length.
    valid_fraction, test_fraction
        Shares of the positives for validation and test when no chromosomes are named.
    allow_overlap
        Train even where more than 5 % of a class shares its sequence or its place with the other.
    target_columns
        Columns of the positives' table that hold the targets of a regression or count model (``score`` is column 5 of
        a BED file), one for each target. A binary model with several targets reads its 0/1 labels from them.
    mask_weight, mask_warmup, mask_method
        Of the loss on maps, where masks are given (:mod:`seqsal.training.relevance`): its weight, the share of all
        steps over which that rises from 0, and the attribution method of the maps.
    freeze
        Parts of the network that stay as they are, by the beginning of their names: ``stem``, ``blocks``,
        ``blocks.0``, ``head``, …; with weights to start from.
    count_weight
        Of the squared error of log counts in the loss of a profile; None takes half the mean count of a training
        window, which gives both about the same say (Avsec et al. 2021, doi:10.1038/s41588-021-00782-6).
    cutout, cutout_probability, cutout_width
        ``salient`` shuffles the stretch of so many bases that the network looks at most, ``random`` any, in this share
        of the windows of a batch (:mod:`seqsal.training.cutout`); ``none``.
    priors
        Losses on maps (:mod:`seqsal.training.priors`), ``fourier`` or ``consistency``, each with a weight of 1 or as
        ``fourier:0.5``; they rise as masks do.
    temperature, match_maps
        With teachers (:mod:`seqsal.training.distill`): what divides logits before both probabilities are compared, and
        the weight of the distance of maps; 0 leaves maps out.

    Raises
    ------
    TrainingError
        A value outside what is possible.
    """

    epochs: int = 12
    patience: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: float = 0.2
    weight_decay: float = 0.01
    weight_average: float = 0.99
    max_shift: int = 8
    reverse_complement: bool = True
    balance: bool = True
    negative_sampling: str = "auto"
    negatives_per_positive: int = 4
    mine: int = 0
    min_distance: int | None = None
    valid_fraction: float = 0.15
    test_fraction: float = 0.15
    target_columns: tuple[str, ...] = ("score",)
    allow_overlap: bool = False
    freeze: tuple[str, ...] = ()
    count_weight: float | None = None
    mask_weight: float = 1.0
    mask_warmup: float = 0.2
    mask_method: str = "gradient_x_input"
    cutout: str = "none"
    cutout_probability: float = 0.5
    cutout_width: int = 20
    priors: tuple[str, ...] = ()
    temperature: float = 1.0
    match_maps: float = 0.0

    def __post_init__(self) -> None:
        for name in ("target_columns", "priors"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("epochs", "patience", "batch_size", "negatives_per_positive"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "a whole number above 0")
        _check("learning_rate", self.learning_rate, self.learning_rate > 0, "a number above 0")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        _check("max_shift", self.max_shift, self.max_shift >= 0, "0 or more bp")
        _check("mask_weight", self.mask_weight, self.mask_weight >= 0, "0 or more")
        weight = self.count_weight
        _check("count_weight", weight, weight is None or weight >= 0, "0 or more")
        for name in ("warmup", "weight_average", "mask_warmup"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a number from 0 to below 1")
        for name in ("valid_fraction", "test_fraction"):
            _check(name, getattr(self, name), 0 < getattr(self, name) < 0.5, "a share between 0 and 0.5")
        _check("mine", self.mine, self.mine >= 0, "0 or more rounds")
        distance = self.min_distance
        _check("min_distance", distance, distance is None or distance >= 0, "0 or more bp")
        _check("cutout", self.cutout, self.cutout in CUTOUTS, " or ".join(CUTOUTS))
        chance = self.cutout_probability
        _check("cutout_probability", chance, 0 < chance <= 1, "a share above 0, 1 at most")
        _check("cutout_width", self.cutout_width, self.cutout_width >= 2, "2 bp or more")
        heat = self.temperature
        _check("temperature", heat, 0 < heat < math.inf, "a number above 0")
        _check("match_maps", self.match_maps, 0 <= self.match_maps < math.inf, "0 or more")
        _ = self.prior_weights
        sampling = self.negative_sampling
        _check("negative_sampling", sampling, sampling in NEGATIVE_SAMPLINGS, " or ".join(NEGATIVE_SAMPLINGS))

    @property
    def prior_weights(self) -> dict[str, float]:
        """Weights of the priors by name; TrainingError where one is not understood."""
        weights = dict[str, float]()
        for text in self.priors:
            name, _, number = text.partition(":")
            try:
                weight = float(number) if ":" in text else 1.0
            except ValueError:
                weight = math.nan
            if name not in PRIORS or name in weights or not 0 < weight < math.inf:
                meant = "" if name in PRIORS else did_you_mean(name, PRIORS)
                raise TrainingError(
                    f"prior: got {text!r}{meant}, expected {' or '.join(PRIORS)}, each once, "
                    "with a weight above 0 such as fourier:0.5"
                )
            weights[name] = weight
        return weights


def _check(name: str, value: object, is_good: bool, expected: str) -> None:
    if not is_good:
        raise TrainingError(f"{name}: got {value!r}, expected {expected}")
