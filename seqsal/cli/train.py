"""`seqsal train`: train the built-in CNN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seqsal.cli.options import (
    TRAIN_DEFAULTS,
    Decorator,
    check_ending,
    common_options,
    path_type,
    resume_option,
    show_progress,
    verb,
)

__all__ = ["train_command"]


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[str] | None:
    """Read `a,b` as a list of names."""
    return [name.strip() for name in value.split(",") if name.strip()] if value else None


def _number(flag: str, name: str, help_text: str, *, least: int = 1) -> Decorator:
    """Make an option that counts something, with the default of the training."""
    default = TRAIN_DEFAULTS[name]
    return click.option(flag, name, type=click.IntRange(min=least), default=default, show_default=True, help=help_text)


@verb(
    "train",
    epilog="Example: seqsal train --positives peaks.bed --genome hg38.fa --input-length 500 --test-chroms chr8,chr9 "
    "--out M.safetensors. Signal: seqsal train --regions peaks.bed --genome hg38.fa --input-length 2114 "
    "--signal plus.bw --signal minus.bw --out M.safetensors",
)
@click.option(
    "--positives", "--regions", "positives", type=path_type, required=True,
    help="BED or FASTA of the regions to recognise, or to learn the signal of.",
)  # fmt: skip
@click.option("--negatives", type=path_type, help="BED or FASTA of the negatives [default: sampled].")
@click.option(
    "--signal", type=path_type, multiple=True, metavar="BW",
    help="bigWig of counts, each a target: learn its profile over the regions, and the counts, instead of classes.",
)  # fmt: skip
@click.option(
    "--control", type=path_type, multiple=True, metavar="BW", help="bigWig that a profile is given next to the bases."
)
@click.option(
    "--stranded/--unstranded", default=None,
    help="Tracks are pairs of strands, plus and minus, or none are [default: by words such as plus in their names].",
)  # fmt: skip
@click.option(
    "--output-length", type=click.IntRange(min=1), help="Length of the profile (bp) [default: the middle half]."
)
@click.option("--genome", type=path_type, help="Genome FASTA, for regions.")
@click.option("--valid-chroms", callback=_names, metavar="A,B", help="Validation chromosomes, which choose the epoch.")
@click.option("--test-chroms", callback=_names, metavar="C,D", help="Test chromosomes, evaluated once, at the end.")
@click.option("--input-length", type=click.IntRange(min=1), help="Window length (bp) [default: that of the positives].")
@click.option(
    "--loss",
    type=click.Choice(["binary", "regression", "count", "profile"]),
    help="regression and count take each region's value from --target-columns, or the mean or sum of --signal over it "
    "[default: binary, with --signal profile].",
)
@click.option(
    "--target-columns",
    callback=_names,
    default="score",
    show_default=True,
    metavar="A,B",
    help="Columns of the BED that hold the values, one per target.",
)
@click.option(
    "--negative-sampling",
    type=click.Choice(["auto", "gc", "random", "shuffle"]),
    default="auto",
    show_default=True,
    help="gc-matched or random windows of the genome, or dinucleotide shuffles.",
)
@_number("--negatives-per-positive", "negatives_per_positive", "Negatives sampled per positive.")
@_number(
    "--mine",
    "mine",
    "Rounds of hard-negative mining: score further negatives, add the strongest, train again.",
    least=0,
)
@click.option(
    "--min-distance",
    type=click.IntRange(min=0),
    help="Minimum distance (bp) of a sampled negative from any positive [default: the window length].",
)
@click.option(
    "--init",
    type=path_type,
    metavar="M.safetensors",
    help="Start from these weights: same sizes, new heads if need be.",
)
@click.option(
    "--freeze", callback=_names, default="", metavar="A,B", help="Parts that stay as they are, such as stem,blocks."
)  # fmt: skip
@click.option(
    "--filters", "n_filters", type=click.IntRange(min=1),
    help=f"Number of filters [default: {TRAIN_DEFAULTS['n_filters']}].",
)  # fmt: skip
@click.option(
    "--blocks", "n_blocks", type=click.IntRange(min=0),
    help=f"Number of residual dilated blocks [default: {TRAIN_DEFAULTS['n_blocks']}, 8 or what fits for a profile].",
)  # fmt: skip
@click.option(
    "--stem-activation", type=click.Choice(["relu", "gelu", "exp"]), help="Of the first layer [default: relu]."
)
@_number("--epochs", "epochs", "Maximum number of passes over the data.")
@_number("--patience", "patience", "Epochs without improvement before stopping.")
@click.option(
    "--learning-rate",
    type=float,
    default=TRAIN_DEFAULTS["learning_rate"],
    show_default=True,
    help="Peak of the one-cycle learning rate.",
)
@click.option("--relevant", type=path_type, metavar="BED", help="Regions where the network's attribution should lie.")
@click.option(
    "--irrelevant",
    type=path_type,
    metavar="BED",
    help="Regions where it should not, such as the shortcuts.bed of an audit; both add to the loss.",
)
@click.option(
    "--mask-weight",
    type=float,
    default=TRAIN_DEFAULTS["mask_weight"],
    show_default=True,
    help="Weight of the loss on maps, with --relevant or --irrelevant.",
)
@click.option(
    "--mask-warmup",
    type=float,
    default=TRAIN_DEFAULTS["mask_warmup"],
    show_default=True,
    help="Share of the steps over which its weight rises.",
)
@click.option(
    "--mask-method",
    default=TRAIN_DEFAULTS["mask_method"],
    show_default=True,
    metavar="NAME",
    help="Attribution method in that loss, one that can be differentiated again.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=1),
    metavar="K",
    help="Train K networks instead of one, each tested on other chromosomes: M.fold1.safetensors, … and M.folds.json.",
)
@click.option(
    "--cutout",
    type=click.Choice(["none", "random", "salient"]),
    default=TRAIN_DEFAULTS["cutout"],
    show_default=True,
    help="Show windows with a stretch shuffled: a random one, or the one with the largest attribution.",
)
@click.option(
    "--cutout-probability",
    type=float,
    default=TRAIN_DEFAULTS["cutout_probability"],
    show_default=True,
    help="Share of the windows, with --cutout.",
)
@_number("--cutout-width", "cutout_width", "Width of the stretch (bp).", least=2)
@click.option(
    "--prior",
    "priors",
    multiple=True,
    metavar="NAME[:WEIGHT]",
    help="Loss on maps: fourier (few high frequencies) or consistency (under strand, shift, silent mutations).",
)
@click.option(
    "--teacher",
    "teachers",
    type=path_type,
    multiple=True,
    metavar="M",
    help="Checkpoint to learn from as well, of the same targets and length; several teach their mean.",
)
@click.option(
    "--temperature",
    type=float,
    default=TRAIN_DEFAULTS["temperature"],
    show_default=True,
    help="Of the probabilities that teacher and student are compared by.",
)
@click.option(
    "--match-maps",
    type=float,
    default=TRAIN_DEFAULTS["match_maps"],
    show_default=True,
    metavar="WEIGHT",
    help="Weight of the distance between maps of teacher and student.",
)
@click.option(
    "--balance/--no-balance", default=True, show_default=True,
    help="Weigh positives so that both classes count the same in the loss, or every example alike.",
)  # fmt: skip
@click.option("--allow-overlap", is_flag=True, help="Train though many negatives are positives as well.")
@resume_option
@click.option("--out", type=path_type, required=True, help="Checkpoint to write (.safetensors).")
@common_options  # fmt: skip
def train_command(positives: Path, out: Path, quiet: bool, folds: int | None, **arguments: Any) -> None:
    """Train a CNN that tells positives from negatives, or predicts values, and report held-out performance."""
    from seqsal.models import CNNConfig
    from seqsal.training import TrainConfig, train_model
    from seqsal.training.signal import Signal
    from seqsal.training.sources import common_length
    from seqsal.training.train import default_config

    check_ending(out, ".safetensors", name="a checkpoint name")
    training = {key: arguments.pop(key) for key in TrainConfig.__dataclass_fields__ if key in arguments}
    training["freeze"] = training["freeze"] or ()
    sizes = {key: arguments.pop(key) for key in CNNConfig.__dataclass_fields__ if key in arguments}
    sizes = {key: value for key, value in sizes.items() if value is not None}
    length = sizes.pop("input_length", None) or (None if arguments["init"] else common_length(positives))
    signal = Signal(arguments["signal"], arguments["control"]) if arguments["signal"] else None
    if signal is not None:
        sizes["n_targets"] = len(signal.paths)
    elif sizes.get("loss", "binary") != "binary":
        sizes["n_targets"] = len(training["target_columns"])
    arguments |= {
        "config": default_config(length, signal, arguments["init"], **sizes),
        "training": TrainConfig(**training),
        "progress": show_progress(quiet),
    }
    if folds is not None:
        from seqsal.training.folds import train_folds

        said = train_folds(positives, folds, out, **arguments).summary()
    else:
        result = train_model(positives, out=out, **arguments)
        said = f"{out}: {result!r}\n{result.summary()}"
    if not quiet:
        click.echo(said)
