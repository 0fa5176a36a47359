"""Time of the audit's deletion and insertion curves over that of attributing the same regions by ISM, in one run.

    python benchmarks/faithfulness.py [--regions 10] [--rounds 3]

1,000 regions (`--regions 1000 --rounds 1`) are what an audit samples. The curves are complete: four orders, 20 steps, 3
shuffles, areas, and confidence intervals from 2,000 resamples. ISM is seqsal's own, which computes of each mutant only
what the substitution changes. Both take turns in random order, each in a process of its own; the median over the rounds
of each ratio is printed. Below 1 means that the curves take less time than ISM. Fails above `MOST`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
from contest import contest, random_codes, ratios
from models import dilated_cnn
from torch import nn

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.auditing.context import AuditContext
from seqsal.auditing.parts.faithfulness.replacement import replacement_curves, summarise_curves
from seqsal.io.inputs import open_codes
from seqsal.models import CNN, CNNConfig

LENGTHS = (200, 500)
MOST = 3.0  # times ISM
CPU = torch.device("cpu")


def built_in(length: int) -> nn.Module:
    torch.manual_seed(0)
    return CNN(CNNConfig(input_length=length)).eval()


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "built-in CNN": built_in,
    "64-filter 8-block dilated CNN": lambda length: dilated_cnn(),
}


def make(name: str, network: str, length: int, n_regions: int) -> Callable[[], object]:
    """Make one contender: `curves`, or `ism`."""
    codes = random_codes(n_regions, length)
    model = seqsal.wrap(NETWORKS[network](length), input_length=length)
    if name == "ism":
        return lambda: attribute_windows(model, open_codes(codes), AttributeOptions("ism", n_controls=0), device=CPU)
    attr = attribute_windows(model, open_codes(codes), AttributeOptions(n_controls=0), device=CPU)
    context = AuditContext(attr, model)
    return lambda: draw_curves(context)


def draw_curves(context: AuditContext) -> list[object]:
    """Compute and summarise both kinds of curves of all regions."""
    settings, rows = context.settings, context.rows(len(context.attr))
    codes, track = context.codes(rows), context.track(rows).astype(np.float64)
    shuffles = (context.shuffled(codes, draw) for draw in range(settings.n_draws))
    curves = replacement_curves(context.predict, codes, track, shuffles, context.rng("orders"), settings.n_steps)
    rng = context.rng("bootstrap")
    return [summarise_curves(curves, kind, settings, rng) for kind in ("deletion", "insertion")]


def compare(network: str, length: int, n_regions: int, n_rounds: int) -> float:
    times = contest(make, ["curves", "ism"], (network, length, n_regions), n_rounds, warm=False)
    median, least, most = ratios(times, "curves", "ism")
    rate = n_regions / statistics.median(times["curves"])
    print(f"{network}, {n_regions} regions of {length} bp: curves take {median:.2f} times as long as ISM", end=" ")
    print(f"(least {least:.2f}, most {most:.2f}; {rate:.1f} regions/s)", flush=True)
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found = [
        compare(network, length, arguments.regions, arguments.rounds) for network in NETWORKS for length in LENGTHS
    ]
    if max(found) > MOST:
        raise SystemExit(f"curves take {max(found):.1f} times as long as ISM, expected at most {MOST:g}")


if __name__ == "__main__":
    main()
