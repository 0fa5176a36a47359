"""Experiments on models whose grammar is written down, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import torch
from command_line import Inputs, call, refused
from torch import nn
from toys import random_codes

from seqsal import experiments
from seqsal.cli import main
from seqsal.errors import SeqsalError
from seqsal.experiments.designs import read_elements
from seqsal.motifs import Motif
from seqsal.pipeline.info import describe_file
from seqsal.plot import plot_interactions
from seqsal.sequence.codes import encode, one_hot

A, B = "GATTACAG", "CCTGAGGA"
LENGTH, OTHER = 80, "TACCGTAA"


class Grammar(nn.Module):
    """Reads A and B, each by itself or only together, at any distance or at most 10 bp apart."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.words = torch.from_numpy(one_hot(np.stack([encode(A), encode(B)])))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        a, b = torch.relu(torch.conv1d(X, self.words) - 6.5).unbind(1)  # (N, L - 7), 1.5 where a word is
        noise = 0.02 * X[:, 1].mean(-1) + 0.02 * X[:, 2, ::3].mean(-1)
        if self.rule == "or":
            return a.sum(-1) + b.sum(-1) + noise
        if self.rule == "near":
            a = torch.nn.functional.max_pool1d(a[:, None], 37, stride=1, padding=18)[:, 0]
            return (a * b).sum(-1) + noise
        return a.amax(-1) * b.amax(-1) + noise


@pytest.fixture(scope="module")
def windows() -> dict[str, object]:
    X = one_hot(random_codes(np.random.default_rng(0), 40, LENGTH))
    return {"X": X, "device": "cpu", "rc_average": False, "n_sequences": 30, "progress": False}


def test_what_suffices_is_told_from_what_does_not(windows: dict[str, object]) -> None:
    table = experiments.insert(Grammar("or"), [A, B, OTHER], **windows)  # type: ignore[arg-type]
    assert list(table) == ["element", "effect", "low", "high", "p_value", "q_value", "n"]
    assert table["effect"].tolist()[:2] == pytest.approx([1.5, 1.5], abs=0.05) and abs(table["effect"][2]) < 0.05
    assert (table["q_value"] < 0.01).tolist() == [True, True, False] and (table["n"] == 30).all()
    assert ((table["low"] <= table["effect"]) & (table["effect"] <= table["high"])).all()
    alone = experiments.insert(Grammar("and"), [A, B], **windows)  # type: ignore[arg-type]
    assert (alone["q_value"] > 0.05).all()


def test_pairs_show_what_two_do_together(windows: dict[str, object]) -> None:
    both = experiments.pair(Grammar("and"), [A, B], **windows)  # type: ignore[arg-type]
    assert both[["a", "b"]].apply(tuple, axis=1).tolist() == [(A, A), (A, B), (B, B)]
    assert both["effect"][1] == pytest.approx(2.25, abs=0.1)
    assert (both["q_value"] < 0.01).tolist() == [False, True, False]
    assert (experiments.pair(Grammar("or"), [A, B], **windows)["q_value"] > 0.05).all()  # type: ignore[arg-type]


def test_distances_and_orientations_are_told_apart(windows: dict[str, object]) -> None:
    table = experiments.space(Grammar("near"), A, B, distances=[0, 8, 20, 40], **windows)  # type: ignore[arg-type]
    works = table[table["effect"] > 1].apply(lambda row: (row["distance"], row["orientation"]), axis=1).tolist()
    assert works == [(0, "++"), (8, "++")]
    assert table["q_value"][table["effect"] > 1].max() < 1e-6 and len(table) == 16


