"""How a model is fed and which of its numbers are read: (N, 4, L) in, (N, T) out.

A genomics model may want its bases last, in another order or beside further inputs, and may give a tuple, a dictionary
or a profile along the sequence. A `Readout` says which, in plain values that an attribution file can record.

A profile head's logits, one a position, become one number per track by the weighted sum that BPNet and ChromBPNet are
explained with (Avsec et al. 2021, doi:10.1038/s41588-021-00782-6): with z the logits of a track less their mean over
positions, Σ softmax(z) · z, where the softmax is held constant, so that gradients reach each position in proportion to
the share of reads that the model puts there. Of two strands each has a softmax of its own (`profile`), as each has a
multinomial of its own in BPNet's loss: how the reads divide between the strands then plays no part. A model whose loss
takes one multinomial over both, as bpnet-lite's, may be read so too (`profile_both`).

DeepLIFT takes each of the two factors of softmax(z) · z as it is half way between sequence and reference (its product
rule), which is near to mutagenesis of the weighted sum: Pearson r 0.65 to 0.88 on six random networks, where rescaling
softmax(z) · z by each logit, as tangermeme does with bpnet-lite's wrapper, has 0.34 to 0.80.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from seqsal.errors import ModelError, counted, kind_of, shown
from seqsal.sequence.codes import ALPHABET

__all__ = ["LAYOUTS", "REDUCTIONS", "TRACK_LAYOUTS", "ExtraInputs", "Lookup", "Readout", "describe_output"]


class ExtraInputs(nn.Module):
    """Fixed inputs besides the sequence, repeated along the batch: `extra_inputs` of `seqsal.wrap`.

    Raises
    ------
    ModelError
        Neither a sequence nor a mapping.
    """

    def __init__(self, given: Sequence[Any] | Mapping[str, Any] | None) -> None:
        super().__init__()
        if isinstance(given, (torch.Tensor, str)) or not isinstance(given, (Sequence, Mapping, type(None))):
            raise ModelError(
                f"extra_inputs: got {kind_of(given)}, expected a tuple (what follows the sequence in the call) "
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


LAYOUTS = ("NCL", "NLC", "NL")
TRACK_LAYOUTS = ("NTL", "NLT")
REDUCTIONS = ("sum", "mean", "max", "log_sum", "weighted", "profile", "profile_both", "profile_strand")


@dataclass(frozen=True)
class Readout:
    """How to feed a model and what to read from it: the parameters of `seqsal.wrap` that bear these names.

    Steps of `output` into nested containers are joined by dots (``heads.human``). `bins` are the spans of output
    positions that are read, whose ends may lie within a position; none stand for all.

    Raises
    ------
    ModelError
        A value that is none of those allowed.
    """

    layout: str = "NCL"
    channel_order: str = ALPHABET
    output: str | None = None
    reduce: str | Callable[[torch.Tensor], torch.Tensor] | None = None
    track_layout: str = "NTL"
    bins: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, LAYOUTS)
        _check_choice("track_layout", self.track_layout, TRACK_LAYOUTS)
        if self.reduce is not None and not callable(self.reduce):
            _check_choice("reduce", self.reduce, REDUCTIONS)
        if not isinstance(self.channel_order, str) or sorted(self.channel_order) != sorted(ALPHABET):
            raise ModelError(
                f"channel_order: got {shown(self.channel_order)}, expected the letters A, C, G and T in the order of "
                "the model's input channels, such as 'ACGT'"
            )

    @property
    def weighs_logits(self) -> bool:
        """Whether the reduction is one of logits, which values after a softmax would make meaningless."""
        return self.reduce in ("profile", "profile_both", "profile_strand")

    def ordered(self, X: torch.Tensor) -> torch.Tensor:
        """Bring the rows A C G T of X (N, 4, L) into the model's order."""
        if self.channel_order == ALPHABET:
            return X
        rows = [ALPHABET.index(base) for base in self.channel_order]
        return torch.cat([X[:, row : row + 1] for row in rows], dim=1)

    def feed(self, X: torch.Tensor) -> torch.Tensor:
        """Turn X (N, 4, L), rows A C G T, into what the model reads."""
        X = self.ordered(X)
        if self.layout == "NL":
            return X.detach().argmax(dim=1)
        return X if self.layout == "NCL" else X.transpose(1, 2).contiguous()

    def pick(self, output: Any) -> torch.Tensor:
        """Take the tensor that `output` names out of what a model returned.

        Raises
        ------
        ModelError
            There is no such part, it is not a tensor, or several parts are there and none was chosen.
        """
        value = output
        if self.output is not None:
            whole = isinstance(value, Mapping) and self.output in value
            for step in [self.output] if whole else self.output.split("."):
                value = _child(value, step, self.output)
        if isinstance(value, torch.Tensor):
            return value
        parts = _parts(value)
        cure = "wrap it in a module that returns the one tensor to explain"
        if parts:
            prefix = "" if self.output is None else f"{self.output}."
            cure = f"choose one by output: {', '.join(f'{prefix}{part}' for part in parts[:8])}"
        raise ModelError(
            f"model: gives {describe_output(value)}, expected a tensor of shape (N,), (N, 1) or (N, T); {cure}"
        )

    def columns(self, values: torch.Tensor, n_sequences: int) -> torch.Tensor:
        """Bring the picked tensor into the shape (N, T).

        Raises
        ------
        ModelError
            It has another shape than the reduction reads.
        """
        return _plain(values, n_sequences) if self.reduce is None else self._reduced(values, n_sequences)

    def _reduced(self, values: torch.Tensor, n_sequences: int) -> torch.Tensor:
        profile = self.profile(values, n_sequences)  # (N, T, positions)
        if self.bins:
            profile = self._picked(profile)
        if callable(self.reduce):
            return _checked(self.reduce(profile), profile)
        if self.reduce in ("sum", "weighted"):
            return profile.sum(dim=-1)
        if self.reduce == "mean":
            return profile.mean(dim=-1)
        if self.reduce == "max":
            return profile.amax(dim=-1)
        if self.reduce == "log_sum":
            return profile.sum(dim=-1).log()
        if self.reduce == "profile_both":
            profile = profile.flatten(1).unsqueeze(1)
        logits = profile - profile.mean(dim=-1, keepdim=True)
        weighted = (logits.softmax(dim=-1).detach() * logits).sum(dim=-1)
        return weighted.sum(dim=1, keepdim=True) if self.reduce == "profile" else weighted

    def profile(self, values: torch.Tensor, n_sequences: int) -> torch.Tensor:
        """Bring the picked tensor into the shape (N, tracks, positions); ModelError where it is no profile."""
        if n_sequences == 1 and values.ndim in (1, 2) and len(values) != 1:
            values = values.unsqueeze(0)  # a model that squeezed a batch of one
        if values.ndim in (2, 3) and len(values) == n_sequences and values.numel():
            if values.ndim == 2:
                return values.unsqueeze(1)
            return values if self.track_layout == "NTL" else values.transpose(1, 2)
        expected = "(N, tracks, positions)" if self.track_layout == "NTL" else "(N, positions, tracks)"
        empty = values.ndim in (2, 3) and not values.numel()
        raise ModelError(
            f"model: gives shape {tuple(values.shape)} for {counted(n_sequences, 'sequence')}, expected {expected} or "
            f"(N, positions) for reduce={self.reduce!r}; "
            + ("give longer windows" if empty else "choose another output, or leave reduce out")
        )

    def _picked(self, profile: torch.Tensor) -> torch.Tensor:
        """Return the positions under the bins of (N, T, positions), each times its share under them if `weighted`."""
        first, last = (int(self.bins[0][0]), math.ceil(self.bins[-1][1]))
        share = torch.zeros(last - first, dtype=torch.float64)
        for low, high in self.bins:
            at = torch.arange(first, last, dtype=torch.float64)
            share += ((at + 1).clamp_max(high) - at.clamp_min(low)).clamp_min(0)
        picked = profile[..., first:last]
        if self.reduce == "weighted":
            return picked * share.to(picked)
        is_under = share > 0
        return picked if bool(is_under.all()) else picked[..., is_under.nonzero()[:, 0].to(picked.device)]


