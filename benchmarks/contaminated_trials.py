"""Networks trained on contaminated data sets, whether they use what was planted, and their maps; kept on disk."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contaminated import Design
from contaminated_sets import LENGTH, Codes, Labelled, draw_sets
from numpy.typing import NDArray

import seqsal
from seqsal.attribution import predict_windows
from seqsal.io.attributions import Attributions
from seqsal.io.inputs import open_codes
from seqsal.io.store import read_attributions
from seqsal.models import CNNConfig, SequenceModel, load_model, resolve_device
from seqsal.sequence.codes import decode, one_hot
from seqsal.sequence.draws import dinucleotide_shuffle
from seqsal.training import TrainConfig, train_model

__all__ = ["LEAST_EFFECT", "Trial", "prepared"]

LEAST_EFFECT = 0.1  # of the model's range, of a word that a network uses
N_CONTROLS = 200
N_FRESH = 8  # replacements of each copy


@dataclass(frozen=True)
class Trial:
    """A design's data, network and attributions of held-out positives.

    Attributes
    ----------
    positives, negatives, held_out
        Codes (n, 200).
    truth
        `auroc`; `effect` and `uses` (None where nothing is planted); and for each set its `sites` and `copies`, rows
        of (sequence, start, end).
    """

    design: Design
    model: SequenceModel
    attr: Attributions
    positives: Codes
    negatives: Codes
    held_out: Codes
    truth: dict[str, Any]


def prepared(design: Design, cache_folder: Path, yeast: Path | None = None) -> Trial:
    """Make a trial's data, train its network and attribute held-out positives, or load them from the cache."""
    folder = cache_folder / design.name
    if not _is_cached(folder, design):
        folder.mkdir(parents=True, exist_ok=True)
        _make(design, folder, yeast)
    truth = json.loads((folder / "truth.json").read_text())
    model = load_model(folder / "model.safetensors")
    attr = read_attributions(folder / "attributions.h5")
    sets = [np.load(folder / f"{name}.npy") for name in ("positives", "negatives", "held_out")]
    return Trial(design, model, attr, *sets, truth)


def _is_cached(folder: Path, design: Design) -> bool:
    path = folder / "truth.json"
    return path.exists() and json.loads(path.read_text())["design"] == json.loads(json.dumps(asdict(design)))


def _make(design: Design, folder: Path, yeast: Path | None) -> None:
    (folder / "truth.json").unlink(missing_ok=True)
    rng = np.random.default_rng([design.seed, 2])
    sets = draw_sets(design, rng, yeast)
    for name, members in sets.items():
        np.save(folder / f"{name}.npy", members.codes)
    auroc = _train(design, sets, folder / "model.safetensors")
    (folder / "attributions.h5").unlink(missing_ok=True)
    seqsal.attribute(
        load_model(folder / "model.safetensors"),
        X=one_hot(sets["held_out"].codes),
        out=folder / "attributions.h5",
        n_controls=N_CONTROLS,
        rc_average=design.rc_average,
        hypothetical=False,
        seed=design.seed,
        device="cpu",
    )
    effect = _effect(load_model(folder / "model.safetensors"), sets["held_out"], rng)
    truth = {
        "design": asdict(design),
        "auroc": auroc,
        "effect": effect,
        "uses": None if effect is None else abs(effect) >= LEAST_EFFECT,
        "sites": {name: members.sites for name, members in sets.items()},
        "copies": {name: members.copies for name, members in sets.items()},
    }
    (folder / "truth.json").write_text(json.dumps(truth))


def _train(design: Design, sets: dict[str, Labelled], out: Path) -> float:
    """Train on positives and negatives; returns the AUROC of the test part."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.fa" for name in ("positives", "negatives")}
        for name, file in files.items():
            records = (f">{name}_{i}\n{decode(codes)}\n" for i, codes in enumerate(sets[name].codes))
            file.write_text("".join(records), encoding="ascii")
        result = train_model(
            files["positives"],
            files["negatives"],
            config=CNNConfig(
                input_length=LENGTH, n_filters=32, stem_kernel=11, n_blocks=3, pooling=design.pooling, dropout=0.1
            ),
            training=TrainConfig(
                epochs=24, patience=6, batch_size=32, max_shift=0, test_fraction=0.1, learning_rate=3e-3
            ),
            out=out,
            seed=design.seed,
            device="cpu",
        )
    return float(result.test_metrics["auroc"])


def _effect(model: SequenceModel, held_out: Labelled, rng: np.random.Generator) -> float | None:
    """Mean fall of the logit when copies are replaced by fresh background bases, as a share of the model's range."""
    codes, rows = held_out.codes, sorted({row for row, _, _ in held_out.copies})
    before = _predict(model, codes)
    scale = max(abs(before.mean() - _predict(model, dinucleotide_shuffle(codes, seed=1)).mean()), before.std())
    if not rows:
        return None
    frequencies = np.bincount(codes.ravel(), minlength=4)[:4] / np.bincount(codes.ravel(), minlength=4)[:4].sum()
    falls = np.zeros(len(rows))
    for _ in range(N_FRESH):
        cleaned = codes.copy()
        for row, start, end in held_out.copies:
            cleaned[row, start:end] = rng.choice(4, end - start, p=frequencies)
        falls += before[rows] - _predict(model, cleaned[rows])
    return float(falls.mean() / N_FRESH / scale)


def _predict(model: SequenceModel, codes: Codes) -> NDArray[np.float64]:
    return predict_windows(model, open_codes(codes), device=resolve_device("cpu")).astype(np.float64)
