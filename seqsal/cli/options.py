"""Options that several verbs share."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqsal.attribution.methods.registry import METHODS
from seqsal.cli import INFORMATIVE, NOTES
from seqsal.cli.config import config_option
from seqsal.guide import with_code

if TYPE_CHECKING:
    from seqsal.auditing.result import AuditResult

__all__ = [
    "METHOD_NAMES", "NULLS", "TRAIN_DEFAULTS", "NumberOrAuto", "Verb", "attribution_options", "check_ending",
    "check_picture", "common_options", "config_option", "device_option", "end_by_verdict", "ensemble_options",
    "evidence_options", "input_options", "model_options", "models_options", "motif_db_option", "one_or_many",
    "optional_model_options", "path_type", "pop_reading", "reading_options", "result_option", "resume_option",
    "scheduler_option", "show_progress", "stack", "statistic_option", "talk_options", "target_option",
    "targets_option", "tiling_options", "verb",
]  # fmt: skip

OUTPUTS = ("out", "bigwig")
PICTURES = (".svg", ".png", ".pdf")
READING_GROUP = "How the model is read"
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# what help texts show, here so that help does not import torch; a test compares the originals
METHOD_NAMES = tuple(METHODS)
NULLS = ("shuffle", "background")
TRAIN_DEFAULTS = {
    "n_filters": 64,
    "n_blocks": 4,
    "epochs": 12,
    "patience": 6,
    "learning_rate": 2e-3,
    "negatives_per_positive": 4,
    "mine": 0,
    "mask_weight": 1.0,
    "mask_warmup": 0.2,
    "mask_method": "gradient_x_input",
    "cutout": "none",
    "cutout_probability": 0.5,
    "cutout_width": 20,
    "temperature": 1.0,
    "match_maps": 0.0,
}
path_type = click.Path(path_type=Path, readable=False)  # what is wrong with a file is for its reader to say


def stack(*decorators: Decorator, group: str | None = None) -> Decorator:
    """Add several options, in their order, which help lists together under the name of their group."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        known = list(getattr(command, "__click_params__", ()))
        for decorator in reversed(decorators):
            command = decorator(command)
        for parameter in getattr(command, "__click_params__", ()):
            if group is not None and parameter not in known:
                parameter.help_group = group
        return command

    return decorate


class Verb(click.Command):
    """A command whose help lists its options by subject, and whose outputs must be no inputs."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from seqsal.io.atomic import check_distinct

        given = [(name, one) for name, value in ctx.params.items()
                 for one in (value if isinstance(value, (tuple, list)) else [value])]  # fmt: skip
        outputs = [one for name, one in given if name in OUTPUTS and one is not None]
        check_distinct(outputs, (one for name, one in given if name not in OUTPUTS))
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, the verb's own first."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "help_group", "Options"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


verb = functools.partial(click.command, cls=Verb)


def check_ending(out: Path, ending: str, *, name: str = "a name") -> None:
    """Raise unless `out` ends in `ending` and can be written; `name` says what it names."""
    from seqsal.errors import UsageError
    from seqsal.io.atomic import check_writable

    if out.suffix != ending:
        raise UsageError(f"{out}: unknown extension, expected {name} that ends in {ending}")
    check_writable(out)


def check_picture(out: Path, *others: str) -> None:
    """Raise unless `out` is the name of a picture, or ends in one of `others`, and can be written.

    Pictures come last, and what they show may have taken hours.
    """
    from seqsal.errors import UsageError
    from seqsal.io.atomic import check_writable

    if out.suffix.lower() not in (known := (*PICTURES, *others)):
        raise UsageError(f"{out}: unknown extension, expected {', '.join(known[:-1])} or {known[-1]}; rename the file")
    check_writable(out)


def pop_reading(arguments: dict[str, Any]) -> dict[str, Any]:
    """Take the arguments that say how a model is read out of `arguments`, as far as they were given."""
    from seqsal.attribution.request import READING, as_given

    return as_given({name: arguments.pop(name) for name in READING if name in arguments})


def show_progress(quiet: bool) -> bool:
    """Whether to draw progress bars: on a terminal, unless --quiet."""
    return not quiet and sys.stderr.isatty()


def _settings(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, bool | int | float | str]:
    """Read `name=value` pairs, numbers as numbers, true and false as such, names of layers (`0.10`) as they are."""
    pairs = [text.partition("=") for text in value]
    wrong = next((text for text, (_, equals, _) in zip(value, pairs, strict=True) if not equals), None)
    if wrong is not None:
        raise click.BadParameter(f"got {wrong!r}, expected NAME=VALUE, for example n_steps=100")
    named = {name.strip(): text.strip() for name, _, text in pairs}
    return {name: text if name.rpartition(".")[2] == "layer" else _value(text) for name, text in named.items()}


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def one_or_many(ctx: click.Context, parameter: click.Parameter, value: tuple[Any, ...]) -> Any:
    """Give a repeated option as a list, one given once as its value."""
    return None if not value else value[0] if len(value) == 1 else list(value)


class _NumberOrText(click.ParamType):
    """A whole number, or words."""

    name = "number or text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read what was given."""
        return int(value) if str(value).isdigit() else str(value)


