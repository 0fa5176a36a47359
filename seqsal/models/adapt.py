"""Any PyTorch model, read as one scalar per sequence.

`wrap` tries the model on two random sequences (`seqsal.models.probe`) and then stays out of its way: the caller's
parameters, gradients, training mode and device are as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from seqsal.errors import ModelError
from seqsal.models.extra_inputs import ExtraInputs
from seqsal.models.readout import Readout
from seqsal.models.sequence_model import SequenceModel

__all__ = ["SequenceModel", "wrap"]


def wrap(
    module: nn.Module,
    *,
    target: int = 0,
    input_length: int | None = None,
    output_space: str = "auto",
    layout: str = "NCL",
    channel_order: str = "ACGT",
    output: int | str | None = None,
    reduce: str | None = None,
    track_layout: str = "NTL",
    extra_inputs: Sequence[Any] | Mapping[str, Any] | None = None,
) -> SequenceModel:
    """Read any PyTorch model as one scalar per sequence.

    Parameters
    ----------
    module
        Reads one-hot sequences and gives (N,), (N, 1), (N, T) or a profile, by itself or inside tuples and
        dictionaries. bpnet-lite's BPNet and ChromBPNet need no more: their log counts are read, or with
        ``output="profile"`` their profile.
    target
        Which of the T outputs, or of the tracks of a profile, counted from 0.
    input_length
        Window length in bp. None takes it from a built-in `CNN`, from an integer attribute ``input_length`` of the
        module, or from the first sequences that are scored; the checks are made then.
    output_space
        ``auto`` reads the value before a final sigmoid, softmax or exp, wherever it is applied, and the output itself
        when there is none (``linear``). For a softmax over several classes that is the target's logit. ``logit`` and
        ``log`` insist on that value, ``probability`` and ``count`` on the value after it; ``linear`` takes the module's
        output as it is. With `reduce`, it is the values of this space that are reduced: under ``auto`` the sum of
        logits, not of probabilities.
    layout
        Of the model's input: ``NCL`` for (N, 4, L), ``NLC`` for (N, L, 4).
    channel_order
        The bases in the order of the model's input channels.
    output
        Which part of a tuple (index) or dictionary (key) holds the scores; dots lead into nested ones, as in
        ``"heads.human"``.
    reduce
        How a profile becomes one number per track: ``sum`` or ``mean`` over positions; ``profile``, the
        softmax-weighted sum of logits that BPNet and ChromBPNet are explained with, added up over tracks (strands);
        ``profile_strand``, the same for each track by itself.
    track_layout
        Of a profile: ``NTL`` for (N, tracks, positions), ``NLT`` for (N, positions, tracks).
    extra_inputs
        Further inputs that are the same for every sequence: a tuple of what follows the sequence in the call, or a dict
        by argument name. A tensor (1, …) is repeated along the batch, any other tensor gets a batch axis in front and
        then is; other values are passed as they are.

    Returns
    -------
    SequenceModel
        Shares `module`, which is left as it was. Wrapped again, it keeps what is not given anew.

    Raises
    ------
    ModelError
        `module` is no module; an argument is unknown or contradicts the model; `target` is out of range; or the model
        fails on (2, 4, `input_length`), gives another shape, integers, NaN or infinite values, does not depend
        differentiably on X, or scores a sequence differently from call to call or with what is beside it in the batch.
    """
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"model: got a {type(module).__name__}, expected a torch.nn.Module; put it into a module's forward()"
        )
    asked: dict[str, Any] = {
        "layout": layout,
        "channel_order": channel_order,
        "output": None if output is None else str(output),
        "reduce": reduce,
        "track_layout": track_layout,
    }
    inputs = ExtraInputs(extra_inputs)
    source: dict[str, Any] = {}
    if isinstance(module, SequenceModel):
        input_length = input_length or module.input_length
        given = {key: value for key, value in asked.items() if value != getattr(Readout, key)}
        asked = asdict(module.asked) | given
        inputs = inputs if extra_inputs is not None else module.extra_inputs
        source, module = module.source, module.module
    module = getattr(module, "_orig_mod", module)  # of torch.compile, whose graph shows no functions
    model = SequenceModel(
        module,
        target=target,
        input_length=input_length,
        output_space=output_space,
        readout=Readout(**asked),
        extra_inputs=inputs,
    )
    model.source = dict(source)
    return model