def test_interactions_equal_a_slow_loop_and_find_the_pair(windows: dict[str, object]) -> None:
    class Product(nn.Module):
        """Reads an A at 30 and a C at 36 together, an A at 33 by itself."""

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return X[:, 0, 30] * X[:, 1, 36] + X[:, 0, 33] + 0.01 * X[:, :, 28:40].cumsum(-1)[:, 2].pow(2).mean(-1)

    X = np.array(windows["X"][:2])  # type: ignore[index]
    X[:, :, [30, 33, 36]] = 0
    X[:, 0, [30, 33]] = X[:, 1, 36] = 1
    given = windows | {"X": X, "n_sequences": 20, "input_length": LENGTH}
    table = experiments.interactions(Product(), within=(28, 40), n_shuffles=20, **given)  # type: ignore[arg-type]
    assert len(table) == 2 * 66
    best = table.sort_values("p_value").groupby("region").head(1)
    assert best[["a", "b", "base_a", "base_b"]].to_numpy().tolist() == [[30, 36, "A", "C"]] * 2
    assert (best["effect"] - 1).abs().max() < 0.05

    model, window = Product(), torch.from_numpy(X[:1])
    rng = np.random.default_rng(0)
    for row in table.iloc[rng.choice(66, 5, replace=False)].itertuples():

        def put(*changes: tuple[int, int]) -> float:
            changed = window.clone()
            for at, base in changes:
                changed[0, :, at] = torch.eye(4)[base]
            return float(model(changed))

        others = [[base for base in range(4) if "ACGT"[base] != own] for own in (row.base_a, row.base_b)]
        slow = np.mean(
            [
                put((row.a, x), (row.b, y)) - put((row.a, x)) - put((row.b, y)) + put()
                for x in others[0]
                for y in others[1]
            ]
        )
        assert np.isclose(row.effect, slow, atol=1e-5)
    axes = plot_interactions(table)
    assert axes.get_xticklabels()[2].get_text() == "A"
    assert {text.get_position() for text in axes.texts} >= {(2, 8)} or best["q_value"].max() > 0.05


def test_grammars_are_named(windows: dict[str, object]) -> None:
    for rule, expected in (("and", "and"), ("or", "none"), ("near", "distance")):
        alone = experiments.insert(Grammar(rule), [A, B], **windows)  # type: ignore[arg-type]
        spaced = experiments.space(Grammar(rule), A, B, distances=range(0, 40, 2), **windows)  # type: ignore[arg-type]
        found = experiments.name_grammar(alone, spaced[spaced["orientation"] == "++"])
        assert found.name == expected, found


@pytest.mark.parametrize(
    "singles, effect, expected",
    [
        ((0, 0), lambda d, same: (1 + np.cos(2 * np.pi * d / 10.5)) / 2, "period"),
        ((0, 0), lambda d, same: 1.0 * same, "orientation"),
        ((1, 1), lambda d, same: -1.0, "or"),
        ((1, 0), lambda d, same: -1.0, "competition"),
        ((1, 1), lambda d, same: 0.05 * np.cos(d), "none"),
        ((0, 0), lambda d, same: (1 + np.cos(2 * np.pi * d / 5)) / 2, "and"),
    ],
)
def test_grammars_in_tables_are_named(
    singles: tuple[float, float], effect: Callable[..., float], expected: str
) -> None:
    rows = [
        {"a": "A", "b": "B", "distance": d, "orientation": o, "effect": effect(d, o[0] == o[1]), "q_value": 0.01}
        for d in range(41)
        for o in ("++", "+-", "-+", "--")
    ]
    alone = pd.DataFrame({"element": ["A", "B"], "effect": singles})
    found = experiments.name_grammar(alone, pd.DataFrame(rows))
    assert found.name == expected
    if expected == "period":
        assert found.period == pytest.approx(10.5, abs=0.15)
    if expected == "orientation":
        assert found.orientations == ("++", "--")


def test_copies_are_removed_and_swapped(windows: dict[str, object]) -> None:
    codes = random_codes(np.random.default_rng(1), 30, LENGTH)
    codes[:20, 30:38] = encode(A)
    given = {**windows, "X": one_hot(codes)}
    table = experiments.remove(Grammar("or"), [A, B], mismatches=0, **given)  # type: ignore[arg-type]
    assert table["effect"][0] == pytest.approx(1.5, abs=0.1) and table["q_value"][0] < 1e-6 and table["n"][0] == 20
    assert np.isnan(table["p_value"][1]) and table["n"][1] < 5
    swapped = experiments.swap(Grammar("or"), A, [B, OTHER], mismatches=0, **given)  # type: ignore[arg-type]
    assert swapped["effect"].tolist() == pytest.approx([0.0, -1.5], abs=0.1) and swapped["q_value"][1] < 1e-6