NUMBER_OR_TEXT = _NumberOrText()


class _Tile(click.ParamType):
    """A flag, or a whole number above 0."""

    name = "flag or number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | bool:
        """Read what was given."""
        if isinstance(value, bool):
            return value
        return int(click.IntRange(min=1).convert(value, param, ctx))


_contrast_options = stack(
    click.option(
        "--contrast", multiple=True, callback=one_or_many, metavar="A-B|FILE",
        help="Attribute a difference of outputs: 5-3, 'liver - mean(others)', 'log(5 / 3)', or a file with a weight "
        "for each; may be repeated.",
    ),
    click.option(
        "--target-names", type=path_type, metavar="FILE",
        help="Names of the outputs, one a line, by which --target and --contrast may call them.",
    ),
)  # fmt: skip
target_option = stack(
    click.option(
        "--target",
        type=NUMBER_OR_TEXT,
        show_default="0",
        metavar="N|NAME",
        help="Which output of the model, from 0 or by name.",
    ),
    _contrast_options,
)
targets_option = stack(
    click.option(
        "--target",
        multiple=True,
        type=NUMBER_OR_TEXT,
        show_default="0",
        callback=one_or_many,
        metavar="N|NAME",
        help="Which output of the model, from 0, or its name; may be repeated.",
    ),
    _contrast_options,
)
result_option = click.option(
    "--result", metavar="NAME", help="Which result of the file, such as ism or ism.target3 [default: the first]."
)
statistic_option = click.option(
    "--statistic", type=click.Choice(["auto", "height", "joint"]), default="auto", show_default=True,
    help="What peaks are judged by: their height, or joint evidence: height, shape, the window's prediction and what "
    "deleting the peak does to it, which finds more and takes longer; auto is joint where the model is at hand.",
)  # fmt: skip
motif_db_option = click.option(
    "--motif-db", metavar="DB",
    help="What to name motifs by: jaspar:RELEASE:TAXGROUP, such as jaspar:2026:vertebrates, or a motif file.",
)  # fmt: skip
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]", help="Where to compute."
)
resume_option = click.option(
    "--resume/--no-resume", default=True, show_default=True,
    help="Resume an interrupted command with the same settings, or start over.",
)  # fmt: skip


