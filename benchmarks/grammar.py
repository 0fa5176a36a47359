"""Grammars: networks trained on planted rules, what experiments name.

    python benchmarks/grammar.py train FOLDER [--seeds 4]    networks, one file each; goes on where it stopped
    python benchmarks/grammar.py name FOLDER                 which grammar is named for each network
    python benchmarks/grammar.py methods FOLDER              all methods: localisation, signs, agreement of networks

A sequence of 120 bp holds none, one or both of two words, A and B, on either strand, in either order and up to 40 bp
apart, and its activity is a rule of them (`RULES`) with noise of 0.1. Networks are of three kinds (`KINDS`): a wide
second convolution, residual dilated ones, and attention.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import seqsal
from seqsal.attribution.methods.registry import METHODS
from seqsal.errors import SeqsalError
from seqsal.experiments import insert, name_grammar, space
from seqsal.sequence.codes import encode, one_hot, reverse_complement
from seqsal.sequence.tensors import one_hot_tensor

LENGTH, POOL, MOST_GAP, NOISE = 120, 3, 40, 0.1
A, B = "TTGACTCATC", "GGATAAGCAC"
N_TRAIN, N_VALID, EPOCHS, BATCH = 10_000, 1_000, 10, 64
Codes = NDArray[np.uint8]
# of (has A, has B, gap in bp, both on one strand), (n,) each: activity
RULES: dict[str, Callable[..., NDArray[np.float64]]] = {
    "and": lambda a, b, gap, same: a * b,
    "or": lambda a, b, gap, same: np.maximum(a, b),
    "distance": lambda a, b, gap, same: a * b * (gap <= 20),
    "period": lambda a, b, gap, same: a * b * (1 + np.cos(2 * np.pi * gap / 10.5)) / 2,
    "orientation": lambda a, b, gap, same: a * b * same,
    "competition": lambda a, b, gap, same: a * (1 - b),
    "additive": lambda a, b, gap, same: a + b,
    "single": lambda a, b, gap, same: a,
    "opposed": lambda a, b, gap, same: a - b,
    "noise": lambda a, b, gap, same: 0.0 * a,
}
N_MAPPED = 24
SIGNS = {
    "and": (1, 1),
    "or": (1, 1),
    "distance": (1, 1),
    "period": (1, 1),
    "orientation": (1, 1),
    "additive": (1, 1),
    "competition": (1, -1),
    "opposed": (1, -1),
    "single": (1, 0),
}  # of what A and B contribute, 0: nothing
LEARNED, N_BACKGROUNDS = 0.8, 20
WITHOUT = ("additive", "single", "opposed", "noise")


class Attend(nn.Module):
    """Self-attention with learned weights by distance, (N, C, L) → (N, C, L)."""

    def __init__(self, n_filters: int, reach: int) -> None:
        super().__init__()
        self.parts = nn.Conv1d(n_filters, 3 * n_filters, 1)
        self.by_distance = nn.Parameter(torch.zeros(2 * reach - 1))
        self.reach = reach

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Attend to all positions."""
        q, k, v = self.parts(h).chunk(3, 1)
        at = torch.arange(h.shape[2])
        weights = q.transpose(1, 2) @ k / h.shape[1] ** 0.5 + self.by_distance[at[None] - at[:, None] + self.reach - 1]
        return v @ weights.softmax(-1).transpose(1, 2)


