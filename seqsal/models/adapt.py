"""Any PyTorch model that reads (N, 4, L) one-hot sequences, as one scalar per sequence.

`wrap` checks the model once on two random sequences and then stays out of its way: the caller's parameters, gradients,
training mode and device are as they were. Which value is read (logit or probability, log count or count) is decided by
`seqsal.models.output_space`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.errors import ModelError
from seqsal.models.cnn import CNN
from seqsal.models.output_space import Bypass, Terminal, find_terminal, invert, resolve_space
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["SequenceModel", "wrap"]

_PROBE_SEED = 0
_PROBE_SIZE = 2  # one sequence could not tell (N,) from (N, 1) squeezed, nor (T,) from (1, T)
# What a model's own code raises on an input that it was not made for.
_FORWARD_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


class SequenceModel(nn.Module):
    """One scalar per sequence from a model that may have several outputs and end in any squashing function.

    Made by `wrap` or `load_model`.

    Attributes
    ----------
    module : nn.Module
        The caller's model, not copied.
    target : int
        Which output column is read.
    input_length : int or None
        Window length in bp; None as long as a model of unknown length has not been probed.
    n_targets : int or None
        Number of output columns; None as long as the model has not been probed.
    output_space : str
        ``logit``, ``log``, ``probability``, ``count`` or ``linear``; ``auto`` until the model has been probed.
    terminal : Terminal or None
        The squashing function that the model ends with.
    source : dict
        Where the model was loaded from: ``file`` and ``sha256``; empty for a model in memory.
    """

    def __init__(
        self, module: nn.Module, *, target: int = 0, input_length: int | None = None, output_space: str = "auto"
    ) -> None:
        super().__init__()
        resolve_space(output_space, None)  # an unknown space is refused before any work
        self.module = module
        self.target = target
        self.input_length = _known_length(module, input_length)
        self.n_targets: int | None = None
        self.output_space = output_space
        self.terminal: Terminal | None = None
        self.source: dict[str, Any] = {}
        if self.input_length is not None:
            self._probe(_random_sequences(self.input_length).to(self.device))

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are; the CPU for a model without any."""
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            return tensor.device
        return torch.device("cpu")

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Score sequences in `output_space`, differentiably.

        Parameters
        ----------
        X : Tensor of float, shape (N, 4, L)
            Rows A, C, G, T; on the model's device.

        Returns
        -------
        Tensor, shape (N,)
            For a model that ends in a softmax, the logit of the target class: logits of other classes play no part.

        Raises
        ------
        ModelError
            `X` has another shape, or this is a first pass and the model fails the checks of `wrap`.
        """
        self._check_input(X)
        if self.n_targets is None:
            self._probe(X.detach()[[0, -1]])
        return self._scalar(X, natural=self._reads_natural())

    def predict(self, X: torch.Tensor) -> torch.Tensor:
        """Score sequences on the model's natural scale, without a gradient and in evaluation mode.

        Parameters
        ----------
        X : Tensor of float, shape (N, 4, L)

        Returns
        -------
        Tensor, shape (N,)
            Probabilities for a built-in binary model, counts for a count model, the module's own output for any other
            module.

        Raises
        ------
        ModelError
            As `forward`; or the model gives NaN or infinite values for these sequences.
        """
        self._check_input(X)
        with self.frozen(), torch.no_grad():
            if self.n_targets is None:
                self._probe(X[[0, -1]])
            scores = self._scalar(X, natural=True)
        _check_finite(scores)
        return scores

    def natural(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map scores in `output_space` to the natural scale, without running the model again.

        Parameters
        ----------
        values : ndarray, shape (N,)
            What `forward` gave.

        Returns
        -------
        ndarray, shape (N,)
            Probabilities for logits before a sigmoid, counts for log counts; other scores as they are, logits before a
            softmax among them, whose probability depends on the other classes too.
        """
        kind = None if self.terminal is None or self._reads_natural() else self.terminal.kind
        if kind == "sigmoid":
            return np.asarray(torch.sigmoid(torch.from_numpy(np.asarray(values, dtype=np.float64))).numpy())
        return np.exp(values) if kind == "exp" else values

    @contextlib.contextmanager
    def frozen(self) -> Iterator[SequenceModel]:
        """Evaluate without gradients to parameters; on leaving, each module and parameter is as it was."""
        modes = [(module, module.training) for module in self.modules()]
        flags = [(parameter, parameter.requires_grad) for parameter in self.parameters()]
        try:
            for module, _ in modes:
                module.training = False  # not eval(): exported modules refuse it, and some override it
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            yield self
        finally:
            for module, training in modes:
                module.training = training
            for parameter, requires_grad in flags:
                parameter.requires_grad_(requires_grad)

    def extra_repr(self) -> str:
        """Show what is read from the model."""
        return (
            f"target={self.target}, n_targets={self.n_targets}, input_length={self.input_length}, "
            f"output_space={self.output_space!r}"
        )

    def _reads_natural(self) -> bool:
        return self.terminal is not None and self.output_space != resolve_space("auto", self.terminal)

    def _scalar(self, X: torch.Tensor, *, natural: bool) -> torch.Tensor:
        """Return (N,) before the terminal function, or after it when `natural`."""
        if isinstance(self.module, CNN):
            values = self._select(self.module(X), len(X))
            return self.module.squash(values) if natural else values
        if natural or self.terminal is None:
            return self._select(self.module(X), len(X))
        if self.terminal.is_opaque:
            return invert(self._select(self.module(X), len(X)), self.terminal.kind)
        with Bypass(self.terminal):
            output = self.module(X)
        return self._select(output, len(X))

    def _select(self, output: torch.Tensor, n_sequences: int) -> torch.Tensor:
        return _columns(output, n_sequences)[:, self.target]

    def _check_input(self, X: torch.Tensor) -> None:
        length = "L" if self.input_length is None else self.input_length
        if X.ndim != 3 or X.shape[1] != 4 or len(X) == 0 or length not in ("L", X.shape[2]):
            raise ModelError(
                f"X: got shape {tuple(X.shape)}, but the model reads (N, 4, {length}); "
                "resize the regions to the model's length, rows A C G T"
            )

    def _probe(self, X: torch.Tensor) -> None:
        """Learn the number of targets and the output space from one pass over X (2, 4, L), and refuse bad models."""
        with self.frozen(), torch.inference_mode(False), torch.enable_grad():
            X = X.clone().requires_grad_()
            output, terminal = _first_pass(self.module, X)
            columns = _columns(output, len(X))
            n_targets = columns.shape[1]
            if not 0 <= self.target < n_targets:
                raise ModelError(
                    f"target: {self.target} is out of range, the model has {n_targets} "
                    f"output{'s'[: n_targets > 1]} (0 to {n_targets - 1})"
                )
            values = columns[:, self.target]
            _check_finite(values)
            _check_differentiable(values, X)
        if isinstance(self.module, CNN):
            kind = self.module.squash_kind
            terminal = None if kind is None else Terminal(kind)
        requested = "auto" if isinstance(self.module, CNN) and self.output_space == "linear" else self.output_space
        space = resolve_space(requested, terminal)
        if terminal is None:
            _check_range(values, space)
        self.n_targets, self.terminal, self.output_space = n_targets, terminal, space
        self.input_length = self.input_length or X.shape[2]


