"""`--config`: the options of a verb from a file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import Inputs, call, refused
from hypothesis import given
from hypothesis import strategies as st

from seqsal.cli import main
from seqsal.cli.options import common_options
from seqsal.cli.run import run_command
from seqsal.errors import UsageError
from seqsal.io.config import read_config, write_config
from seqsal.pipeline.preparation import config_of, prepare_run


@pytest.fixture
def inputs(tmp_path: Path, rng: np.random.Generator) -> Inputs:
    return Inputs.write(tmp_path, rng)


@click.command("probe")
@click.option("--fdr", type=float, default=0.05)
@click.option("--count", type=click.IntRange(min=1), default=1)
@click.option("--method", multiple=True, default=["a"])
@click.option("--kind", type=click.Choice(["x", "y"]), default="x")
@click.option("--pair", "pairs", multiple=True)
@click.option("--audit/--no-audit", default=True)
@click.option("--input-name", required=True)
@common_options
@click.pass_context
def probe(ctx: click.Context, **arguments: object) -> None:
    click.echo(json.dumps(arguments))


def probed(tmp_path: Path, text: str, *arguments: str) -> dict[str, object]:
    (tmp_path / "c.toml").write_text(text)
    result = CliRunner().invoke(probe, ["--config", str(tmp_path / "c.toml"), *arguments])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_values_of_every_kind(tmp_path: Path) -> None:
    text = (
        'input_name = "n"\nfdr = 1\ncount = 3\nmethod = ["b", "c"]\nkind = "y"\nno-audit = true\nquiet = true\nseed = 7'
    )
    assert probed(tmp_path, text) == {
        "input_name": "n", "fdr": 1.0, "count": 3, "method": ["b", "c"], "kind": "y", "pairs": [], "audit": False,
        "device": "auto", "seed": 7, "quiet": True,
    }  # fmt: skip


def test_the_command_line_wins(tmp_path: Path) -> None:
    text = 'input-name = "n"\nfdr = 0.5\nmethod = ["b", "c"]\naudit = false'
    found = probed(tmp_path, text, "--fdr", "0.2", "--method", "z", "--audit")
    assert (found["fdr"], found["method"], found["audit"]) == (0.2, ["z"], True)
    (tmp_path / "c.toml").write_text(text)
    late = CliRunner().invoke(probe, ["--fdr", "0.2", "--config", str(tmp_path / "c.toml")])
    assert json.loads(late.stdout)["fdr"] == 0.2 and json.loads(late.stdout)["method"] == ["b", "c"]


def test_a_table_of_the_verb_and_of_pairs(tmp_path: Path) -> None:
    text = (
        '[other]\nx = 1\n[probe]\ninput-name = "n"\nmethod = "b"\n[probe.pair]\nn_steps = 5\nfast = true\n"a.b" = "c"'
    )
    found = probed(tmp_path, text)
    assert found["method"] == ["b"] and found["pairs"] == ["n_steps=5", "fast=true", "a.b=c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fdrr = 0.1", ("fdrr", "no such option of run", "'fdr'")),
        ("motif_bd = 'x'", ("motif_bd", "'motif-db'")),
        ("zzzzzz = 1", ("zzzzzz", "--help")),
        ('config = "x"', ("config", "no such option")),
        ('fdr = "0.1"', ("fdr", "'0.1'", "a number")),
        ("fdr = true", ("fdr", "true", "a number")),
        ("target = 1.5", ("target", "1.5", "a whole number")),
        ("seed = [1, 2]", ("seed", "list", "one value")),
        ("batch-size = 0", ("batch-size", "0")),
        ("rc-average = 1", ("rc-average", "true or false")),
        ("model = 3", ("model", "3", "text in quotes")),
        ('layout = "NLX"', ("layout", "NLX", "NCL")),
        ("audit = true\nno-audit = true", ("no-audit", "twice")),
        ("seed = ", ("not TOML",)),
        (f"seed = {2**70}", ("seed", "range")),
        ("target = []", ("target: got none",)),
        (r'genome = "a\u0000b"', ("genome", "null byte")),
        ("a = " + "[" * 5000 + "]" * 5000, ("nested too deeply",)),
        ("seed = 1\n[run]\nfdr = 0.1", ("seed", "outside the table [run]")),
    ],
)
def test_what_a_file_cannot_say(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    refused(call("run", "--config", path, "--out", tmp_path / "run"), "c.toml", *words)
    assert not (tmp_path / "run").exists()


def test_no_such_file(tmp_path: Path) -> None:
    refused(call("run", "--config", tmp_path / "c.toml", "--out", "x"), "c.toml", "no such file")
    refused(call("run", "--config", tmp_path, "--out", "x"), "cannot be read")


def test_what_is_still_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("fdr = 0.1")
    refused(call("run", "--config", tmp_path / "c.toml", "--out", tmp_path / "run"), "--model")


def test_other_verbs_take_it_too(inputs: Inputs) -> None:
    path = inputs.folder / "c.toml"
    path.write_text(
        f'[attribute]\nmodel = "{inputs.model}"\ngenome = "{inputs.folder}/genome.fa"\ncontrols = 100\n'
        f'regions = "{inputs.folder}/regions.bed"\nout = "{inputs.folder}/A.h5"\n[peaks]\nfdr = 1.0\n'
    )
    assert call("attribute", "--config", path).exit_code == 0
    result = call("peaks", inputs.folder / "A.h5", "--config", path, "--out", inputs.folder / "P.narrowPeak")
    assert result.exit_code == 0 and "q ≤ 1" in result.output


@pytest.mark.usefixtures("no_pages")
def test_run_toml_repeats_the_run(inputs: Inputs) -> None:
    inputs.keep(3)
    first, second = inputs.folder / "one", inputs.folder / "two"
    result = call("run", *inputs.given, "--method", "saliency", "--method", "smoothgrad",
                  "--method-option", "n_samples=3",
                  "--controls", 100, "--no-audit", "--rc-average", "--fdr", 0.2, "--out", first)  # fmt: skip
    assert result.exit_code == 0, result.output
    result = call("run", "--config", first / "run.toml", "--out", second)
    assert result.exit_code == 0, result.output
    for name in ("run.toml", "attributions.h5", "peaks.tsv", "scores.tsv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    parameters = [json.loads((folder / "run.json").read_text())["parameters"] for folder in (first, second)]
    assert parameters[0] == parameters[1]


def test_everything_that_run_takes_can_be_repeated(inputs: Inputs) -> None:
    """Names of `run.toml` are names of options, whatever Python was given."""
    (inputs.folder / "strata.tsv").write_text("name\tbatch\n" + "".join(f"r{i}\t{i % 2}\n" for i in range(20)))
    with prepare_run(
        inputs.model, out=inputs.folder / "run", genome=inputs.folder / "genome.fa",
        regions=inputs.folder / "regions.bed",
        n_controls=100, settings={"n_regions": 5}, other_models=[str(inputs.model)], n_samples=3, method="smoothgrad",
        strata=f"{inputs.folder}/strata.tsv:batch", target=[0], genome_name="hub_1", compile=False,
    ) as prepared:  # fmt: skip
        values = config_of(prepared.parameters)
    named = {str(option.name).replace("_", "-") for option in run_command.params}
    assert set(values) <= named
    assert values["compile"] is False
    assert values["n-controls"] == 100 and values["method-options"] == {"n_samples": 3}
    assert values["settings"] == {"n_regions": 5} and "weights" not in values
    write_config(inputs.folder / "r.toml", values)
    result = call("run", "--config", inputs.folder / "r.toml", "--out", inputs.folder / "run", "--dry-run")
    assert result.exit_code == 0, result.output


TOML = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(values=st.dictionaries(st.text(st.characters(codec="utf-8")), TOML, max_size=4))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("toml") / "c.toml"
    write_config(path, values)
    assert tomllib.loads(path.read_text(encoding="utf-8")) == values


def test_read_config_refuses(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        read_config(tmp_path / "c.toml", "run")
    with pytest.raises(UsageError, match="no such file"):
        read_config(tmp_path / "d.toml", "run")


@pytest.mark.parametrize("name", ["trust-model", "trust_model", "trust-pickle"])
def test_a_file_cannot_say_that_a_model_is_trusted(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"{name} = true\n")
    result = CliRunner().invoke(main, ["score", "--config", str(tmp_path / "c.toml"), "--model", "m.pt2"])
    assert result.exit_code == 2
    assert "a file cannot say that a model is trusted" in result.output
