"""The training loop: shuffled, augmented batches, AdamW on a one-cycle schedule, averaged weights, early stopping.

Every epoch draws its random numbers from (seed, epoch) alone and the learning rate is a function of the step, so a run
that is taken up again after any epoch goes on as if it had not been interrupted. What an epoch leaves to the next is a
safetensors file next to the checkpoint, no pickle, deleted when the checkpoint is there; a fingerprint of examples,
settings and seed says whether it belongs to the run that is being started.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional
from tqdm.auto import tqdm

from seqsal.errors import CheckpointError, TrainingError
from seqsal.models.checkpoint import read_tensors, to_json, write_tensors
from seqsal.models.cnn import CNN
from seqsal.models.state import seeded
from seqsal.sequence.tensors import one_hot_tensor, reverse_complement_tensor
from seqsal.training.cutout import cut_out
from seqsal.training.distill import Teacher
from seqsal.training.examples import Examples
from seqsal.training.metrics import auroc, average_precision, pearson, spearman
from seqsal.training.relevance import Randomiser
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import PROFILE_METRICS, profile_scores
from seqsal.training.stretches import Stretches, digest_of, rows_of
from seqsal.training.terms import TERMS, Shown, Terms

__all__ = [
    "DivergedError",
    "HeldOut",
    "TrainingState",
    "View",
    "augmented_batch",
    "centred_batch",
    "cpu_threads",
    "evaluate",
    "fingerprint",
    "fit",
    "learning_rate",
    "mixed_precision",
    "predict_raw",
    "state_path",
]

logger = logging.getLogger(__name__)

_MODULES = ("model", "averaged", "best")


class DivergedError(TrainingError):
    """The loss became NaN or infinite; `state` is that of the last epoch where it was not, but for the weights."""

    def __init__(self, message: str, state: TrainingState) -> None:
        super().__init__(message)
        self.state = state


def state_path(checkpoint: str | os.PathLike[str], round_: int = 0) -> Path:
    """Return where the state of a run, or of a round of mining in it, that writes `checkpoint` is kept."""
    path = Path(checkpoint)
    return path.with_name(f".{path.stem}.training{f'-{round_}' if round_ else ''}.safetensors")


class TrainingState:
    """What an epoch leaves to the next one.

    Parameters
    ----------
    model, averaged, best
        The network in training, its moving average, and the average of the best epoch so far.
    optimizer
        AdamW over the parameters of `model`.

    Attributes
    ----------
    history : list of dict
        One entry for each finished epoch.
    best_epoch : int
        Counted from 1; 0 before any.
    n_threads : int
        Threads of the CPU that it is trained with; 0 before they are chosen.
    """

    def __init__(self, model: CNN, averaged: CNN, best: CNN, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.averaged, self.best = model, averaged, best
        self.optimizer = optimizer
        self.history: list[dict[str, Any]] = []
        self.best_epoch = 0
        self.n_threads = 0

    def save(self, path: Path, fingerprint: str) -> None:
        """Write the state, whole or not at all."""
        tensors = {
            f"{name}.{key}": value for name in _MODULES for key, value in getattr(self, name).state_dict().items()
        }
        for number, entries in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": value for key, value in entries.items()}
        progress = {"history": self.history, "best_epoch": self.best_epoch, "n_threads": self.n_threads}
        write_tensors(path, tensors, {"fingerprint": fingerprint, "progress": to_json(progress)})

    def restore(self, path: Path, fingerprint: str) -> bool:
        """Take up the state at `path` if there is one and it is of this run; say whether it was."""
        if not path.exists():
            return False
        try:
            tensors, strings = read_tensors(path)
        except CheckpointError as error:
            logger.warning("%s; training starts from the beginning", error)
            return False
        if strings.get("fingerprint") != fingerprint:
            logger.warning(
                "%s: is of another run (data, settings or seed differ); training starts from the beginning", path
            )
            return False
        for name in _MODULES:
            getattr(self, name).load_state_dict(_below(tensors, name))
        self._restore_optimizer(_below(tensors, "optimizer"))
        progress = json.loads(strings["progress"])
        self.history, self.best_epoch = progress["history"], progress["best_epoch"]
        self.n_threads = progress.get("n_threads", 0)
        logger.info("%s: resuming after epoch %d", path, len(self.history))
        return True

    def _restore_optimizer(self, tensors: Mapping[str, torch.Tensor]) -> None:
        whole = self.optimizer.state_dict()
        whole["state"] = {}
        for name, value in tensors.items():
            number, _, key = name.partition(".")
            whole["state"].setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict(whole)


def _below(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


class View(NamedTuple):
    """From where each of n windows is shown: by how many bases it is moved, and whether from its other strand."""

    offsets: torch.Tensor
    is_turned: torch.Tensor

    @classmethod
    def draw(
        cls, n_windows: int, slack: int, generator: torch.Generator, *, reverse_complement: bool, device: torch.device
    ) -> View:
        """Draw offsets from 0 to `slack` and strands; on the CPU, so that the draws are the same on every device."""
        offsets = torch.randint(0, slack + 1, (n_windows,), generator=generator)
        turned = torch.rand(n_windows, generator=generator) < 0.5 if reverse_complement else offsets < 0
        return cls(offsets.to(device), turned.to(device))

    def along(self, values: torch.Tensor, length: int, swap: Sequence[int] = ()) -> torch.Tensor:
        """Crop and turn values along windows, (n, …, length + slack) → (n, …, length); `swap` is of the axis before."""
        columns = self.offsets[:, None] + torch.arange(length, device=values.device)
        shape = (len(values), *[1] * (values.ndim - 2), length)
        values = values.gather(-1, columns.view(shape).expand(*values.shape[:-1], length))
        other = values.flip(-1)
        return torch.where(self.is_turned.view(-1, *[1] * (values.ndim - 1)), _swapped(other, swap), values)


def _swapped(values: torch.Tensor, swap: Sequence[int]) -> torch.Tensor:
    """Give tracks (n, T, …) the places that they have on the other strand."""
    return values if list(swap) == sorted(swap) else values[:, list(swap)]


def augmented_batch(
    codes: torch.Tensor, length: int, view: View, marks: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Show windows of codes (n, length + 2 * max_shift), and marks of their bases, as `view` says.

    Returns X (n, 4, length) float32, and marks (n, length) or None.
    """
    columns = view.offsets[:, None] + torch.arange(length, device=codes.device)  # (n, length)
    X = one_hot_tensor(codes.gather(1, columns))
    X = torch.where(view.is_turned[:, None, None], reverse_complement_tensor(X), X)
    return X, None if marks is None else view.along(marks, length)