reading_options = stack(
    click.option("--weights", type=path_type, help="State dict for a package.module:factory model."),
    click.option(
        "--output-space", show_default="auto",
        type=click.Choice(["auto", "logit", "log", "probability", "count", "linear"]),
        help="What to attribute; auto takes the value before a final sigmoid, softmax or exp.",
    ),
    click.option("--input-length", type=click.IntRange(min=1), help="Window (bp), where the model does not say."),
    click.option(
        "--layout", show_default="NCL", type=click.Choice(["NCL", "NLC", "NL"]),
        help="Shape of the model's input: (N, 4, L), (N, L, 4), or (N, L) numbers of bases.",
    ),
    click.option("--channel-order", metavar="BASES", show_default="ACGT", help="Bases of the input channels."),
    click.option("--output", metavar="NAME", help="Which of several outputs to read: index, key or path a.b."),
    click.option(
        "--reduce",
        type=click.Choice(
            ["sum", "mean", "max", "log_sum", "weighted", "profile", "profile_both", "profile_strand"]
        ),
        help="One number from a profile; 'profile' weights its logits by their softmax, as for ChromBPNet.",
    ),
    click.option(
        "--track-layout", show_default="NTL", type=click.Choice(["NTL", "NLT"]),
        help="Shape of a profile: (N, tracks, positions) or (N, positions, tracks).",
    ),
    click.option(
        "--trust-model", "--trust-pickle", "trust_model", is_flag=True,
        help="Load a program (TorchScript, torch.export, a pickle), which may run any code.",
    ),
    group=READING_GROUP,
)  # fmt: skip


def _model_option(*, required: bool, several: str = "") -> Decorator:
    help_text = "A seqsal checkpoint (.safetensors), package.module:factory, a TorchScript or torch.export file, or a "
    help_text += "folder of a Hugging Face snapshot."
    how: dict[str, Any] = (
        {"multiple": True, "callback": one_or_many if several == ENSEMBLE else None} if several else {}
    )
    return click.option("--model", required=required, metavar="M", help=help_text + several, **how)


ENSEMBLE = " Given several times, an ensemble: the mean of the models, and how they spread."
models_options = stack(_model_option(required=True, several=" May be repeated."), reading_options)
ensemble_options = stack(_model_option(required=True, several=ENSEMBLE), reading_options)
model_options = stack(_model_option(required=True), reading_options)