def wrap(
    module: nn.Module, *, target: int = 0, input_length: int | None = None, output_space: str = "auto"
) -> SequenceModel:
    """Read any PyTorch model as one scalar per sequence.

    Parameters
    ----------
    module
        Maps X, shape (N, 4, L), to (N,), (N, 1) or (N, T).
    target
        Which of the T outputs, counted from 0.
    input_length
        Window length in bp. None takes it from a built-in `CNN`, from an integer attribute ``input_length`` of the
        module, or from the first sequences that are scored; the checks are made then.
    output_space
        ``auto`` reads the value before a final sigmoid, softmax or exp, wherever it is applied, and the output itself
        when there is none (``linear``). For a softmax over several classes that is the target's logit. ``logit`` and
        ``log`` insist on that value, ``probability`` and ``count`` on the value after it; ``linear`` takes the module's
        output as it is.

    Returns
    -------
    SequenceModel
        Shares `module`, which is left as it was.

    Raises
    ------
    ModelError
        The model fails on (2, 4, `input_length`), gives another shape, NaN or infinite values, or values that do not
        depend differentiably on X; `target` is out of range; `output_space` is unknown or contradicts the model.
    """
    if isinstance(module, SequenceModel):
        input_length = input_length or module.input_length
        source, module = module.source, module.module
    else:
        source = {}
    module = getattr(module, "_orig_mod", module)  # of torch.compile, whose graph shows no functions
    model = SequenceModel(module, target=target, input_length=input_length, output_space=output_space)
    model.source = dict(source)
    return model