def _checked(values: torch.Tensor, profile: torch.Tensor) -> torch.Tensor:
    """Return what a caller's own reduction of a profile (N, T, positions) gave, if it is (N, T) or (N,)."""
    if not isinstance(values, torch.Tensor) or values.ndim not in (1, 2) or len(values) != len(profile):
        raise ModelError(
            f"reduce: gives {describe_output(values)} of a profile {tuple(profile.shape)}, expected a number for each "
            "track, (N, T)"
        )
    return values if values.ndim == 2 else values[:, None]


WORDS, MOST_SPECIAL = (3, 5, 6, 7), 16  # widths of words (4⁴ may be bytes), and tokens of a table that are none
_SAME_NUMBERS = frozenset({"clamp", "clamp_min", "clone", "contiguous", "long", "to"})  # of tokens, from 0 on


class Lookup(TorchFunctionMode):
    """While active, looking up bases in a table of embeddings is a product with their one-hot form.

    So is making them one-hot, which gives that form. `tokens` (N, L) is what the model is given; X (N, 4, L) is one-hot
    rows in the order of the numbers.
    """

    def __init__(self, tokens: torch.Tensor, X: torch.Tensor) -> None:
        super().__init__()
        self._tokens, self._X = [tokens], X

    def replay(self) -> Lookup:
        """Return itself, to be entered again; see :mod:`seqsal.models.recompute`."""
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").split(".")[0]
        given = [value for value in (*args[:2], *kwargs.values()) if isinstance(value, torch.Tensor)]
        if name == "embedding" and len(given) == 2 and any(map(self._is_tokens, given)):
            table = given[0] if self._is_tokens(given[1]) else given[1]
            if any(4**k <= len(table) <= 4**k + MOST_SPECIAL for k in WORDS):
                raise ModelError(
                    f"model: looks tokens up in a table of {len(table):,}, as for words of several bases, where a base "
                    "has no score of its own; wrap it in a module that reads one-hot and cuts the words, and use ism "
                    "or tiles, without gradients"
                )
            return self._X.transpose(1, 2).to(table.dtype) @ table[: self._X.shape[1]]
        if name == "one_hot" and self._is_tokens(given[0]):
            n_classes = kwargs.get("num_classes", args[1] if len(args) > 1 else self._X.shape[1])
            more = max(int(n_classes) - self._X.shape[1], 0)
            return torch.nn.functional.pad(self._X.transpose(1, 2), (0, more)).clone()
        result = func(*args, **kwargs)
        if name in _SAME_NUMBERS and given and self._is_tokens(given[0]):
            self._tokens.append(result)
        return result

    def _is_tokens(self, value: torch.Tensor) -> bool:
        return any(value is one for one in self._tokens)