def optional_model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same for a model that attributions are about: it is read as they say, apart from what is given."""
    command = stack(_model_option(required=False, several=ENSEMBLE), reading_options)(command)
    for parameter in getattr(command, "__click_params__", ()):
        if getattr(parameter, "help_group", None) == READING_GROUP and isinstance(parameter.show_default, str):
            parameter.show_default = "as attributed"
    return command


def _split_commas(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    return [name.strip() for name in (value or "").split(",") if name.strip()]


evidence_options = stack(
    click.option("--artifacts", type=path_type, metavar="FASTA", help="Artifact sequences to add to the library."),
    click.option("--positives", type=path_type, help="BED or FASTA of positives, such as the training data."),
    click.option("--negatives", type=path_type, help="BED or FASTA of negatives."),
    click.option("--annotations", type=path_type, metavar="BED", help="Regions known to matter."),
    click.option("--strata", metavar="FILE:COLUMN", help="Groups of regions to compare, such as a batch."),
    click.option(
        "--other-model", "other_models", multiple=True, metavar="M2",
        help="The same model from another seed or fold; may be repeated.",
    ),
    click.option(
        "--setting", "settings", multiple=True, callback=_settings, metavar="NAME=VALUE",
        help="A size or threshold of the audit, such as n_regions=200; may be repeated.",
    ),
    click.option(
        "--fail-on", default="", metavar="NAMES", callback=_split_commas,
        help="Exit with code 3 if any of these holds: shortcut, unfaithful, implausible; separated by commas.",
    ),
    group="Audit",
)  # fmt: skip


def end_by_verdict(ctx: click.Context, audit: AuditResult, fail_on: Sequence[str]) -> None:
    """End with exit code 3 and one line on stderr where something in `fail_on` holds; warn of what was not tested."""
    for name, answer in audit.verdict.undecided(fail_on).items():
        click.echo(
            with_code(f"seqsal: warning: --fail-on {name}: cannot be decided ({answer}), see the audit"), err=True
        )
    failures = audit.verdict.failures(fail_on)
    if failures:
        click.echo(with_code(f"seqsal: the audit failed: {'; '.join(failures)}"), err=True)
        ctx.exit(3)


input_options = stack(
    click.option("--genome", type=path_type, help="Genome FASTA, plain or bgzip; used with --regions."),
    click.option(
        "--regions", type=path_type, metavar="FILE|chr:start-end",
        help="BED3-BED12, narrowPeak or a table with named columns; or one region; or whole chromosomes: chrI,chrII, "
        "or genome for all.",
    ),
    click.option(
        "--fasta", type=path_type,
        help="Sequences instead of genome and regions; names like chr1:10-210 keep those coordinates.",
    ),
    click.option("--ignore-strand", is_flag=True, help="Read '-' regions forward, not as reverse complement."),
    click.option(
        "--tile", is_flag=False, flag_value=True, default=False, type=_Tile(), metavar="[BP]",
        help="Cover regions longer than the model's window by several windows; with a number, the width of the tiles "
        "of --method tiles.",
    ),
    click.option("--blocks", is_flag=True, help="Read the blocks of BED12 (exons) spliced, each region a contig."),
    click.option(
        "--span", type=NUMBER_OR_TEXT, metavar="BP|region|window", show_default="window",
        help="What is kept of each window: this many bases around the region's summit or middle, or the region itself "
        "with the model's window laid around it.",
    ),
    click.option(
        "--flank", type=click.IntRange(min=0), default=0, show_default=True, metavar="BP",
        help="Widen the span on either side.",
    ),
    click.option(
        "--readout-at", metavar="PLACE",
        help="Which positions of a model's profile are read: region, summit±N (or summit:N), a BED file, "
        "tss:GENES.gtf or exons:GENES.gtf; reduced by --reduce.",
    ),
    click.option(
        "--gene", metavar="NAME", help="Gene for --readout-at [default: of the region's name, or the nearest]."
    ),
    click.option(
        "--bin-size", type=click.IntRange(min=1), metavar="BP",
        help="Bases per output position of the model [default: measured].",
    ),
    click.option(
        "--crop", type=click.IntRange(min=0), metavar="BP",
        help="Bases of the window before the first output position [default: as many as after the last].",
    ),
    group="Input",
)  # fmt: skip


tiling_options = stack(
    click.option(
        "--step", type=click.IntRange(min=1), metavar="BP", show_default="half of what is kept of a window",
        help="From one window to the next, where they cover whole chromosomes; also with --tile.",
    ),
    click.option(
        "--exclude", type=path_type, metavar="BED",
        help="Regions to leave out of whole chromosomes, such as gaps or a blacklist.",
    ),
    group="Input",
)  # fmt: skip


scheduler_option = click.option(
    "--scheduler", metavar="local:N|tcp://…|slurm:FILE.toml",
    help="Let N processes here, the workers of a Dask scheduler, or jobs of Slurm do the work; the result is the same.",
)  # fmt: skip


class NumberOrAuto(click.ParamType):
    """A whole number from 0 on, or `auto`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read what was given."""
        if value == "auto":
            return "auto"
        try:
            number = int(value)
        except ValueError:
            self.fail(f"got {value!r}, expected a whole number or auto", param, ctx)
        return int(click.IntRange(min=0).convert(number, param, ctx))


def complete_methods(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of methods that a shell may complete to."""
    return [name for name in METHOD_NAMES if name.startswith(incomplete)]


