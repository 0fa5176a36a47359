"""`seqsal train --signal` against bpnet-lite's own training: how well each does on held-out data, and how fast.

    python benchmarks/signals.py [--seeds 3] [--epochs 10] [--filters 16] [--blocks 3] [--width 200]
                                [--undo start clip weight]
                                [--genome G.fa --regions R.bed --signal T.bw --test-chroms A --valid-chroms B]

Both train the same network (the test `test_the_network_is_that_of_bpnetlite` shows that it is the same) on the same
windows, shifted and turned at random, with the same batches' size, epochs, weight of the counts and peak learning rate:
`BPNet.fit` with `PeakNegativeSampler`, AdamW and its weights of the best epoch; seqsal with its one-cycle schedule and
averaged weights. By default the data are simulated (`tests/signal_toys.py`): reads around sites.

`--undo` takes back what lets counts be learnt, to see what each is worth: `start`, the head's bias at the mean of
log(1 + counts) (then log(1 + their mean)); `clip`, of gradients to a norm of 1; `weight`, of counts by half their mean
(then a tenth of their median, in both programs).

Printed, with mean and standard deviation over seeds (of data, weights and batches): Pearson correlation of log counts,
Jensen-Shannon divergence and Pearson correlation of profiles, by one and the same function, on the test part; what
the mean profile of the training part, which knows no sequence, has; and processor seconds of the training alone, all
data being in memory, with their ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from seqsal.models import CNN, CNNConfig
from seqsal.models.state import seeded
from seqsal.sequence.codes import one_hot
from seqsal.training import fit as fit_module
from seqsal.training.examples import Examples, load_examples
from seqsal.training.fit import HeldOut, evaluate
from seqsal.training.settings import TrainConfig
from seqsal.training.signal import Signal, profile_scores
from seqsal.training.train import _Scale, train_examples

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from signal_toys import make_signal

CPU = torch.device("cpu")
MEASURES = ("pearson", "profile_jsd", "profile_pearson")


def ours(examples: Examples, config: CNNConfig, training: TrainConfig, seed: int, undo: Sequence[str] = ()) -> CNN:
    """Train as `seqsal train` does, but for what is taken back."""
    scale, clip = _Scale.of(examples, config.loss), fit_module.MAX_PROFILE_GRADIENT
    if "start" in undo:
        scale = replace(scale, start=np.log1p(examples.targets[examples.rows("train")].mean(axis=0)))
    with (
        mock.patch.object(_Scale, "of", lambda *_: scale),
        mock.patch.object(fit_module, "MAX_PROFILE_GRADIENT", math.inf if "clip" in undo else clip),
    ):
        return train_examples(examples, config, training, seed=seed, device=CPU).model


def theirs(
    examples: Examples, config: CNNConfig, training: TrainConfig, seed: int, folder: Path
) -> Callable[[torch.Tensor], Any]:
    """Train as bpnet-lite does; windows with the fewest reads are its negatives, a tenth of what it is shown."""
    from bpnetlite import BPNet
    from bpnetlite.io import PeakNegativeSampler

    def parts(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        assert examples.tracks is not None
        X = torch.from_numpy(one_hot(examples.codes[rows])).float()
        return X, torch.from_numpy(examples.tracks[rows])

    rows = examples.rows("train")
    order = rows[np.argsort(-examples.targets[rows].sum(axis=1), kind="stable")]
    n_negative = len(rows) // 11
    middle = slice(training.max_shift, -training.max_shift)
    (X, y), (X_bg, y_bg) = parts(order[:-n_negative]), parts(order[-n_negative:])
    sampler = PeakNegativeSampler(
        X, y, X_bg[..., middle], y_bg[..., middle], in_window=config.input_length, out_window=config.output_length,
        max_jitter=training.max_shift, reverse_complement=True, random_state=seed,
    )  # fmt: skip
    batches = torch.utils.data.DataLoader(sampler, batch_size=training.batch_size)
    X_valid, y_valid = (one[..., middle] for one in parts(examples.rows("valid")))
    with seeded(seed):
        model = BPNet(
            n_filters=config.n_filters, n_layers=config.n_blocks, n_outputs=config.n_targets, n_control_tracks=0,
            trimming=(config.input_length - config.output_length) // 2, count_loss_weight=training.count_weight or 1.0,
            name=str(folder / "bpnet"), verbose=False,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            model.fit(
                batches, optimizer, X_valid=X_valid, y_valid=y_valid, max_epochs=training.epochs,
                batch_size=training.batch_size, device="cpu",
            )  # fmt: skip
    best: Any = torch.load(folder / "bpnet.torch", weights_only=False)
    return best.eval()


def measured(model: Any, examples: Examples, config: CNNConfig) -> dict[str, float]:
    """Measure a network of either on the test part, by the same functions."""
    if isinstance(model, CNN):
        return evaluate("profile", HeldOut.of(model, examples, "test", CPU))
    rows = examples.rows("test")
    flank = (examples.codes.shape[1] - config.input_length) // 2
    X = torch.from_numpy(one_hot(examples.codes[rows, flank : flank + config.input_length])).float()
    assert examples.tracks is not None
    tracks = torch.from_numpy(examples.tracks[rows][..., flank : flank + config.output_length])
    with torch.no_grad():
        logits, counts = model(X)
    scores = {name: one.numpy() for name, one in profile_scores(logits, tracks).items()}
    return evaluate("profile", HeldOut(counts.double().numpy(), examples.targets[rows], scores))


def of_mean(examples: Examples, config: CNNConfig) -> Callable[[torch.Tensor], Any]:
    """Return what predicts the mean profile and count of the training part."""
    assert examples.tracks is not None
    flank = (examples.tracks.shape[-1] - config.output_length) // 2
    mean = examples.tracks[examples.rows("train")][..., flank : flank + config.output_length].mean(axis=0)
    logits = torch.from_numpy(mean + 1e-3).log()[None]
    return lambda X: (logits.expand(len(X), -1, -1), torch.zeros(len(X), len(mean)))


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Add the processor seconds of a block to a list."""
    begin = time.process_time()
    yield
    seconds.append(time.process_time() - begin)