def centred_batch(codes: torch.Tensor, length: int) -> torch.Tensor:
    """Crop the middle of each window and make it one-hot: (n, length + 2 * max_shift) → (n, 4, length)."""
    offset = (codes.shape[1] - length) // 2
    return one_hot_tensor(codes[:, offset : offset + length])


_START_FRACTION = 0.04  # of the peak learning rate, at the first step
_END_FRACTION = 1e-4  # and at the last
MAX_RESIDENT_BYTES = 2 << 30  # of windows (a byte a base) that stay on the device while a model is trained
WORK_OF_A_THREAD = 250_000_000  # products of weights and values in a forward pass: some 20 ms of a training step
MAX_PROFILE_GRADIENT = 1.0  # norm, as bpnet-lite has it: else the few windows with most reads set the size of all steps
_LOSS_NAMES = {"train": "training loss", "valid": "validation loss"} | {name: what for name, (what, _) in TERMS.items()}
_EVALUATION_BP = 1 << 18  # bases in a batch without gradients


def fit(
    model: CNN,
    examples: Examples,
    training: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    state_file: Path | None,
    resume: bool,
    progress: bool,
    teacher: Teacher | None = None,
) -> TrainingState:
    """Train `model`, which is on `device`, in place.

    Parameters
    ----------
    model
        Freshly initialised. Regression learns standardised targets; `seqsal.training.train` undoes that.
    examples, training
        What to learn from, and how.
    seed
        Of shuffling, augmentation and dropout.
    device
        A GPU computes in bfloat16 where it can.
    state_file
        Where to keep the state after each epoch; None keeps none.
    resume
        Take up the state at `state_file` if it is of this run.
    progress
        Show a bar.
    teacher
        Whose predictions, and maps, add to the loss.

    Returns
    -------
    TrainingState
        Its `best` is the model to keep.

    Raises
    ------
    DivergedError
        The loss became NaN or infinite.
    """
    optimizer = _AdamW(model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, foreach=True)
    state = TrainingState(model, copy.deepcopy(model), copy.deepcopy(model), optimizer)
    key = fingerprint(model, examples, training, seed, teacher)
    if resume and state_file is not None:
        state.restore(state_file, key)
    loop = _Loop(state, examples, training, seed, device, teacher)
    state.n_threads = min(state.n_threads or loop.choose_threads(), torch.get_num_threads())
    with (
        cpu_threads(state.n_threads),
        tqdm(
            total=training.epochs, initial=len(state.history), desc="train", unit="epoch", disable=not progress
        ) as bar,
    ):
        while not _is_done(state, training):
            entry = loop.run_epoch(len(state.history) + 1)
            bar.update()
            bar.set_postfix(loss=f"{entry['valid_loss']:.4f}", **_shown(entry))
            if state_file is not None:
                state.save(state_file, key)
    return state