attribution_options = stack(
    click.option(
        "--method", multiple=True, default=["gradient_x_input"], show_default=True, metavar="NAME",
        callback=one_or_many, shell_complete=complete_methods,
        help=f"Attribution method: {', '.join(METHOD_NAMES)}; may be repeated, the first is the main result.",
    ),
    targets_option,
    click.option(
        "--gradient-correction/--no-gradient-correction", default=None,
        help="Subtract the mean gradient over the four bases [default: yes, in methods that have it].",
    ),
    click.option(
        "--method-option", "method_options", multiple=True, callback=_settings, metavar="NAME=VALUE",
        help="An option of the method, such as n_steps=100, or METHOD.NAME=VALUE of one; may be repeated.",
    ),
    click.option(
        "--references", metavar="FILE",
        help="Your own references for deeplift_shap and expected_gradients: a FASTA file, or BED in the genome; "
        "all of them for every window.",
    ),
    click.option(
        "--allow-incomplete", is_flag=True, flag_value=True, default=None,
        help="Keep attributions that are off the sum that their method promises by more than 10 %.",
    ),
    click.option("--rc-average", is_flag=True, help="Average over both strands."),
    click.option("--held-out", is_flag=True, help="Leave out the regions that the model was trained on."),
    click.option(
        "--null", type=click.Choice(NULLS), default="shuffle", show_default=True,
        help="What controls are: dinucleotide shuffles of the regions (is this sequence special against its own "
        "composition?), or the genome's background (is this place special?): windows away from the regions, of the "
        "same G+C, soft-masked share and Ns.",
    ),
    click.option(
        "--controls", "n_controls", type=NumberOrAuto(), default="auto", show_default=True, metavar="N|auto",
        help="Controls, which peaks are called against. auto is one per region, 100 to "
        "1,000 and at least 200 kb, and up to 8 times as many, or as many as regions, while peaks need them; "
        "`attribute` leaves them to `seqsal peaks` if they outnumber the regions.",
    ),
    click.option(
        "--control-shuffle", type=click.Choice(["span", "window"]), default="span", show_default=True,
        help="What is shuffled to make controls: the span, within its window, or the whole window.",
    ),
    click.option(
        "--draw", type=click.IntRange(min=0), default=0, show_default=True,
        help="Number of the random draw: another gives other references and noise, to see how much a map varies.",
    ),
    click.option("--batch-size", type=click.IntRange(min=1), help="Windows at a time [default: by the device]."),
    click.option(
        "--precision", type=click.Choice(["fp32", "bf16", "tf32"]), default="fp32", show_default=True,
        help="Precision of the model; bf16 and tf32 (CUDA) are compared with fp32 on the first windows.",
    ),
    click.option(
        "--keep-bits", type=click.IntRange(1, 22), metavar="N",
        help="Round scores of each base to N bits of mantissa, for a smaller file: 7 keep two significant digits "
        "(relative error at most 0.4 %) and 2 bytes of a value's 4, 15 keep four (0.0015 %) and 3 bytes "
        "[default: all 23].",
    ),
    click.option(
        "--compile", is_flag=True,
        help="Let torch.compile fuse the model's operations; compared with the plain model on the first windows.",
    ),
    group="Attribution",
)  # fmt: skip


def _one_of_two(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Refuse --quiet with --verbose, whichever is read first."""
    if value:
        ctx.meta.setdefault("seqsal.talk", parameter.name)
        if ctx.meta["seqsal.talk"] != parameter.name:
            raise click.UsageError("--quiet and --verbose contradict each other; give one of them.", ctx)
    return value


def _hush(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Leave warnings and errors alone, and nothing else."""
    if _one_of_two(ctx, parameter, value):
        for name, level in [*dict.fromkeys(INFORMATIVE, "WARNING").items(), *dict.fromkeys(NOTES, "ERROR").items()]:
            logging.getLogger(name).setLevel(level)
    return value


def _speak(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Let seqsal's loggers report what they do, and say at the end how long the command took."""
    if not _one_of_two(ctx, parameter, value):
        return
    logger, start = logging.getLogger("seqsal"), time.perf_counter()
    logger.setLevel(logging.INFO)
    ctx.call_on_close(lambda: logger.info("%s took %.1f s in all", ctx.info_name, time.perf_counter() - start))


talk_options = stack(
    click.option("--quiet", is_flag=True, callback=_hush, help="No progress bars, notes or summary; warnings stay."),
    click.option(
        "--verbose", is_flag=True, expose_value=False, callback=_speak, help="Report each step and its duration."
    ),
)
common_options = stack(
    device_option,
    click.option(
        "--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default="0", help="Seed of everything random."
    ),
    config_option,
    talk_options,
    group="General",
)