def examples_of(arguments: argparse.Namespace, seed: int, folder: Path, training: TrainConfig) -> tuple[Any, CNNConfig]:
    """Read or simulate the examples of a seed."""
    config = CNNConfig.for_profile(arguments.width, n_filters=arguments.filters, n_blocks=arguments.blocks)
    given = arguments.regions, arguments.genome, arguments.signal
    if arguments.signal is None:
        made = make_signal(folder, n_each=arguments.regions_each, width=arguments.width, seed=seed)
        given = made.regions, made.genome, made.both
    examples = load_examples(
        given[0], None, genome=given[1], config=config, training=training, valid_chroms=arguments.valid_chroms,
        test_chroms=arguments.test_chroms, seed=seed, signal=Signal((given[2],)),
    )  # fmt: skip
    return examples, config


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 3), ("epochs", 10), ("filters", 16), ("blocks", 3), ("width", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--regions-each", type=int, default=600, help="Simulated regions on each of 4 chromosomes.")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--undo", nargs="+", choices=("start", "clip", "weight"), default=[])
    for name in ("regions", "genome", "signal"):
        parser.add_argument(f"--{name}")
    for name in ("valid", "test"):
        parser.add_argument(f"--{name}-chroms", nargs="+")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = ("seqsal", "bpnet-lite", "mean profile")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            training = TrainConfig(
                epochs=arguments.epochs, patience=arguments.epochs, batch_size=16,
                learning_rate=arguments.learning_rate,
            )  # fmt: skip
            examples, config = examples_of(arguments, seed, folder, training)
            counts = examples.targets[examples.rows("train")]
            weight = np.median(counts) / 10 if "weight" in arguments.undo else counts.mean() / 2
            training = replace(training, count_weight=float(weight))  # of both programs
            with timed(seconds["seqsal"]):
                mine: Any = ours(examples, config, training, seed, arguments.undo)
            with timed(seconds["bpnet-lite"]):
                other = theirs(examples, config, training, seed, folder)
            for name_of, model in zip(names, (mine, other, of_mean(examples, config)), strict=True):
                found[name_of].append(measured(model, examples, config))
            print(f"seed {seed}", {name: {key: round(one[-1][key], 3) for key in MEASURES}
                                   for name, one in found.items()}, flush=True)  # fmt: skip
    print(f"\n| | {' | '.join(MEASURES)} | processor s |\n|---|---|---|---|---|")
    for name in names:
        columns = []
        for key in MEASURES:
            values = [one[key] for one in found[name]]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            columns.append(f"{np.mean(values):.3f}{spread}")
        columns.append(f"{statistics.mean(seconds[name]):.1f}" if seconds[name] else "")
        print(f"| {name} | {' | '.join(columns)} |")
    ratios = [b / a for a, b in zip(seconds["seqsal"], seconds["bpnet-lite"], strict=True)]
    print(f"\nspeed, bpnet-lite's time / seqsal's, by seed: {', '.join(f'{one:.2f}' for one in ratios)}")


if __name__ == "__main__":
    main()