class _AdamW(torch.optim.AdamW):
    """The same without the wrappers that import torch.compile: 2 to 3 s of every process that trains."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def learning_rate(step: int, n_steps: int, peak: float, warmup: float) -> float:
    """Return the rate of one step of a one-cycle schedule: half a cosine up, half a cosine down."""
    n_rising = warmup * n_steps
    if step < n_rising:
        low, fraction = _START_FRACTION * peak, 1 - step / n_rising
    else:
        low, fraction = _END_FRACTION * peak, (step - n_rising) / max(1.0, n_steps - 1 - n_rising)
    return low + (peak - low) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


def predict_raw(model: CNN, codes: NDArray[np.uint8], device: torch.device) -> NDArray[np.float64]:
    """Return the head's values for the middle of each window, (n, width) → (n, n_targets), in evaluation mode.

    Of a profile these are the log counts, without controls.
    """
    rows = np.arange(len(codes))
    values = [raw[1] if isinstance(raw, tuple) else raw for _, raw in _evaluated(model, codes, rows, None, device)]
    return torch.cat(values).double().cpu().numpy()


@torch.no_grad()
def _evaluated(
    model: CNN, codes: Any, rows: NDArray[np.int64], controls: Any, device: torch.device
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yield raw outputs for the middle of some windows of (N, width), and which they are, in evaluation mode."""
    length = model.config.input_length
    step = max(1, _EVALUATION_BP // codes.shape[1])
    was_training = model.training
    model.eval()
    try:
        for begin in range(0, len(rows), step):
            some = rows[begin : begin + step]
            X = centred_batch(torch.as_tensor(codes[some]).to(device), length)
            yield some, model(X) if controls is None else model(X, _middle(controls[some], length, device))
    finally:
        model.train(was_training)


def _middle(values: Any, length: int, device: torch.device) -> torch.Tensor:
    offset = (values.shape[-1] - length) // 2
    return torch.as_tensor(values[..., offset : offset + length]).to(device)


@dataclass(frozen=True)
class HeldOut:
    """What a network says of examples of one part: raw head values and targets (n, n_targets), scores of profiles."""

    raw: NDArray[np.float64]
    targets: NDArray[np.float32]
    profiles: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: CNN, examples: Examples, part: str, device: torch.device) -> HeldOut:
        """Predict the examples of a part; a profile's are compared batch by batch, and not kept."""
        rows = examples.rows(part)
        targets = examples.targets[rows]
        raw, scores = [], list[dict[str, torch.Tensor]]()
        for some, said in _evaluated(model, examples.codes, rows, examples.controls, device):
            raw.append(said if examples.tracks is None else said[1])
            if examples.tracks is not None:
                tracks = _middle(examples.tracks[some], model.config.output_length, device)
                scores.append(profile_scores(said[0], tracks))
        profiles = {name: torch.cat([one[name] for one in scores]).cpu().numpy() for name in (scores or [{}])[0]}
        return cls(torch.cat(raw).double().cpu().numpy(), targets, profiles)


