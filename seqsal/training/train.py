"""Train the built-in model from regions or sequences: one call from files to a checkpoint with its test metrics."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.errors import TrainingError, counted
from seqsal.io.atomic import check_writable
from seqsal.models.checkpoint import load_checkpoint, save_checkpoint, to_json
from seqsal.models.cnn import CNN, CNNConfig
from seqsal.models.state import resolve_device, seeded
from seqsal.training.distill import Teacher, read_teacher, warn_of_leaks
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import (
    DivergedError,
    HeldOut,
    TrainingState,
    cpu_threads,
    evaluate,
    fit,
    mixed_precision,
    predict_raw,
    state_path,
)
from seqsal.training.metrics import binary_curves, calibration_curve, intervals
from seqsal.training.mining import Miner
from seqsal.training.negatives import negatives_text
from seqsal.training.relevance import Masks, check_mask_method, mark_examples
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import PROFILE_METRICS, Paths, Signal
from seqsal.training.sources import Regions, common_length
from seqsal.training.split import PARTS
from seqsal.training.start import check_frozen, freeze, start_from, started_config

__all__ = ["TrainResult", "train_examples", "train_model"]

logger = logging.getLogger(__name__)
_N_CHROMS_LISTED = 200  # of a part, in the metadata


@dataclass(frozen=True)
class TrainResult:
    """A trained model and what is known of its training.

    Parameters
    ----------
    model : CNN
        The averaged weights of the best epoch, on the CPU, in evaluation mode.
    metadata : dict
        ``metrics`` (``valid`` and ``test``), ``history`` (one entry for each epoch), ``best_epoch``, ``split``
        (chromosomes and counts of each part), ``mining`` (one entry for each round, where there are any: candidates,
        how many were added, the range of their scores, and how many of them the network took for positives),
        ``training`` (`TrainConfig`), ``inputs``, ``seed``, ``device``. What the
        checkpoint holds.

    Examples
    --------
    >>> from seqsal.models import CNNConfig
    >>> TrainResult(CNN(CNNConfig(40, n_filters=4)), {"metrics": {"test": {"auroc": 0.97}}}).test_metrics["auroc"]
    0.97
    """

    model: CNN
    metadata: dict[str, Any]

    @property
    def test_metrics(self) -> dict[str, Any]:
        """Metrics of the test part, which played no part in training, with the numbers of examples."""
        return self.metadata["metrics"]["test"]

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{name}={value:.4f}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.test_metrics.items()
            if not isinstance(value, (list, str))
        )
        return (
            f"TrainResult(best epoch {self.metadata['best_epoch']} of {len(self.metadata['history'])}, test: {numbers})"
        )

    def summary(self) -> str:
        """Say how well the model does on the test part, with 95 % intervals, and on what.

        Examples
        --------
        >>> from seqsal.models import CNNConfig
        >>> test = {"auroc": 0.97, "auroc_interval": [0.9, 0.99], "n_positives": 40, "n_negatives": 40}
        >>> test["negatives"] = "given"
        >>> print(TrainResult(CNN(CNNConfig(40, n_filters=4)), {"metrics": {"test": test}}).summary())
        test auroc: 0.970 (95 % interval 0.900 to 0.990)
        on 40 positives and 40 negatives (given)
        """
        test = self.test_metrics
        lines = []
        for name in ("auroc", "average_precision", "pearson", "spearman", *PROFILE_METRICS):
            value, interval = test.get(name), test.get(f"{name}_interval")
            if isinstance(value, list):
                names = self.metadata.get("target_names") or map(str, range(len(value)))
                said = ", ".join(f"{one} {_shown(number)}" for one, number in zip(names, value, strict=True))
            else:
                said = _shown(value) + (" (95 % interval {:.3f} to {:.3f})".format(*interval) if interval else "")
            if value is not None:
                lines.append(f"test {_METRIC_NAMES.get(name, name.replace('_', ' '))}: {said}")
        on = " and ".join(counted(test[f"n_{kind}s"], kind) for kind in ("positive", "negative"))
        on += f" ({test['negatives']})"
        lines.append(f"on {on if test['n_negatives'] else counted(test['n_positives'], 'region')}")
        if weight := self.metadata.get("class_weight"):
            error = test.get("calibration_error")
            lines.append(
                f"classes: a positive weighs {weight:.3g} times a negative in the loss"
                + (f"; calibration error without that: {error:.3f}" if error is not None else "")
            )
        if "stopped" in self.metadata:
            lines.append(f"trained: {self.metadata['stopped']}")
        mining = self.metadata.get("mining")
        return "\n".join([*lines, *([f"hard negatives: {mined_text(mining)}"] if mining else [])])


_METRIC_NAMES = {
    "profile_log_likelihood": "profile log-likelihood (a window)",
    "profile_jsd": "profile Jensen-Shannon divergence",
    "profile_pearson": "profile pearson (smoothed)",
}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def mined_text(rounds: Sequence[dict[str, Any]]) -> str:
    """Say what rounds of mining added."""
    n_added, n_taken = (sum(one[name] for one in rounds) for name in ("n_added", "n_taken_for_positives"))
    return (
        f"{n_added:,} of {sum(one['n_candidates'] for one in rounds):,} candidates were added in "
        f"{counted(len(rounds), 'round')}, {n_taken:,} of which the network had taken for positives"
    )


def train_model(
    positives: Regions,
    negatives: Regions | None = None,
    *,
    genome: str | os.PathLike[str] | None = None,
    config: CNNConfig | None = None,
    training: TrainConfig | None = None,
    valid_chroms: Sequence[str] | None = None,
    test_chroms: Sequence[str] | None = None,
    relevant: Masks | None = None,
    irrelevant: Masks | None = None,
    teachers: Sequence[str | os.PathLike[str]] | None = None,
    signal: Paths = (),
    control: Paths = (),
    stranded: bool | None = None,
    init: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    seed: int = 0,
    device: str | torch.device = "auto",
    progress: bool = False,
) -> TrainResult:
    r"""Train a `CNN` on regions of a genome or on sequences.

    Chromosomes are held out whole: the validation part chooses the epoch, the test part is looked at once, at the end.
    FASTA records without genome coordinates are split by a hash of their names. Negatives, where none are given, are
    sampled as `TrainConfig` says and stay in the part that they were sampled from or for.

    Parameters
    ----------
    positives
        BED or FASTA file, or region table. For a regression or count model every region with its value.
    negatives
        Likewise; only for a binary model.
    genome
        FASTA, plain or bgzip, for regions.
    config
        Sizes of the model; None takes the defaults for the positives' common length and one binary target.
    training
        How to train; None takes the defaults.
    valid_chroms, test_chroms
        Chromosomes to hold out; None chooses some that hold about `valid_fraction` and `test_fraction` of the
        positives.
    relevant, irrelevant
        Bases that the network is to look at, and those that it is not to: BED files, such as an expert's marks or the
        `shortcuts.bed` of an audit, or region tables. Maps of the network in training that say otherwise add to its
        loss (:mod:`seqsal.training.relevance`).
    teachers
        Checkpoints of networks with the same targets and window length; what they predict, on average, adds to the
        loss, as `temperature` and `match_maps` of `training` say (:mod:`seqsal.training.distill`).
    signal
        bigWig files of counts at `positives`, regions of a genome, each a target. By default the profile in the middle
        of each window is learnt and the counts there (`CNNConfig.for_profile`); a `config` for count or regression
        learns the sum or the mean of each track over each window.
    control
        bigWig files, such as an input, that a profile is given next to the sequence; zeros when it is explained.
    stranded
        Tracks come in pairs, plus and minus, which change places on the other strand; None goes by the files' names.
    init
        Checkpoint whose weights the network starts from, and whose sizes it has by default; heads of another loss or
        number of targets are new. `freeze` of `training` keeps parts as they are.
    out
        Write a checkpoint here. While training, the state of the last epoch is next to it, so that the same call, after
        an interruption, goes on from there and ends with the same result (on one device).
    resume
        False starts anew whatever is there.
    seed
        Of sampling, initial weights, shuffling, augmentation and dropout. The same call gives the same bytes on the
        CPU, with the same version of torch and number of threads, which is counted from the work of a step: one for
        small networks, torch's own at most for large ones.
    device
        As in `resolve_device`.
    progress
        Show a bar, one step for each epoch.

    Returns
    -------
    TrainResult

    Raises
    ------
    TrainingError
        Too few examples, a part or class without any, unusable target values, a track without signal, masks that share
        bases, cover all of the windows or touch none, a teacher with other targets or length, or a loss that became
        NaN: `out` then has the best epoch before, if there is one.
    ModelError
        Sizes that make no network.
    UsageError
        Regions without a genome, or a signal without regions.
    RegionError
        A bigWig of another genome, or without a chromosome that regions are on.
    OutputError
        `out` cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from seqsal.models import CNNConfig
    >>> from seqsal.training import TrainConfig
    >>> bases = np.array(list("ACGT"))[np.random.default_rng(0).integers(0, 4, (60, 40))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/positives.fa", "w") as file:
    ...         _ = file.writelines(f">p{i}\n{''.join(row)}\n" for i, row in enumerate(bases))
    ...     small, short = CNNConfig(40, n_filters=4, stem_kernel=5), TrainConfig(epochs=1)
    ...     result = train_model(f"{folder}/positives.fa", config=small, training=short, device="cpu")
    >>> sorted(result.metadata["metrics"])
    ['test', 'valid']
    """
    training = training or TrainConfig()
    tracks = Signal(tuple(signal), tuple(control), stranded) if signal or control else None
    config = config or default_config(None if init else common_length(positives), tracks, init)
    where = resolve_device(device)
    out_path = None if out is None else check_writable(out)
    if relevant is not None or irrelevant is not None:
        check_mask_method(training.mask_method)
    teacher = read_teacher(teachers, config, training)
    examples = load_examples(
        positives,
        negatives,
        genome=genome,
        config=config,
        training=training,
        valid_chroms=valid_chroms,
        test_chroms=test_chroms,
        seed=seed,
        signal=tracks,
        lean=relevant is None and irrelevant is None and not training.mine,
    )
    if relevant is not None or irrelevant is not None:
        examples = replace(examples, marks=mark_examples(examples, relevant, irrelevant))
    if teachers:
        examples.provenance["teachers"] = [str(path) for path in teachers]
    if training.mine and (config.loss != "binary" or config.n_targets > 1):
        raise TrainingError(
            f"mine: got {counted(training.mine, 'round')} for a {config.loss} model of "
            f"{counted(config.n_targets, 'target')}, expected a binary one of one target, which has negatives; leave "
            "--mine out"
        )
    miner = Miner(positives, genome, training, seed)
    return train_examples(
        examples, config, training, miner=miner, teacher=teacher, signal=tracks, init=init, out=out_path,
        resume=resume, seed=seed, device=where, progress=progress,
    )  # fmt: skip


def default_config(
    input_length: int | None, signal: Signal | None, init: str | os.PathLike[str] | None = None, **sizes: Any
) -> CNNConfig:
    """Return the sizes of a network for regions of one length, or for a signal there, but for those given.

    With `init` they are those of that checkpoint, its length too unless one is given.
    """
    if init is not None:
        usual = {"loss": sizes.get("loss") or ("binary" if signal is None else "profile")}
        sizes = started_config(init, **usual | sizes)
        input_length = input_length or sizes["input_length"]
    sizes.pop("input_length", None)
    assert input_length is not None
    if signal is None or sizes.get("loss", "profile") != "profile":
        return CNNConfig(input_length, **sizes)
    given = {"n_targets": len(signal.paths), "n_controls": len(signal.controls)}
    return CNNConfig.for_profile(input_length, **(given | sizes if init is None else sizes | given))


def train_examples(
    examples: Examples,
    config: CNNConfig,
    training: TrainConfig,
    *,
    miner: Miner | None = None,
    teacher: Teacher | None = None,
    signal: Signal | None = None,
    init: str | os.PathLike[str] | None = None,
    out: Path | None = None,
    resume: bool = True,
    seed: int = 0,
    device: torch.device,
    progress: bool = False,
) -> TrainResult:
    """Train on examples in memory, in as many rounds as the miner is to mine, and write a checkpoint to `out`."""
    if training.cutout != "none" and training.cutout_width > config.input_length:
        raise TrainingError(
            f"cutout_width: got {training.cutout_width:,} bp, expected 2 to {config.input_length:,}, the window's"
        )
    scale = _Scale.of(examples, config.loss)
    with torch.device("meta"):
        check_frozen(CNN(config), training.freeze, has_start=init is not None)
    if init is not None:
        warn_of_leaks([load_checkpoint(init)[0]], examples.chroms[examples.rows("test")], "init")
    if teacher is not None:
        warn_of_leaks(teacher.models, examples.chroms[examples.rows("test")])
        teacher.prepare(scale.mean, scale.spread, device)
    n_rounds = 1 if miner is None else 1 + training.mine
    state_files = [] if out is None else [state_path(out, round_) for round_ in range(n_rounds)]
    rounds = list[dict[str, Any]]()
    diverged: DivergedError | None = None
    started: dict[str, Any] | None = None
    for round_ in range(n_rounds):
        model, started = _new_model(config, scale, seed, init)
        freeze(model, training.freeze)
        try:
            state = fit(
                model.to(device),
                replace(examples, targets=scale.standardise(examples.targets)),
                training,
                seed=seed,
                device=device,
                state_file=state_files[round_] if state_files else None,
                resume=resume,
                progress=progress,
                teacher=teacher,
            )
        except DivergedError as error:
            if out is None or not error.state.best_epoch:
                raise
            diverged, state = error, error.state
            break
        if miner is not None and round_ < training.mine:
            candidates = miner.candidates(examples, round_ + 1)
            with cpu_threads(state.n_threads):
                scores = predict_raw(state.best, candidates.codes, device)[:, 0]
            examples, said = miner.add(examples, candidates, scores)
            rounds.append(said)
            logger.info("mining, round %d: %s", round_ + 1, mined_text([said]))
    state.best.frozen = ()
    best = scale.undo(state.best.requires_grad_(True))
    with cpu_threads(state.n_threads):
        metadata = _describe(best, state, examples, training, seed=seed, device=device, mining=rounds, signal=signal)
    metadata |= {} if started is None else {"init": started}
    best.metadata = metadata
    result = TrainResult(best.cpu().eval(), metadata)
    if out is not None:
        save_checkpoint(out, result.model, metadata)
        for state_file in state_files:
            state_file.unlink(missing_ok=True)
    if diverged is not None:
        raise TrainingError(f"{diverged}; {out} has the best epoch before, {state.best_epoch}")
    return result


@dataclass(frozen=True)
class _Scale:
    """Affine map between targets and what a regression learns; the identity for other losses."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    start: NDArray[np.float32]  # bias of the new head

    @classmethod
    def of(cls, examples: Examples, loss: str) -> _Scale:
        targets = examples.targets[examples.rows("train")]
        zeros, ones = np.zeros(targets.shape[1], np.float32), np.ones(targets.shape[1], np.float32)
        if loss == "regression":
            spread = targets.std(axis=0)
            if (spread == 0).any():
                constant = int(np.argmin(spread))
                raise TrainingError(
                    f"target {constant}: is {targets[0, constant]:g} for every training region: nothing "
                    "can be learnt; choose another target column"
                )
            both = [np.arange(targets.shape[1]), list(examples.swaps[0]) or np.arange(targets.shape[1])]
            return cls(targets.mean(axis=0)[both].mean(axis=0), spread[both].mean(axis=0), zeros)
        if loss == "count":
            return cls(zeros, ones, np.log(np.maximum(targets.mean(axis=0), 1e-3)))
        if loss == "profile":  # a squared error of logs, which their mean has least of
            return cls(zeros, ones, np.log1p(targets).mean(axis=0))
        return cls(zeros, ones, zeros)

    def standardise(self, targets: NDArray[np.float32]) -> NDArray[np.float32]:
        return (targets - self.mean) / self.spread

    @torch.no_grad()
    def undo(self, model: CNN) -> CNN:
        """Fold the map into the head, so that it gives values in the targets' own units."""
        spread, mean = (torch.from_numpy(array).to(model.head.weight) for array in (self.spread, self.mean))
        model.head.weight.mul_(spread[:, None])
        model.head.bias.mul_(spread).add_(mean)
        return model

    @torch.no_grad()
    def redo(self, model: CNN) -> None:
        """Do the opposite of `undo` to a head that gives values in the targets' units."""
        spread, mean = (torch.from_numpy(array).to(model.head.weight) for array in (self.spread, self.mean))
        model.head.weight.div_(spread[:, None])
        model.head.bias.sub_(mean).div_(spread)


def _new_model(
    config: CNNConfig, scale: _Scale, seed: int, init: str | os.PathLike[str] | None
) -> tuple[CNN, dict[str, Any] | None]:
    """Make a network, and say what of it is new where it starts from a checkpoint."""
    with seeded(seed):
        model = CNN(config)
    with torch.no_grad():
        if config.loss in ("count", "profile"):
            model.head.bias.copy_(torch.from_numpy(scale.start))
    if init is None:
        return model, None
    started = start_from(model, init)
    if config.loss == "regression" and "head.weight" not in started["new"]:
        scale.redo(model)
    return model, started


def stopped_text(history: Sequence[Any], best_epoch: int, training: TrainConfig) -> str:
    """Say when a training ended and why, and which epoch was kept."""
    n = len(history)
    why = (
        f"early: no lower validation loss for {counted(training.patience, 'epoch')}"
        if n < training.epochs
        else "all of them"
    )
    return f"{n} of {training.epochs} epochs ({why}); weights of epoch {best_epoch} kept"


def class_weight(model: CNN, examples: Examples, training: TrainConfig) -> float | None:
    """Return how much a positive weighs in the loss, None where there are no classes or several targets."""
    if model.config.loss != "binary" or model.config.n_targets > 1:
        return None
    counts = examples.counts("train")
    return counts["n_negatives"] / counts["n_positives"] if training.balance else 1.0


def _describe(
    model: CNN,
    state: TrainingState,
    examples: Examples,
    training: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    mining: list[dict[str, Any]],
    signal: Signal | None,
) -> dict[str, Any]:
    """Collect the metadata; the one place where the test part is scored."""
    metrics, split, curves = {}, {}, {}
    described: dict[str, Any] = {"class_weight": class_weight(model, examples, training)}
    described["stopped"] = stopped_text(state.history, state.best_epoch, training)
    for part in PARTS:
        rows = examples.rows(part)
        counts = examples.counts(part)
        chroms = sorted(set(examples.chroms[rows].tolist()))
        split[part] = {"chroms": chroms[:_N_CHROMS_LISTED], "n_chroms": len(chroms), **counts}
        if part != "train":
            held_out = HeldOut.of(model, examples, part, device)
            metrics[part] = {**evaluate(model.config.loss, held_out), **counts}
        if part == "test":
            metrics[part] |= intervals(metrics[part], model.config.loss, held_out.targets, held_out.raw)
            metrics[part]["negatives"] = negatives_text(examples.provenance)
            if model.config.loss == "binary" and model.config.n_targets == 1:
                labels, logits = held_out.targets[:, 0], held_out.raw[:, 0]
                curves = binary_curves(labels, logits)
                weight = described["class_weight"] or 1.0
                curves["calibration"], metrics[part]["calibration_error"] = calibration_curve(labels, logits, weight)
    described |= {
        "metrics": metrics,
        "curves": curves,
        "target_names": [] if signal is None else signal.names,
        "seen": examples.seen,
        "n_threads": state.n_threads,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "split": split,
        **({"mining": mining} if mining else {}),
        "training": asdict(training),
        "inputs": examples.provenance,
        "seed": seed,
        "device": device.type,
        "precision": "bfloat16" if mixed_precision(device) else "float32",
        "torch_version": torch.__version__,
    }
    return json.loads(to_json(described))  # what load_checkpoint gives: NaN as None, tuples as lists
