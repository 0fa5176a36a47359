"""Further inputs that a model needs beside the sequence, the same for every sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from seqsal.errors import ModelError

__all__ = ["ExtraInputs"]


class ExtraInputs(nn.Module):
    """Fixed inputs beside the sequence, repeated along the batch.

    Parameters
    ----------
    given : sequence or mapping or None
        What follows the sequence in the call, in order, or by argument name. A tensor whose first axis has length 1 is
        repeated along that axis, (1, …) → (N, …); any other tensor is the value for one sequence and gets a batch axis,
        (…) → (N, …). Everything else (None, numbers, strings) is passed as it is.

    Raises
    ------
    ModelError
        Neither a sequence nor a mapping.
    """

    def __init__(self, given: Sequence[Any] | Mapping[str, Any] | None) -> None:
        super().__init__()
        if isinstance(given, (torch.Tensor, str)) or not isinstance(given, (Sequence, Mapping, type(None))):
            raise ModelError(
                f"extra_inputs: got a {type(given).__name__}, expected a tuple (what follows the sequence in the call) "
                "or a dict (argument name → value)"
            )
        self.names = tuple(given) if isinstance(given, Mapping) else ()
        values = list(given.values()) if isinstance(given, Mapping) else list(given or ())
        self._plain: list[Any] = []
        for i, value in enumerate(values):
            is_tensor = isinstance(value, torch.Tensor)
            self._plain.append(None if is_tensor else value)
            self.register_buffer(f"input_{i}", _with_batch_axis(value) if is_tensor else None, persistent=False)

    def __len__(self) -> int:
        return len(self._plain)

    def arguments(self, n_sequences: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return positional and named arguments for a batch of N sequences."""
        values = tuple(self._value(i, n_sequences) for i in range(len(self)))
        return ((), dict(zip(self.names, values, strict=True))) if self.names else (values, {})

    def describe(self) -> list[str]:
        """Return a line for each input, the same for the same values: name, shape and checksum, or the value."""
        keys = self.names or range(len(self))
        return [f"{key}: {self._describe(i)}" for i, key in enumerate(keys)]

    def _describe(self, i: int) -> str:
        tensor = getattr(self, f"input_{i}")
        if tensor is None:
            return repr(self._plain[i])
        values = tensor.detach().cpu().to(torch.float64).contiguous().numpy()
        return f"{tuple(tensor.shape)} {tensor.dtype} sha256 {hashlib.sha256(values.tobytes()).hexdigest()}"

    def _value(self, i: int, n_sequences: int) -> Any:
        tensor = getattr(self, f"input_{i}")
        return self._plain[i] if tensor is None else tensor.expand(n_sequences, *tensor.shape[1:])


def _with_batch_axis(value: torch.Tensor) -> torch.Tensor:
    value = value.detach()
    return value if value.ndim and len(value) == 1 else value.unsqueeze(0)