def evaluate(loss: str, held_out: HeldOut) -> dict[str, Any]:
    """Measure what a network says of held-out examples.

    Returns
    -------
    dict
        ``auroc`` and ``average_precision``, or ``pearson`` and ``spearman`` (of log counts for a count or profile
        model, log(1 + n) for the truth), and means over windows of `PROFILE_METRICS` for a profile: a number, or a
        list with one for each of several targets.
    """
    measures: dict[str, Callable[[ArrayLike, ArrayLike], float]]
    if loss == "binary":
        measures = {"auroc": auroc, "average_precision": average_precision}
    else:
        measures = {"pearson": pearson, "spearman": spearman}
    truth = np.log1p(held_out.targets) if loss in ("count", "profile") else held_out.targets
    found = {
        name: [measure(truth[:, i], held_out.raw[:, i]) for i in range(truth.shape[1])]
        for name, measure in measures.items()
    }
    for name in PROFILE_METRICS if held_out.profiles else ():
        found[name] = [_mean(column) for column in held_out.profiles[name].T]
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _mean(values: NDArray[np.float64]) -> float:
    """Mean of those that are numbers, NaN without any."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def fingerprint(
    model: CNN, examples: Examples, training: TrainConfig, seed: int, teacher: Teacher | None = None
) -> str:
    """Return a SHA-256 over everything that a run's result depends on."""
    digest = hashlib.sha256(to_json([model.config.to_dict(), vars(training), seed, torch.__version__]).encode())
    given = (examples.codes, examples.targets, examples.parts.astype("S5"), examples.marks, examples.copies)
    for array in (*given, examples.neutral, examples.tracks, examples.controls):
        if array is not None:
            digest.update(digest_of(array))
    for tensor in model.state_dict().values():  # that it starts from
        digest.update(tensor.detach().cpu().numpy().tobytes())
    digest.update(b"" if teacher is None else teacher.digest.encode())
    return digest.hexdigest()


@contextlib.contextmanager
def cpu_threads(n_threads: int) -> Iterator[None]:
    """Let torch use so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mixed_precision(device: torch.device) -> bool:
    """Whether forward passes of a training run in bfloat16 on a device; weights and losses are float32 anywhere."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _resident(windows: Any, rows: NDArray[np.int64], device: torch.device) -> Any:
    """Return some windows to take batches from: on the device, but for those that are too many bytes."""
    chosen = rows_of(windows, rows)
    chosen = chosen if isinstance(chosen, Stretches) else torch.from_numpy(chosen)
    return chosen.to(device if chosen.nbytes <= MAX_RESIDENT_BYTES else "cpu")


