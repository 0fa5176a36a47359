"""What the documents say is so: code runs, options and files exist, links lead somewhere, codes have their entry."""

from __future__ import annotations

import importlib
import importlib.util
import io
import re
import shlex
import shutil
import tomllib
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import click
import matplotlib
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from toys import random_codes

import seqsal
from seqsal import AuditSettings, guide
from seqsal.cli import VERBS, main
from seqsal.models import CNN, CNNConfig, save_checkpoint
from seqsal.motifs import matrices
from seqsal.sequence.codes import decode

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PAGES = [path for path in PAGES if "generated" not in path.parts]
SMALL = {
    "train": ["--epochs", "1", "--filters", "4", "--negatives-per-positive", "1"],
    "run": ["--controls", "20", "--no-audit"],
}  # what makes a command quick
SIZES = {
    "n_regions": 8,
    "n_ism_regions": 6,
    "n_small": 6,
    "n_examples": 40,
    "n_bootstrap": 50,
    "n_draws": 1,
    "n_steps": 4,
}
ELSEWHERE = {
    "demo": "tests/pipeline/test_demo.py",
    "retrain": "tests/pipeline/test_retrain.py",
    "import": "tests/cli/test_exchange.py",
}  # run there
OWN = {
    "hg38": "small",  # assembly of the world's genome, which hg38 is refused for
    "genome": "chr9",  # one chromosome instead of all
    "chrI,chrII": "chr7,chr9",
}
OTHERS = {"--build-arg", "--gres"}  # options of other programs
FENCE = re.compile(
    r"(?P<mark><!-- not run: [^>]+ -->\n)?^ *```(?P<kind>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    kind: str
    code: str
    is_run: bool


@cache
def blocks() -> list[Block]:
    """All blocks of all pages."""
    found = []
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for match in FENCE.finditer(path.read_text(encoding="utf-8")):
            found.append(Block(page, match["kind"], match["code"], match["mark"] is None))
    return found


def commands(block: Block) -> list[list[str]]:
    """Words of each `seqsal` command in a block, without comments; none of a block with an ellipsis."""
    text = block.code.replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.strip().startswith("seqsal ")]
    return [words[1:] for words in lines if "…" not in words]


def of_pages(kind: str) -> list[str]:
    kinds = ("sh", "") if kind == "sh" else (kind,)
    return sorted({one.page for one in blocks() if one.kind in kinds and (kind != "sh" or commands(one))})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the documents speak of, small."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    starts = {"chr7": range(1000, 20000, 2500), "chr8": range(1100, 20000, 2500), "chr9": range(1100, 20000, 2500),
              "chr1": range(1000, 51000, 2500), "chr11": [190_100]}  # fmt: skip
    sizes = {chrom: max(each) + 1000 for chrom, each in starts.items()}
    genome = {chrom: decode(random_codes(rng, 1, size)[0]) for chrom, size in sizes.items()}
    (folder / "hg38.fa").write_text("".join(f">{chrom}\n{bases}\n" for chrom, bases in genome.items()))
    rows = [(chrom, start, start + 60) for chrom, each in starts.items() for start in each]
    (folder / "peaks.narrowPeak").write_text(
        "".join(f"{chrom}\t{start}\t{end}\tp{i}\t0\t.\t1\t1\t1\t30\n" for i, (chrom, start, end) in enumerate(rows))
    )
    (folder / "peaks.bed").write_text(
        "".join(f"{chrom}\t{start}\t{end}\n" for chrom, start, end in rows[::3] + rows[-1:])
    )
    bed = (folder / "peaks.bed").read_text().splitlines(keepends=True)
    for name in ("held_out.bed", "train_pos.bed"):
        (folder / name).write_text("".join(bed[:9]))
    (folder / "blacklist.bed").write_text("chr9\t0\t18500\n")
    (folder / "train_neg.bed").write_text(
        "".join(f"chr1\t{start}\t{start + 60}\n" for start in range(2000, 27000, 2500))
    )
    torch.manual_seed(0)
    network = CNN(CNNConfig(input_length=60, n_filters=4, n_blocks=1, stem_kernel=7)).eval()
    save_checkpoint(folder / "M.safetensors", network, {"history": [], "metrics": {}})
    model = seqsal.load_model(folder / "M.safetensors")
    given = {"genome": folder / "hg38.fa", "regions": folder / "peaks.bed", "hypothetical": True}
    for name, method in (("A", "gradient_x_input"), ("B", ["gradient_x_input", "ism"]), ("C", ["saliency", "ism"])):
        seqsal.attribute(model, out=folder / f"{name}.h5", method=method, **given)
    call("peaks", folder / "A.h5", "--model", folder / "M.safetensors", "--fdr", "1", "--out", folder / "P.narrowPeak")
    call("motifs", folder / "A.h5", "--peaks", folder / "P.narrowPeak", "--out", folder / "motifs")
    return folder


def call(*words: object) -> None:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    assert result.exit_code in (0, 3), (words, result.stderr)


@pytest.fixture(autouse=True)
def small_audits_and_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small defaults of the audit, and every thirtieth motif of JASPAR: the documents are tried here, not those."""
    defaults = tuple(SIZES.get(one.name, one.default) for one in fields(AuditSettings))
    monkeypatch.setattr(AuditSettings.__init__, "__defaults__", defaults)
    whole = matrices.fetch_jaspar
    monkeypatch.setattr(matrices, "fetch_jaspar", lambda spec: whole(spec)[::30])


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world as the current folder."""
    shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("page", of_pages("python"))