def test_a_scan_finds_the_stretch_that_matters(windows: dict[str, object]) -> None:
    codes = random_codes(np.random.default_rng(1), 2, LENGTH)
    codes[:, 30:38] = encode(A)
    table = experiments.scan(Grammar("or"), width=20, **{**windows, "X": one_hot(codes)})  # type: ignore[arg-type]
    over = (table["start"] < 36) & (table["end"] > 32)
    assert (
        table["effect"][over].min() > 1
        and table["effect"][~over & ((table["start"] >= 38) | (table["end"] <= 30))].max() < 0.1
    )
    assert set(table["region"]) == {"sequence_1", "sequence_2"} and table["n"].unique().tolist() == [10]


def test_elements_come_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "e.fa").write_text(">one\nACGT\n>two\nGGG\n")
    motif = Motif("m", "", 10 * one_hot(encode("TTGA")))
    found = read_elements([tmp_path / "e.fa", "gatc", motif, read_elements("AC")[0]])
    assert [one.name for one in found] == ["one", "two", "GATC", "m", "AC"]
    assert found[3].codes.tolist() == encode("TTGA").tolist()


@pytest.mark.parametrize(
    "work, words",
    [
        (lambda given: experiments.insert(Grammar("or"), "A" * 81, **given), ("81 bp do not fit into the window",)),
        (lambda given: experiments.insert(Grammar("or"), [], **given), ("element: got none",)),
        (lambda given: experiments.insert(Grammar("or"), "missing.meme", **given), ("missing.meme", "a motif file")),
        (lambda given: experiments.insert(Grammar("or"), 7, **given), ("element: got an int",)),
        (lambda given: experiments.insert(Grammar("or"), "", **given), ("element: got an empty text",)),
        (lambda given: experiments.insert(Grammar("or"), "CGTNNACR", **given), ("'CGTNNACR', expected A, C, G and T",)),
        (lambda given: experiments.insert(Grammar("or"), "ACGT" * 80, **given), ("320 bp do not fit",)),
        (lambda given: experiments.insert(Grammar("or"), "none.fa", **given), ("none.fa: no such file", "GATTACA")),
        (lambda given: experiments.space(Grammar("or"), A, B, distances=[70], **given), ("70 bp between do not fit",)),
        (lambda given: experiments.space(Grammar("or"), A, B, distances=[], **given), ("distances",)),
        (lambda given: experiments.scan(Grammar("or"), width=90, **given), ("step: got 90 bp",)),
        (lambda given: experiments.scan(Grammar("or"), step=90, **given), ("width, step: got 20 bp every 90",)),
        (lambda given: experiments.swap(Grammar("or"), A, B, **{**given, "mismatches": 0}), ("0 windows with a copy",)),
        (lambda given: experiments.insert(Grammar("or"), A, **{**given, "n_sequences": 0}), ("n_sequences: got 0",)),
        (lambda given: experiments.insert(Grammar("or"), A, n_sequence=3, **given), ("did you mean 'n_sequences'",)),
    ],
)
def test_what_cannot_be_done_is_refused(windows: dict[str, object], work: object, words: tuple[str, ...]) -> None:
    with pytest.raises(SeqsalError) as error:
        work(windows)  # type: ignore[operator]
    for word in words:
        assert word in str(error.value)


