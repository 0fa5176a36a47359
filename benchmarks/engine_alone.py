"""The attribution engine and nothing else, from memory to memory: what the whole command is compared with.

python benchmarks/engine_alone.py CODES.npy DEVICE
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from models import dilated_cnn
from numpy.typing import NDArray

import seqsal
from seqsal.attribution import AttributeOptions, attribute_windows
from seqsal.io.inputs import open_codes
from seqsal.sequence.draws import default_n_controls

__all__ = ["attribute_codes"]


def attribute_codes(codes: NDArray[np.uint8], device: torch.device) -> None:
    """Attribute windows, codes (N, L), and as many controls."""
    model = seqsal.wrap(dilated_cnn(), input_length=codes.shape[1])
    options = AttributeOptions(n_controls=default_n_controls(*codes.shape))
    attribute_windows(model, open_codes(codes), options, device=device)


if __name__ == "__main__":
    attribute_codes(np.load(sys.argv[1]), torch.device(sys.argv[2]))