def test_python_runs(page: str, here: Path) -> None:
    """Blocks of a page are one program."""
    network = torch.nn.Sequential(torch.nn.Conv1d(4, 2, 7), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    names = {"seqsal": seqsal, "model": seqsal.wrap(network, input_length=60)}  # of pages that begin in the middle
    for block in blocks():
        if block.page == page and block.kind == "python":
            program = compile(block.code, page, "exec")
            if block.is_run:
                with redirect_stdout(io.StringIO()):
                    exec(program, names)
    matplotlib.pyplot.close("all")


SEEN: set[str] = set()


@pytest.mark.parametrize("page", of_pages("sh"))
def test_commands_run(page: str, here: Path) -> None:
    """Every command is understood; those of the pages that can be run are run, each once."""
    for block in blocks():
        for words in commands(block) if block.page == page and block.kind in ("sh", "") else []:
            command = main.get_command(click.Context(main), words[0])  # type: ignore[attr-defined]
            assert command is not None, words
            if "--help" not in words and "--config" not in words:
                command.make_context(words[0], words[1:])
            if block.is_run and words[0] not in ELSEWHERE and shlex.join(words) not in SEEN:
                SEEN.add(shlex.join(words))
                call(*[OWN.get(one, one) for one in words], *SMALL.get(words[0], []))


def test_options_are_those_of_their_command() -> None:
    """Also where a command is shortened, or in the middle of a sentence."""
    n_options = 0
    texts = {path.name: path.read_text(encoding="utf-8").replace("\\\n", " ") for path in PAGES}
    texts |= {verb: main.get_command(click.Context(main), verb).epilog or "" for verb in VERBS}
    for name, text in texts.items():
        for command in re.findall(r"(?<![\w/.-])seqsal [a-z]+ [^`#|;\n]*", text):
            verb, options = command.split()[1], re.findall(r"(?<![\w-])--[a-z][a-z-]+", command)
            if options and verb in VERBS:
                params = main.get_command(click.Context(main), verb).params
                flags = {"--help"} | {flag for one in params for flag in (*one.opts, *one.secondary_opts)}
                assert set(options) <= flags, (name, command)
                n_options += len(options)
    assert n_options > 100


def test_configuration_files_name_options() -> None:
    """What is no program is read at least: TOML and YAML, and each name of a configuration file is an option."""
    for block in blocks():
        if block.kind == "yaml":
            assert yaml.safe_load(block.code)
        if block.kind == "toml":
            given = tomllib.loads(block.code)
            known = {
                flag.lstrip("-") for one in main.get_command(click.Context(main), "run").params for flag in one.opts
            }
            assert block.page.endswith("clusters.md") or set(given) <= known, block.page


def test_options_that_are_named_exist() -> None:
    known = OTHERS | {"--help", "--version", "--long", "--loader"}
    for verb in VERBS:
        command = main.get_command(click.Context(main), verb)  # type: ignore[attr-defined]
        known |= {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
    for path in PAGES:
        text = re.sub(r"```\w*\n(?!seqsal).*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in text.splitlines():
            if not re.search(
                r"benchmarks/|job_extra|\.py|^plan/|pip |sed |bcftools|git |bgzip|conda|docker|apptainer", line
            ):
                unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line)) - known
                assert not unknown, (path.name, line)


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*PAGES, ROOT / "CHANGELOG.md"]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            address = target.partition("#")[0]
            if address and "://" not in address and "generated/" not in address:
                assert (path.parent / address).exists(), (path.name, target)


def test_readme_is_short() -> None:
    text = (ROOT / "README.md").read_bytes()
    assert len(text) <= 6_000


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md", "docs/concepts/audit.md"])
def test_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`((?:seqsal|benchmarks|tests|docs|notebooks)/[\w./-]+)`", text))
    assert named or document == "README.md"
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.name for path in (ROOT / "seqsal").iterdir() if (path / "__init__.py").exists()} - {"example_data"}
    assert [room for room in sorted(rooms) if f"`{room}/`" not in text] == []


def test_what_the_makefile_runs_is_there() -> None:
    text = (ROOT / "Makefile").read_text()
    names = re.findall(r"from (seqsal[\w.]*) import (\w+)", text)
    assert names
    assert all(hasattr(importlib.import_module(module), name) for module, name in names)
    assert [name for name in re.findall(r"-m (seqsal[\w.]*)", text) if importlib.util.find_spec(name) is None] == []


def test_the_field_guide_has_every_code_once() -> None:
    text = (ROOT / "docs/field-guide.md").read_text(encoding="utf-8")
    codes = re.findall(r"^\((s\d\d)\)=\n\n?### (S\d\d): ", text, re.MULTILINE)
    assert [one.lower() for one in guide.CODES] == [anchor for anchor, _ in codes]
    assert list(guide.CODES) == [code for _, code in codes]
    assert text.count("*What to do.*") == len(codes)


def test_messages_with_a_code_are_in_the_code() -> None:
    """A message that was reworded loses its code: change its words in `seqsal/guide.py` too."""
    said: set[str] = set()
    for path in (ROOT / "seqsal").rglob("*.py"):
        if path.name != "guide.py":
            text = path.read_text(encoding="utf-8")
            said.add(re.sub(r"\"\n\s*f?\"", "", text))  # texts go on in the next line
    texts = "\n".join(said).replace("%%", "%")
    assert [code for code, words in guide.CODES.items() if words not in texts] == []


def test_a_message_ends_in_its_code(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["info", str(tmp_path / "none.h5")])
    assert result.exit_code == 2 and result.stderr.rstrip().endswith("[S12]")
    assert guide.code_of("peaks: 3 called") == ""
