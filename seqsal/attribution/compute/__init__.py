"""How methods compute: the one door to batches, threads, memory, precision and fast convolutions.

Whoever computes asks here, and nothing outside imports from a module inside:

* :mod:`process <seqsal.attribution.compute.process>`: a model frozen on a device, and the threads that share the work;
  all that is switched for it is given back;
* :mod:`batches <seqsal.attribution.compute.batches>`: how many windows go together, and what happens when they do not
  fit;
* :mod:`stream <seqsal.attribution.compute.stream>`: reading ahead and writing behind;
* :mod:`model_views <seqsal.attribution.compute.model_views>`: a model in another precision, or compiled;
* :mod:`convolutions <seqsal.attribution.compute.convolutions>`: what a CPU computes faster in another form.
"""

from seqsal.attribution.compute.batches import Batches, batches_for, is_out_of_memory
from seqsal.attribution.compute.convolutions import (
    MIN_CHANNELS,
    convolve_channels_last,
    fast_backward,
    fast_predictions,
    image_weight,
    relu_multipliers,
    run_op,
)
from seqsal.attribution.compute.model_views import (
    PRECISIONS,
    autocast_of,
    check_precision,
    compile_error,
    is_compiled,
    model_view,
    pearson,
)
from seqsal.attribution.compute.process import frozen_on_device
from seqsal.attribution.compute.stream import WriteBehind, made_ahead, progress_told_to, read_ahead, tell_progress

__all__ = [
    "MIN_CHANNELS",
    "PRECISIONS",
    "Batches",
    "WriteBehind",
    "autocast_of",
    "batches_for",
    "check_precision",
    "compile_error",
    "convolve_channels_last",
    "fast_backward",
    "fast_predictions",
    "frozen_on_device",
    "image_weight",
    "is_compiled",
    "is_out_of_memory",
    "made_ahead",
    "model_view",
    "pearson",
    "progress_told_to",
    "read_ahead",
    "relu_multipliers",
    "run_op",
    "tell_progress",
]
