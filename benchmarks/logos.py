"""Time a logo, drawn and written as SVG, against `logomaker.Logo` on the same values, in one run.

Run as `python benchmarks/logos.py [--lengths 20 100 500] [--rounds 5]`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import logomaker
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from seqsal.plot.logo import plot_letters
from seqsal.plot.style import save_figure
from seqsal.sequence.codes import ALPHABET


def seconds_of(draw: Callable[[], None]) -> float:
    begin = time.perf_counter()
    draw()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 100, 500])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'bases':>6} {'seqsal s':>9} {'logomaker s':>12} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logo.svg"
        for length in options.lengths:
            values, codes = rng.normal(size=length), rng.integers(0, 4, length)
            table = pd.DataFrame(np.eye(4)[codes] * values[:, None], columns=list(ALPHABET))

            def ours(values: np.ndarray = values, codes: np.ndarray = codes) -> None:
                save_figure(plot_letters(values, codes), path)

            def peer(table: pd.DataFrame = table) -> None:
                figure, ax = plt.subplots(figsize=(float(np.clip(0.13 * len(table), 5, 40)), 2.2))
                logomaker.Logo(table, ax=ax, flip_below=True)
                figure.savefig(path)
                plt.close(figure)

            times = [(seconds_of(ours), seconds_of(peer)) for _ in range(options.rounds)]
            mine, theirs = np.median(times, axis=0)
            print(f"{length:>6} {mine:>9.3f} {theirs:>12.3f} {theirs / mine:>6.2f}")


if __name__ == "__main__":
    main()