def test_every_verb_writes_its_table(tmp_path: Path) -> None:
    inputs = Inputs.write(tmp_path, np.random.default_rng(0))
    shared = [*inputs.given, "--n-sequences", "6", "--out", tmp_path / "e.tsv"]
    own = {
        "insert": ["--motifs", "GATTACA", "--motifs", "CCTGAGG"], "remove": ["--motifs", "GATT"],
        "swap": ["--a", "GATT", "--motifs", "CCTG"], "pair": ["--motifs", "GATT", "--motifs", "CCTG", "--gap", "3"],
        "space": ["--a", "GATT", "--b", "CCTG", "--distances", "0-3"], "scan": ["--width", "20", "--n-draws", "2"],
        "interactions": ["--within", "10-14"],
    }  # fmt: skip
    n_rows = {"insert": 2, "remove": 1, "swap": 1, "pair": 3, "space": 16, "scan": 30, "interactions": 36}
    for verb, options in own.items():
        picture = ["--plot", tmp_path / f"{verb}.svg"] if verb in ("pair", "space", "interactions") else []
        result = call(verb, *options, *shared, *picture)
        assert result.exit_code == 0, (verb, result.output, result.exception)
        table = pd.read_csv(tmp_path / "e.tsv", sep="\t")
        assert len(table) == n_rows[verb]
        assert f"`seqsal {verb}`" in describe_file(tmp_path / "e.tsv").kind
        if verb != "interactions":
            assert list(table)[-6:] == "effect low high p_value q_value n".split()
    pictured = {"pair": ("GATT", "CCTG"), "space": ("distance between GATT and CCTG", "orientation"),
                "interactions": ("bases 10 to 13",)}  # fmt: skip
    for verb, words in pictured.items():
        assert all(word in (tmp_path / f"{verb}.svg").read_text() for word in words)
    (tmp_path / "e.tsv").unlink()
    refused(call("space", "--a", "GATT", "--b", "CCTG", "--distances", "0-60", *shared), "do not fit into the window")
    refused(call("space", "--a", "GATT", "--b", "CCTG", "--distances", "9", *shared), "such as 0-50")
    refused(call("insert", "--motifs", "GATX", *shared), "GATX", "expected bases")
    refused(call("interactions", "--within", "10-11", *shared), "within: got 10-11", "expected 2 to 100 bp")
    refused(call("interactions", "--within", "10", *shared), "such as 490-520")
    assert not (tmp_path / "e.tsv").exists()


def test_what_a_word_changes_alone_gives_what_whole_passes_give(
    windows: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqsal.attribution.ism import pairs
    from seqsal.models import CNN, CNNConfig

    codes = random_codes(np.random.default_rng(1), 12, LENGTH)
    codes[::2, 30:38], codes[1::2, 7:15] = encode(A), encode("CTGTAATC")  # A, and A on the other strand
    given = {**windows, "X": one_hot(codes), "rc_average": True}
    tables = []
    for is_local in (True, False):
        monkeypatch.setattr(pairs, "is_worth_tracing", lambda model, X, is_local=is_local: is_local)
        torch.manual_seed(0)
        model = CNN(CNNConfig(input_length=LENGTH, n_filters=16, n_blocks=2, stem_kernel=7)).eval()
        tables.append(experiments.insert(model, [A, B], **given))  # type: ignore[arg-type]
        tables.append(experiments.remove(model, A, mismatches=0, **given))  # type: ignore[arg-type]
    for ours, whole in zip(tables[:2], tables[2:], strict=True):
        np.testing.assert_allclose(ours[["effect", "low", "high"]], whole[["effect", "low", "high"]], atol=1e-5)
    assert tables[1]["n"][0] == 12


@pytest.mark.parametrize("verb", ["insert", "remove", "swap", "pair", "space", "scan", "interactions"])
def test_the_commands_and_the_functions_have_the_same_defaults(verb: str) -> None:
    function = inspect.signature(getattr(experiments, verb)).parameters
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    options = {option.name: option for option in command.params}
    shared = [name for name in function if name in options and function[name].default is not inspect.Parameter.empty]
    assert "n_sequences" in shared
    for name in shared:
        expected = function[name].default
        found = options[name].get_default(click.Context(main))
        if isinstance(expected, range):
            found = range(*(int(end) + last for last, end in enumerate(found.split("-"))))
        assert (None if "UNSET" in repr(found) else found) == expected, name