class Network(nn.Module):
    """A stem of 11 bp, pooled by 3, one of `KINDS` on top, and the sum over positions."""

    def __init__(self, kind: str, n_filters: int = 16) -> None:
        super().__init__()
        n = n_filters
        self.stem = nn.Sequential(nn.Conv1d(4, n, 11, padding=5), nn.BatchNorm1d(n), nn.ReLU(), nn.MaxPool1d(POOL))
        self.body = KINDS[kind](n)
        self.head = nn.Sequential(
            nn.Conv1d(n, 16, 1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 1)
        )

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Score one-hot windows, (N, 1)."""
        return self.head(self.body(self.stem(X)))


class Residual(nn.Module):
    """h + relu(convolution)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Add what the layer makes of it."""
        return h + torch.relu(self.inner(h))


def _dilated(n: int, dilation: int) -> nn.Module:
    return Residual(nn.Sequential(nn.Conv1d(n, n, 5, padding=2 * dilation, dilation=dilation), nn.BatchNorm1d(n)))


KINDS: dict[str, Callable[[int], nn.Module]] = {
    "wide": lambda n: nn.Sequential(nn.Conv1d(n, n, 35, padding=17), nn.BatchNorm1d(n), nn.ReLU()),
    "dilated": lambda n: nn.Sequential(*(_dilated(n, d) for d in (1, 2, 4))),
    "attention": lambda n: nn.Sequential(
        Residual(Attend(n, LENGTH // POOL)), nn.Conv1d(n, n, 25, padding=12), nn.ReLU()
    ),
}


def draw(rule: str, n: int, seed: int) -> tuple[Codes, NDArray[np.float32]]:
    """Sequences (n, L) and what they do, (n,)."""
    rng = np.random.default_rng([seed, 17])
    codes = rng.integers(0, 4, (n, LENGTH), dtype=np.uint8)
    kind = rng.choice(4, n, p=(0.1, 0.2, 0.2, 0.5))  # none, A, B, both
    turned = rng.random((n, 2)) < 0.5
    gap = rng.integers(0, MOST_GAP + 1, n)
    words = [encode(A), encode(B)]
    for row in range(n):
        own = [reverse_complement(word) if turned[row, i] else word for i, word in enumerate(words)]
        order = (0, 1) if rng.random() < 0.5 else (1, 0)
        at = int(rng.integers(0, LENGTH - 20 - gap[row] + 1))
        for place, which in enumerate(order):
            if kind[row] == 3 or kind[row] == which + 1:
                first = at + place * (10 + gap[row])
                codes[row, first : first + 10] = own[which]
    has = [(kind == 3) | (kind == which + 1) for which in (0, 1)]
    active = RULES[rule](*(one.astype(np.float64) for one in has), gap, turned[:, 0] == turned[:, 1])
    return codes, (active + rng.normal(0, NOISE, n)).astype(np.float32)


def train(rule: str, kind: str, seed: int) -> tuple[nn.Module, float]:
    """Train a network, and return it with the share of the rule's variance that it explains on new sequences."""
    torch.manual_seed(seed)
    network = Network(kind)
    codes, y = draw(rule, N_TRAIN, seed)
    targets, n_steps = torch.from_numpy(y)[:, None], EPOCHS * (N_TRAIN // BATCH)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=n_steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(N_TRAIN).split(BATCH)[: N_TRAIN // BATCH]:
            X = one_hot_tensor(torch.from_numpy(codes[rows.numpy()]))
            loss = nn.functional.mse_loss(network(X), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    codes, y = draw(rule, N_VALID, seed + 1_000)
    with torch.no_grad():
        off = network(one_hot_tensor(torch.from_numpy(codes)))[:, 0].numpy() - y
    signal = y.var() - NOISE**2
    return network, float(1 - (off.var() - NOISE**2) / signal) if rule != "noise" else 1.0


def train_all(folder: Path, n_seeds: int) -> None:
    """Train every rule on every kind, seed by seed."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(n_seeds):
        for rule in RULES:
            for kind in KINDS:
                path = folder / f"{rule}-{kind}-{seed}.pt"
                if not path.exists():
                    network, explained = train(rule, kind, seed)
                    torch.save({"weights": network.state_dict(), "explained": explained}, path)
                    print(f"{path.stem}: {explained:.3f} of the rule's variance", flush=True)


def read_networks(folder: Path) -> Iterator[tuple[str, str, int, nn.Module]]:
    """Yield the rule, kind, seed and network of each file whose network has learned its rule."""
    left = 0
    for path in sorted(folder.glob("*-*-*.pt")):
        rule, kind, seed = path.stem.split("-")
        saved = torch.load(path, weights_only=True)
        if saved["explained"] < LEARNED:
            left += 1
            continue
        network = Network(kind)
        network.load_state_dict(saved["weights"])
        yield rule, kind, int(seed), network.eval()
    print(f"{left} networks left out: they explain less than {LEARNED:.0%} of their rule")


def name_all(folder: Path) -> None:
    """Print which grammar is named for the networks of each rule."""
    torch.set_num_threads(1)
    X = one_hot(np.random.default_rng(5).integers(0, 4, (N_BACKGROUNDS, LENGTH), dtype=np.uint8))
    given: dict[str, Any] = {
        "X": X,
        "device": "cpu",
        "rc_average": False,
        "n_sequences": N_BACKGROUNDS,
        "progress": False,
    }
    named: dict[str, list[str]] = {}
    for rule, kind, seed, network in read_networks(folder):
        model = seqsal.wrap(network, input_length=LENGTH)
        alone = insert(model, [A, B], **given)
        found = name_grammar(alone, space(model, A, B, distances=range(MOST_GAP + 1), **given))
        expected = "none" if rule in WITHOUT else rule
        named.setdefault(rule, []).append(found.name)
        if found.name != expected:
            print(f"{rule}-{kind}-{seed}: {found}, {found!r}", flush=True)
    for rule, names in named.items():
        print(f"{rule:12} {len(names):3} networks: {dict(Counter(names))}")
    right = [name == rule for rule, names in named.items() if rule not in WITHOUT for name in names]
    false = [name != "none" for rule, names in named.items() if rule in WITHOUT for name in names]
    print(f"named right: {sum(right)} of {len(right)}; named without a grammar: {sum(false)} of {len(false)}")


def plan(rule: str) -> tuple[Codes, NDArray[np.bool_], NDArray[np.float64]]:
    """Draw sequences (n, L) with both words as the rule wants them: also where these are (2, n, L), and their signs."""
    rng = np.random.default_rng([list(RULES).index(rule), 23])
    codes = rng.integers(0, 4, (N_MAPPED, LENGTH), dtype=np.uint8)
    where = np.zeros((2, N_MAPPED, LENGTH), dtype=bool)
    for row in range(N_MAPPED):
        gap = int(rng.choice([0, 10, 11])) if rule == "period" else int(rng.integers(0, 18))
        at = int(rng.integers(5, LENGTH - 45))
        for which, word in enumerate((A, B)):
            first = at + which * (10 + gap)
            codes[row, first : first + 10] = encode(word)
            where[which, row, first : first + 10] = True
    return codes, where, np.array(SIGNS[rule])


def compare_methods(folder: Path) -> None:
    """Print for each method where its maps lie, whether their signs obey the rule, and how seeds agree."""
    torch.set_num_threads(1)
    scores: dict[str, dict[str, list[float]]] = {name: {"place": [], "sign": [], "seeds": []} for name in METHODS}
    by_rule: dict[tuple[str, str], list[float]] = {}
    maps: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    refused: dict[str, str] = {}
    for rule, _, _, network in read_networks(folder):
        if rule not in SIGNS:
            continue
        codes, where, signs = plan(rule)
        model, matters = seqsal.wrap(network, input_length=LENGTH), where[signs != 0].any(axis=0)
        for name in METHODS:
            try:
                attr = seqsal.attribute(
                    model, X=one_hot(codes), method=name, n_controls=0, device="cpu", progress=False
                )
            except SeqsalError as error:
                refused[name] = str(error)
                continue
            track = np.asarray(attr.track, dtype=np.float64)
            scores[name]["place"].append(average_precision(np.abs(track), matters))
            own = np.array([(track * where[which]).sum(axis=1) for which in (0, 1)])
            obeyed = float(np.mean([(np.sign(own[k]) == signs[k]).mean() for k in (0, 1) if signs[k]]))
            scores[name]["sign"].append(obeyed)
            by_rule.setdefault((rule, name), []).append(obeyed)
            maps.setdefault((rule, name), []).append(track)
    for (_, name), tracks in maps.items():
        pairs = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for i, a in enumerate(tracks) for b in tracks[i + 1 :]]
        scores[name]["seeds"] += pairs
    print("| method | localisation | signs obeyed | agreement of networks |\n| --- | --- | --- | --- |")
    for name, found in scores.items():
        if not found["place"]:
            continue
        print(f"| `{name}` | " + " | ".join(f"{np.nanmean(values):.2f}" for values in found.values()) + " |")
    print("\nsigns obeyed by rule\n| rule | " + " | ".join(METHODS) + " |")
    for rule in SIGNS:
        if (rule, next(iter(METHODS))) in by_rule:
            print(
                f"| {rule} | "
                + " | ".join(f"{np.mean(by_rule.get((rule, name), [np.nan])):.2f}" for name in METHODS)
                + " |"
            )
    for name, reason in refused.items():
        print(f"{name} refuses some: {reason}")


def average_precision(score: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Mean over sequences of the average precision of bases that matter, by score."""
    found = []
    for own, true in zip(score, truth, strict=True):
        hits = true[np.argsort(-own, kind="stable")]
        found.append(float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "name", "methods"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    if given.what == "train":
        train_all(given.folder, given.seeds)
    elif given.what == "name":
        name_all(given.folder)
    else:
        compare_methods(given.folder)


if __name__ == "__main__":
    main()