def _known_length(module: nn.Module, given: int | None) -> int | None:
    known = module.config.input_length if isinstance(module, CNN) else getattr(module, "input_length", None)
    if not isinstance(known, int):
        known = None
    if given is not None and given < 1:
        raise ModelError(f"input_length: got {given}, expected a length in bp above 0")
    if given is not None and isinstance(module, CNN) and given != known:
        raise ModelError(f"input_length: {given} bp asked of a model made for {known} bp; use windows of {known} bp")
    return known if given is None else given


def _random_sequences(length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(_PROBE_SEED)
    codes = torch.randint(0, 4, (_PROBE_SIZE, length), generator=generator, dtype=torch.uint8)
    return one_hot_tensor(codes)  # (2, 4, L)


def _first_pass(module: nn.Module, X: torch.Tensor) -> tuple[torch.Tensor, Terminal | None]:
    try:
        return find_terminal(module, X)
    except torch.OutOfMemoryError:
        raise
    except _FORWARD_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"model: fails on one-hot input of shape {tuple(X.shape)} ({type(error).__name__}: {reason}); "
            "give it windows of the length that it was made for, shape (N, 4, L)"
        ) from error


def _columns(output: Any, n_sequences: int) -> torch.Tensor:
    """Return a model's output as (N, T)."""
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"model: gives a {type(output).__name__}, expected a tensor of shape (N,), (N, 1) or (N, T); "
            "wrap it in a module that returns the one tensor to explain"
        )
    if n_sequences == 1 and output.ndim < 2:
        return output.reshape(1, -1)  # squeezed to () or (T,)
    if output.ndim in (1, 2) and len(output) == n_sequences and output.numel():
        return output.reshape(n_sequences, -1)
    raise ModelError(
        f"model: gives shape {tuple(output.shape)} for {n_sequences} sequences, expected (N,), (N, 1) or (N, T); "
        "wrap it in a module that reduces each sequence to T values"
    )


def _check_finite(values: torch.Tensor) -> None:
    n_bad = int((~torch.isfinite(values)).sum())
    if n_bad:
        raise ModelError(
            f"model: gives NaN or infinite values for {n_bad} of {len(values)} sequences; "
            "check its weights (a training that diverged?) and the precision that it runs in"
        )


def _check_differentiable(values: torch.Tensor, X: torch.Tensor) -> None:
    gradient = None
    if values.requires_grad:
        (gradient,) = torch.autograd.grad(values.sum(), X, allow_unused=True)
    if gradient is None:
        raise ModelError(
            "model: its output does not depend differentiably on its input (detached, no_grad, or made of integers); "
            "remove .detach(), torch.no_grad() and argmax from its forward()"
        )


def _check_range(values: torch.Tensor, space: str) -> None:
    low, high = values.min().item(), values.max().item()
    if (space == "probability" and not 0 <= low <= high <= 1) or (space == "count" and low < 0):
        raise ModelError(
            f"output_space: {space!r} was asked for, but the model gives values from {low:.3g} to {high:.3g}; "
            "choose 'auto' or 'linear'"
        )