class _Loop:
    """One run's data on its device, and what an epoch does."""

    def __init__(
        self, state: TrainingState, examples: Examples, training: TrainConfig, seed: int, device: torch.device,
        teacher: Teacher | None,
    ) -> None:  # fmt: skip
        self.state, self.training, self.seed, self.device = state, training, seed, device
        self.config = state.model.config
        rows = examples.rows("train")
        self.codes = _resident(examples.codes, rows, device)
        on = self.codes.device
        self.marks = None if examples.marks is None else torch.from_numpy(examples.marks[rows]).to(on)
        self.randomise: Randomiser | None = None
        if examples.copies is not None and examples.copies[rows].any():
            copies, is_positive = (
                torch.from_numpy(one[rows]).to(on) for one in (examples.copies, examples.is_positive)
            )
            self.randomise = Randomiser(self.codes, copies, is_positive)
        self.targets = torch.from_numpy(examples.targets[rows]).to(device)
        self.examples, self.swaps = examples, examples.swaps
        self.tracks, self.controls = (
            None if one is None else _resident(one, rows, device) for one in (examples.tracks, examples.controls)
        )
        self.loss = _Loss(self.config.loss, self.targets, training)
        self.n_steps = math.ceil(len(rows) / training.batch_size) * training.epochs
        self.terms = Terms(state.model, examples, training, device, teacher, self.n_steps)
        self.bad_since = dict[str, float]()  # first step of the epoch at which a term was not finite
        self.amp = mixed_precision(device)

    def choose_threads(self) -> int:
        """Take a thread for every `WORK_OF_A_THREAD` of a step, as many as torch uses at most.

        Of a small network one step takes less time than its threads spend waiting for each other, most of all where
        others use the processor too. A trial would tell, but differently each time, and results differ in their last
        bits by the number.
        """
        n_most = torch.get_num_threads()
        if self.device.type != "cpu":
            return n_most
        work = self.config.n_products * min(self.training.batch_size, len(self.codes))
        return int(min(max(work // WORK_OF_A_THREAD, 1), n_most))

    def run_epoch(self, epoch: int) -> dict[str, Any]:
        """Train one epoch, validate the averaged weights, and keep them if they are the best so far."""
        state = self.state
        seed = _derive(self.seed, epoch)
        with seeded(seed, [self.device] if self.device.type == "cuda" else []):  # dropout
            generator = torch.Generator().manual_seed(seed)
            losses = self._train(epoch, generator)
        held_out = HeldOut.of(state.averaged, self.examples, "valid", self.device)
        losses["valid"] = self.loss.of(held_out)
        self._check_finite(epoch, losses)
        valid_loss = losses["valid"]
        entry = {
            "epoch": epoch,
            **{f"{name}_loss": value for name, value in losses.items()},
            **{f"valid_{name}": value for name, value in evaluate(self.config.loss, held_out).items()},
        }
        if all(valid_loss < earlier["valid_loss"] for earlier in state.history):
            state.best.load_state_dict(state.averaged.state_dict())
            state.best_epoch = epoch
        state.history.append(entry)
        return entry

    def _check_finite(self, epoch: int, losses: dict[str, float]) -> None:
        """Raise where a mean loss is not finite, and name the term that is the first to blame."""
        bad = [name for name in (*TERMS, "train", "valid") if not math.isfinite(losses.get(name, 0.0))]
        if not bad:
            return
        earliest = min(self.bad_since.values(), default=math.inf)
        bad = [name for name in bad if self.bad_since.get(name, math.inf) == earliest]
        values = ", ".join(f"{_LOSS_NAMES[name]} {losses[name]}" for name in bad)
        remedy = f"the learning rate ({self.training.learning_rate:g})"
        if added := [name for name in TERMS if name in losses]:
            remedy += f" or {self.terms.said(added)}"
        raise DivergedError(
            f"training: the loss is no longer finite in epoch {epoch} ({values}); lower {remedy} and check the target "
            "values", self.state,
        )  # fmt: skip

    def _train(self, epoch: int, generator: torch.Generator) -> dict[str, float]:
        """Take one step for each batch; return the mean of the loss, and of its terms where it has several."""
        training, state = self.training, self.state
        step = self.n_steps // training.epochs * (epoch - 1)
        totals, counts, bad_since = dict[str, Any](), dict[str, int](), dict[str, Any]()
        state.model.train()
        for rows in self._batches(generator):
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(step, self.n_steps, training.learning_rate, training.warmup)
            codes, marks = self._shown(rows, generator)
            length = self.config.input_length
            view = View.draw(
                len(rows), codes.shape[1] - length, generator, reverse_complement=training.reverse_complement,
                device=self.device,
            )  # fmt: skip
            X, marks = augmented_batch(codes, length, view, marks)
            if training.cutout != "none":
                X = cut_out(state.model, X, training, generator)
            targets, controls = self._wanted(rows, view)  # before the forward pass, which a copy would wait for
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp):
                raw = state.model(X, *controls)
            losses = {"train": self.loss(raw, targets)}
            head = tuple(one.float() for one in raw) if isinstance(raw, tuple) else raw.float()
            losses |= self.terms(Shown(X, marks, targets, head, generator, step, controls))
            state.optimizer.zero_grad(set_to_none=True)
            torch.stack([loss * self.terms.weight(name, step) for name, loss in losses.items()]).sum().backward()
            if self.config.loss == "profile":
                torch.nn.utils.clip_grad_norm_(state.model.parameters(), MAX_PROFILE_GRADIENT)
            state.optimizer.step()
            step += 1
            _average(state.averaged, state.model, min(training.weight_average, step / (step + 10)))
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + loss.detach() * len(rows)
                counts[name] = counts.get(name, 0) + len(rows)
                is_bad = torch.where(loss.detach().isfinite(), math.inf, float(step))
                bad_since[name] = torch.minimum(bad_since.get(name, is_bad), is_bad)
        self.bad_since = {name: float(step) for name, step in bad_since.items()}
        return {name: float(total) / counts[name] for name, total in totals.items()}

    def _shown(self, rows: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return codes and marks of some rows on the device, copies of artifacts made alike in both classes."""
        rows = rows.to(self.codes.device)
        if self.randomise is not None:
            codes, marks = self.randomise(rows, self.marks, generator)
        else:
            codes, marks = self.codes[rows], None if self.marks is None else self.marks[rows]
        return codes.to(self.device), None if marks is None else marks.to(self.device)

    def _wanted(self, rows: torch.Tensor, view: View) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the targets of some rows as they are shown, a profile's counts among them, and their controls."""
        if self.tracks is None:
            targets = self.targets[rows.to(self.device)]
            return torch.where(view.is_turned[:, None], _swapped(targets, self.swaps[0]), targets), []
        lengths = (self.config.output_length, self.config.input_length)
        shown = [
            view.along(one[rows.to(one.device)].to(self.device), length, swap)
            for one, length, swap in zip((self.tracks, self.controls), lengths, self.swaps, strict=True)
            if one is not None
        ]
        return shown[0], shown[1:]

    def _batches(self, generator: torch.Generator) -> Iterator[torch.Tensor]:
        yield from torch.randperm(len(self.codes), generator=generator).split(self.training.batch_size)


class _Loss:
    """Cross-entropy of logits, squared error of standardised values, Poisson deviance of log counts; or of a profile.

    That is Σ over tracks of the multinomial's −Σ y log p and, weighted, the squared error of log(1 + counts).
    """

    def __init__(self, kind: str, targets: torch.Tensor, training: TrainConfig) -> None:
        self.kind = kind
        self.weight: torch.Tensor | None = None
        if kind == "binary" and training.balance:
            n_positive = targets.sum(dim=0).clamp_min(1)
            self.weight = (len(targets) - n_positive).clamp_min(1) / n_positive
        if kind == "profile":
            weight = targets.mean(dim=0) / 2 if training.count_weight is None else training.count_weight
            self.weight = torch.as_tensor(weight, device=targets.device)

    def __call__(self, raw: Any, targets: torch.Tensor) -> torch.Tensor:
        if self.kind == "profile":
            logits, counts = raw[0].float(), raw[1].float()
            entropy = -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)  # (n, T)
            return self._of_profile(entropy, counts, targets.sum(dim=-1))
        raw = raw.float()
        if self.kind == "binary":
            weight = None if self.weight is None else self.weight.to(raw.device)
            return functional.binary_cross_entropy_with_logits(raw, targets, pos_weight=weight)
        if self.kind == "count":
            return functional.poisson_nll_loss(raw, targets, log_input=True)
        return functional.mse_loss(raw, targets)

    def _of_profile(self, entropy: torch.Tensor, counts: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        assert self.weight is not None
        error = (counts - truth.log1p()).square()
        return (entropy + self.weight.to(entropy.device) * error).sum(dim=1).mean()

    def of(self, held_out: HeldOut) -> float:
        """Return the loss of held-out examples."""
        raw, targets = torch.from_numpy(held_out.raw).float(), torch.from_numpy(held_out.targets)
        if self.kind != "profile":
            return float(self(raw, targets))
        return float(self._of_profile(torch.from_numpy(held_out.profiles["cross_entropy"]).float(), raw, targets))


@torch.no_grad()
def _average(averaged: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights and running statistics towards the model's."""
    for mean, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(new, 1 - decay)
        else:
            mean.copy_(new)  # batch counters


def _is_done(state: TrainingState, training: TrainConfig) -> bool:
    n_epochs = len(state.history)
    return n_epochs >= training.epochs or (n_epochs > 0 and n_epochs - state.best_epoch >= training.patience)


def _derive(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _shown(entry: dict[str, Any]) -> dict[str, str]:
    """Pick the first measure of an epoch for the progress bar."""
    name = "auroc" if "valid_auroc" in entry else "pearson"
    value = entry[f"valid_{name}"]
    return {} if isinstance(value, list) else {name: f"{value:.3f}"}