def describe_output(value: Any) -> str:
    """Say in few words what a model returned: ``a tuple (0: (2, 1, 80), 1: (2, 1))``."""
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape))
    kind = kind_of(value)
    parts = _parts(value)
    if not parts:
        return kind
    shown = [
        f"{part}: {tuple(item.shape) if isinstance(item, torch.Tensor) else type(item).__name__}"
        for part in parts[:6]
        for item in [_child(value, str(part), "")]
    ]
    return f"{kind} ({', '.join(shown)}{', …' if len(parts) > len(shown) else ''})"


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ModelError(f"{name}: got {shown(value)}, expected one of {', '.join(choices)}")


def _parts(value: Any) -> list[Any]:
    """Return the keys or indices of a container; none for anything else."""
    if isinstance(value, Mapping):
        return list(value)
    if isinstance(value, (tuple, list)):
        return list(range(len(value)))
    fields = getattr(value, "__dict__", {})  # of a dataclass, say
    return [name for name, part in fields.items() if isinstance(part, torch.Tensor)]


def _child(value: Any, step: str, path: str) -> Any:
    if isinstance(value, Mapping):
        named = {str(key): item for key, item in value.items()}
        if step in named:
            return named[step]
    elif isinstance(value, (tuple, list)) and step.removeprefix("-").isdigit():
        if -len(value) <= int(step) < len(value):
            return value[int(step)]
    elif not isinstance(value, torch.Tensor) and isinstance(getattr(value, step, None), torch.Tensor):
        return getattr(value, step)  # a named tuple or dataclass
    parts = ", ".join(map(str, _parts(value)))
    cure = f"choose one of its parts: {parts}" if parts else "leave output out there"
    raise ModelError(f"output: {path!r} is not in what the model gives, {describe_output(value)}; {cure}")


def _plain(values: torch.Tensor, n_sequences: int) -> torch.Tensor:
    if n_sequences == 1 and values.ndim < 2:
        return values.reshape(1, -1)  # squeezed to () or (T,)
    if values.ndim in (1, 2) and len(values) == n_sequences and values.numel():
        return values.reshape(n_sequences, -1)
    is_profile = values.ndim == 3 and len(values) == n_sequences and values.numel()
    cure = (
        "reduce the profile by reduce='sum', 'mean' or (for logits) 'profile', with track_layout='NLT' if positions "
        "come before tracks"
        if is_profile
        else "wrap it in a module that reduces each sequence to T values"
    )
    raise ModelError(
        f"model: gives shape {tuple(values.shape)} for {n_sequences} sequences, expected (N,), (N, 1) or (N, T); {cure}"
    )
