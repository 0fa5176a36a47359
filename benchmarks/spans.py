"""What a span of the window costs, as shares of the whole window's processor time in the same run.

    python benchmarks/spans.py [--rounds 3] [--windows 1] [--span 200]

`ism` of the middle bases of a window, against `ism` of all of it: the time of a window once the model is known, and of
a first call, with all that is learnt about the model before its first window. The values are compared too.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from contest import random_codes
from models import NETWORKS

import seqsal
from seqsal.sequence.codes import one_hot

MAX_DIFFERENCE = 1e-5  # of the largest value


def attribute(network: str, codes: np.ndarray, span: int | None) -> tuple[float, float, np.ndarray]:  # type: ignore[type-arg]
    """Seconds of a first and of a second call, and the map."""
    factory, length = NETWORKS[network]
    model, seconds = seqsal.wrap(factory(), input_length=length), []
    for _ in range(2):
        start = time.process_time()
        attr = seqsal.attribute(model, X=one_hot(codes), method="ism", span=span, device="cpu", progress=False)
        seconds.append(time.process_time() - start)
    return seconds[0], seconds[1], attr.track


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--span", type=int, default=200)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    given = parser.parse_args()
    torch.set_num_threads(1)
    attribute("Basset", random_codes(1, 600), 10)  # what is imported is imported now
    for network in given.network or [name for name, (_, length) in NETWORKS.items() if length > 4 * given.span]:
        length = NETWORKS[network][1]
        codes, spans, wholes = random_codes(given.windows, length), [], []
        for _ in range(given.rounds):
            of_span, whole = (attribute(network, codes, span) for span in (given.span, None))
            spans.append(of_span[:2])
            wholes.append(whole[:2])
        first = (length - given.span) // 2
        cut = whole[2][:, first : first + given.span]
        difference = float(np.abs(of_span[2] - cut).max() / np.abs(whole[2]).max())
        # the least of each, since what else runs on a machine only adds to processor time
        at_first, again = (
            min(a) / min(b) for a, b in zip(zip(*spans, strict=True), zip(*wholes, strict=True), strict=True)
        )
        print(
            f"{network}: {given.span} of {length:,} bp ({given.span / length:.1%}) cost {again:.1%} of the whole "
            f"window's time ({at_first:.1%} with what is learnt about the model); values differ by {difference:.1e} of "
            "the largest"
        )
        if not difference <= MAX_DIFFERENCE:
            raise SystemExit(f"values differ by {difference:.1e}, expected at most {MAX_DIFFERENCE:.0e}")


if __name__ == "__main__":
    main()
