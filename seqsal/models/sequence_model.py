"""The one scalar per sequence that everything else in seqsal reads from a model.

How the model is fed and which of its numbers are read is for `seqsal.models.readout`; in which space (logit or
probability, log count or count), for `seqsal.models.output_space`; what makes it unusable, for `seqsal.models.probe`.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seqsal.errors import DeviceError, ModelError, first_line
from seqsal.models import probe
from seqsal.models.adapters import LOW_PRECISION, find_adapter, known_dtype, known_length
from seqsal.models.cnn import CNN
from seqsal.models.contrast import Contrast, Target
from seqsal.models.output_space import Bypass, Terminal, before_script, find_terminal, invert, resolve_space
from seqsal.models.readout import ExtraInputs, Lookup, Readout
from seqsal.models.recompute import LONG, is_full, thrifty
from seqsal.models.state import cuda_arithmetic, device_of, facts_of, frozen, intact, tensors_of

__all__ = ["SequenceModel", "facts_about", "wrap"]

logger = logging.getLogger(__name__)
PROBED = 4  # windows whose passes are kept at the same time while a model is looked at


class SequenceModel(nn.Module):
    """One scalar per sequence from a model that may have several outputs and end in any squashing function.

    Made by `seqsal.wrap` or `load_model`.

    Attributes
    ----------
    module : nn.Module
        The caller's model, not copied.
    target : int or Contrast
        Which output column is read, or which weighted difference of several.
    input_length : int or None
        Window length in bp; None as long as a model of unknown length has not been probed.
    n_targets : int or None
        Number of output columns; None as long as the model has not been probed.
    output_space : str
        ``logit``, ``log``, ``probability``, ``count`` or ``linear``; ``auto`` until the model has been probed.
    terminal : Terminal or None
        The squashing function that the model ends with.
    no_gradient : str
        Why no usable gradient runs from the output to the sequences; empty where one does, or as long as the model has
        not been probed.
    readout : Readout
        How the model is fed and which of its numbers are read.
    asked : Readout
        The caller's part of `readout`: the rest is known of the model's family.
    extra_inputs : ExtraInputs
        What it is given beside the sequence.
    grid : Grid or None
        Where the positions of its profile lie in the window, as far as somebody asked.
    source : dict
        Where the model was loaded from: ``file`` and ``sha256``; empty for a model in memory.

    Examples
    --------
    >>> import seqsal, torch
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 2), torch.nn.Sigmoid())
    >>> model = seqsal.wrap(module, target=1, input_length=10)
    >>> model.n_targets, model.output_space
    (2, 'logit')
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        target: Target = 0,
        input_length: int | None = None,
        output_space: str = "auto",
        readout: Readout | None = None,
        extra_inputs: ExtraInputs | None = None,
    ) -> None:
        super().__init__()
        resolve_space(output_space, None)  # an unknown space is refused before any work
        self.module = module
        self.target: Target = target
        self.input_length = known_length(module, input_length)
        self.n_targets: int | None = None
        self.output_space = output_space
        self.terminal: Terminal | None = None
        self.no_gradient = ""
        self._is_single = False
        self.extra_inputs = ExtraInputs(None) if extra_inputs is None else extra_inputs
        self.asked = readout or Readout()
        self._adapter = find_adapter(module, self.asked)
        self.readout = self.asked if self._adapter is None else self._adapter.readout
        self.grid: Any = None
        self.source: dict[str, Any] = {}
        self.path: str | None = None
        if self.input_length is not None:
            self._probe(self.input_length, torch.zeros(0, device=self.device))

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are; the CPU for a model without any."""
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            return tensor.device
        return torch.device("cpu")

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the outputs, where those of the model's family have any."""
        return () if self._adapter is None else self._adapter.names

    @property
    def known_bin_size(self) -> int | None:
        """Width in bp of an output position, where that is known of the model's family."""
        return None if self._adapter is None else self._adapter.bin_size

    @property
    def reading(self) -> dict[str, Any]:
        """How the model is fed and what is read from it, in plain values, for files to record."""
        reading = asdict(self.readout)
        reading.pop("bins")
        if callable(self.readout.reduce):
            reading["reduce"] = f"{getattr(self.readout.reduce, '__qualname__', self.readout.reduce)} (Python)"
        return reading | {"extra_inputs": self.extra_inputs.describe()} if len(self.extra_inputs) else reading

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
        self._ensure_probed(X)
        return self._read(X, self.target)

    def columns(self, X: torch.Tensor, targets: Sequence[Target]) -> torch.Tensor:
        """Score sequences for several targets in one pass, each as `forward` would for that target.

        Parameters
        ----------
        X : Tensor of float, shape (N, 4, L)
        targets
            Output columns, counted from 0, in any order, or contrasts of them.

        Returns
        -------
        Tensor, shape (N, len(targets))
            In `output_space`, differentiable.

        Raises
        ------
        ModelError
            As `forward`; or a target is out of range.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 3)))
        >>> X = torch.eye(4)[torch.arange(10) % 4].T[None]
        >>> model.columns(X, [2, 0]).shape
        torch.Size([1, 2])
        """
        self._check_input(X)
        n_targets = self._ensure_probed(X)
        for target in targets:
            probe.check_target(target, n_targets)
        columns = self._columns(X, natural=self._reads_natural())
        if not any(isinstance(target, Contrast) for target in targets):
            return columns[:, list(targets)]
        return torch.stack([self._read(X, target, columns) for target in targets], dim=1)

    @property
    def has_profile(self) -> bool:
        """Whether a profile along the sequence is read, of which `profile` gives the shape."""
        return self.readout.weighs_logits

    def profile(self, X: torch.Tensor) -> torch.Tensor:
        """Give the shape of the profile that is read: of each track a distribution over positions.

        Parameters
        ----------
        X : Tensor of float, shape (N, 4, L)

        Returns
        -------
        Tensor, shape (N, tracks, positions)
            Each track sums to 1.

        Raises
        ------
        ModelError
            As `forward`; or the model is not read by a profile's logits.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Conv1d(4, 2, 3), reduce="profile")
        >>> model.profile(torch.eye(4)[torch.arange(10) % 4].T[None]).sum(-1).round(decimals=4).tolist()
        [[1.0, 1.0]]
        """
        if not self.has_profile:
            raise ModelError("profile: none is read from this model; wrap it with reduce='profile'")
        self._check_input(X)
        self._ensure_probed(X)
        return self.readout.profile(self._values(X, natural=False), len(X)).softmax(dim=-1)

    def positions(self, X: torch.Tensor) -> torch.Tensor:
        """Return the profile that is reduced, (N, tracks, positions), in `output_space`.

        Raises
        ------
        ModelError
            As `forward`; or the model gives no profile.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Conv1d(4, 2, 3), reduce="sum")
        >>> model.positions(torch.eye(4)[torch.arange(10) % 4].T[None]).shape
        torch.Size([1, 2, 8])
        """
        self._check_input(X)
        self._ensure_probed(X)
        return self.readout.profile(self._values(X, natural=self._reads_natural()), len(X))

    def at(self, bins: tuple[tuple[float, float], ...]) -> SequenceModel:
        """Return the model as it reads some positions of its profile alone, as spans of them; it shares all else.

        Raises
        ------
        ModelError
            It reads no profile, or weighs all of its positions.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Conv1d(4, 1, 3), reduce="sum")
        >>> X = torch.eye(4)[torch.arange(10) % 4].T[None]
        >>> torch.equal(model.at(((2, 4),))(X), model.positions(X)[:, 0, 2:4].sum(1))
        True
        """
        if self.readout.reduce is None or self.readout.weighs_logits:
            raise ModelError(
                "readout_at: is about output positions, of which this model's are not reduced by 'sum', 'mean', 'max', "
                "'log_sum' or 'weighted'; give one of these as reduce (--reduce)"
            )
        view = copy.copy(self)
        view.readout, view.asked = replace(self.readout, bins=bins), replace(self.asked, bins=bins)
        return view

    def look_at(self, X: torch.Tensor) -> None:
        """Check the model, and learn its output space, on sequences like these (N, 4, L), unless that is done.

        Raises
        ------
        ModelError
            As `forward`.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1), torch.nn.Sigmoid()))
        >>> before = model.output_space
        >>> model.look_at(torch.eye(4)[torch.arange(10) % 4].T[None])
        >>> before, model.output_space
        ('auto', 'logit')
        """
        self._check_input(X)
        self._ensure_probed(X)

    def require_gradient(self, wanted_by: str) -> None:
        """Raise unless the model, once it has been probed, can be differentiated.

        Parameters
        ----------
        wanted_by
            What needs the gradient.

        Raises
        ------
        ModelError
            It cannot.

        Examples
        --------
        >>> import seqsal, torch
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
        >>> seqsal.wrap(module, input_length=10).require_gradient("saliency")
        """
        if self.no_gradient:
            raise ModelError(f"{self.no_gradient}; {wanted_by} needs the gradient, while ism and score work without")

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

        Examples
        --------
        >>> import seqsal, torch
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1), torch.nn.Sigmoid())
        >>> X = torch.eye(4)[torch.arange(10) % 4].T[None]
        >>> torch.equal(seqsal.wrap(module).predict(X), module(X)[:, 0])
        True
        """
        self._check_input(X)
        with self.frozen(), torch.no_grad():
            self._ensure_probed(X)
            columns = self._columns(X, natural=True)
            is_one = not isinstance(self.target, Contrast)
            scores = columns[:, self.target] if is_one else self.target.read(columns)  # type: ignore[index, union-attr]
        probe.check_finite(scores)
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
            softmax among them, whose probability depends on the other classes too, and reduced profiles, whose
            positions are no longer known, and differences of outputs.

        Examples
        --------
        >>> import seqsal, torch
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1), torch.nn.Sigmoid())
        >>> seqsal.wrap(module, input_length=10).natural(np.array([0.0])).tolist()
        [0.5]
        """
        is_final = self.terminal is None or self._reads_natural() or self.readout.reduce is not None
        is_final = is_final or isinstance(self.target, Contrast)
        kind = None if is_final or self.terminal is None else self.terminal.kind
        if kind == "sigmoid":
            return np.asarray(torch.sigmoid(torch.from_numpy(np.asarray(values, dtype=np.float64))).numpy())
        is_log = kind == "exp" or (kind == "softmax" and self.terminal is not None and self.terminal.is_picked)
        return np.exp(values) if is_log else values

    @contextlib.contextmanager
    def frozen(self) -> Iterator[SequenceModel]:
        """Evaluate without gradients to parameters, on CUDA in float32; on leaving, everything is as it was.

        Examples
        --------
        >>> import seqsal, torch
        >>> model = seqsal.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1)))
        >>> with model.frozen():
        ...     [parameter.requires_grad for parameter in model.parameters()]
        [False, False]
        """
        with cuda_arithmetic("fp32", device_of(self, torch.device("cpu"))), frozen(self):
            yield self

    def extra_repr(self) -> str:
        """Show what is read from the model."""
        return (
            f"target={self.target}, n_targets={self.n_targets}, input_length={self.input_length}, "
            f"output_space={self.output_space!r}"
        )

    def _reads_natural(self) -> bool:
        return self.terminal is not None and self.output_space != resolve_space("auto", self.terminal)

    def _read(self, X: torch.Tensor, target: Target, columns: torch.Tensor | None = None) -> torch.Tensor:
        """Read one target (N,) from the outputs (N, T) in `output_space`, which are computed unless they are given."""
        is_natural = self._reads_natural()
        is_ratio = isinstance(target, Contrast) and target.is_ratio
        if is_ratio and not is_natural and self.output_space != "log":
            columns, is_natural = self._columns(X, natural=True), True
        columns = self._columns(X, natural=is_natural) if columns is None else columns
        if not isinstance(target, Contrast):
            return columns[:, target]
        return target.read(columns, are_logs=self.output_space == "log" and not is_natural)

    def _columns(self, X: torch.Tensor, *, natural: bool) -> torch.Tensor:
        """Return (N, T) before the terminal function, or after it when `natural`."""
        if self._is_single and len(X) > 1:
            return torch.cat([self._columns(x[None], natural=natural) for x in X])
        return self.readout.columns(self._values(X, natural=natural and not self.readout.weighs_logits), len(X))

    def _values(self, X: torch.Tensor, *, natural: bool) -> torch.Tensor:
        if isinstance(self.module, CNN):
            values = self._run(X)
            return self.module.squash(values) if natural and self._squash_kind else values
        if natural or self.terminal is None:
            return self._run(X)
        if self.terminal.is_opaque:
            return invert(self._run(X), self.terminal.kind)
        if self.terminal.is_scripted:
            return self._run(X, before_script(self.module, self.terminal, self.readout.output))  # type: ignore[arg-type]
        with Bypass(self.terminal):
            return self._run(X)

    def _run(self, X: torch.Tensor, module: Callable[..., Any] | None = None) -> torch.Tensor:
        """Return the chosen output as the model, or something that is called in its place, gives it, of any shape."""
        X = X.to(known_dtype(self.module, X.dtype))
        values = self.readout.pick(self._call(self.readout.feed(X), X, module))
        if values.dtype in LOW_PRECISION:
            return values.float()
        return values if values.is_floating_point() or values.is_complex() else values.double()  # classes, counts

    def _call(self, fed: torch.Tensor, X: torch.Tensor, module: Callable[..., Any] | None = None) -> Any:
        module = self.module if module is None else module
        if len(self.extra_inputs):
            positional, named = self.extra_inputs.arguments(len(X))
            return module(fed, *positional, **named)
        more = () if self._adapter is None else self._adapter.arguments(X)
        with Lookup(fed, self.readout.ordered(X)) if self.readout.layout == "NL" else contextlib.nullcontext():
            return module(fed, *more)

    def _check_input(self, X: torch.Tensor) -> None:
        length = "L" if self.input_length is None else self.input_length
        if X.ndim != 3 or X.shape[1] != 4 or len(X) == 0 or length not in ("L", X.shape[2]):
            raise ModelError(
                f"X: got shape {tuple(X.shape)}, but the model reads (N, 4, {length}); "
                "resize the regions to the model's length, rows A C G T"
            )

    def _ensure_probed(self, X: torch.Tensor) -> int:
        if self.n_targets is None:
            self._probe(X.shape[2], X)
        assert self.n_targets is not None
        return self.n_targets

    def _probe(self, length: int, like: torch.Tensor) -> None:
        """Learn the number of targets and the output space from two random sequences, and refuse bad models."""
        key, known = ("probe", length, str(like.device), like.dtype), facts_about(self)
        if key in known:
            self.n_targets, self.terminal, self.output_space, self.no_gradient, self._is_single = known[key]
            self.input_length = self.input_length or length
            return
        before = (self.n_targets, self.terminal, self.output_space)
        with self.frozen(), intact(self.module, like.device):
            X = probe.random_sequences(length, like).requires_grad_()
            try:
                with thrifty(self, self._run, X[:1], known, PROBED) if length >= LONG else contextlib.nullcontext():
                    self._learn(X)
            except BaseException as error:  # out of memory too: the next pass has to look again
                self.n_targets, self.terminal, self.output_space = before
                if is_full(error) and not isinstance(error, torch.OutOfMemoryError):  # which is told by its type
                    raise DeviceError(
                        f"device: out of memory as the model was tried on two windows of {length:,} bp "
                        f"({first_line(error)}); use a device with more memory, a smaller model or a shorter window"
                    ) from error
                raise
        self.input_length = self.input_length or length
        known[key] = (self.n_targets, self.terminal, self.output_space, self.no_gradient, self._is_single)
        if self.terminal is not None and not isinstance(self.module, CNN):
            logger.info(
                "model: ends in %s; %s is attributed (output space %s%s)",
                self.terminal,
                "its own output" if self._reads_natural() else "the log-probability" if self.terminal.is_picked
                else "the value before it",
                self.output_space, "" if self._reads_natural() else "; 'linear' takes the output as it is",
            )  # fmt: skip

    def _learn(self, X: torch.Tensor) -> None:
        natural, terminal = self._first_pass(X)
        probe.check_real(natural)
        columns = self.readout.columns(natural, len(X))
        probe.check_target(self.target, columns.shape[1])
        requested = self.output_space
        if isinstance(self.module, CNN):
            terminal = None if self._squash_kind is None else Terminal(self._squash_kind)
            requested = "auto" if requested == "linear" else requested
        self.n_targets, self.terminal = columns.shape[1], terminal
        self.output_space = resolve_space(requested, terminal, raw_space=self._raw_space)
        if self.readout.reduce == "log_sum" and self.output_space in ("log", "logit"):
            raise ModelError(
                f"reduce: 'log_sum' is of the values after the {terminal and terminal.kind} that the model ends in; "
                "give output_space='linear' too"
            )
        if self.readout.weighs_logits and self._reads_natural():
            raise ModelError(
                f"output_space: {requested!r} is after the {terminal and terminal.kind} that the profile ends in, but "
                f"reduce={self.readout.reduce!r} weighs logits; leave output_space at 'auto', or reduce by 'sum'"
            )
        if not isinstance(self.target, Contrast):
            probe.check_finite(columns[:, self.target])
        is_same = terminal is None or isinstance(self.module, CNN)  # as the first pass
        values = self._read(X, self.target, columns if is_same else None)
        probe.check_finite(values, getattr(self.target, "is_ratio", False))

        def score(X: torch.Tensor) -> torch.Tensor:
            return self._read(X, self.target)

        if not isinstance(self.module, CNN):  # the built-in model is known to be steady, and its start is waited for
            if probe.is_quantised(self.module):
                values = self._settle_batches(score, X, values)
            probe.check_steady(score, X, values, known_dtype(self.module, X.dtype))
        try:
            probe.check_differentiable(score, X, values)
        except ModelError as error:  # it may still be scored, and mutated
            self.no_gradient = str(error)
        if terminal is None and not isinstance(self.target, Contrast):
            probe.check_range(values, self.output_space)

    def _settle_batches(self, score: probe.Score, X: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Compute windows one at a time, the two of X too, where 8-bit scales come from all that is in the batch."""
        with torch.no_grad():
            alone = torch.cat([score(x[None]) for x in X])
        self._is_single = bool((alone - values).abs().max() > 1e-6 * values.abs().max())
        if not self._is_single:
            return values
        logger.info(
            "model: quantised at run time, by scales that depend on all that is in a batch; windows go one at a time"
        )
        return score(X)

    def _first_pass(self, X: torch.Tensor) -> tuple[torch.Tensor, Terminal | None]:
        try:
            return find_terminal(self._run, X, module=self.module, output=self.readout.output)
        except probe.FORWARD_ERRORS as error:
            if is_full(error):
                raise
            raise probe.explain_failure(lambda fed: self._call(fed, X[: len(fed)]), X, self.readout, error) from error

    @property
    def _squash_kind(self) -> str | None:
        """The function from the built-in network's chosen output to its natural scale; None for a profile's logits."""
        is_profile = self._adapter is not None and self._adapter.raw_space == "logit"
        return None if is_profile else self.module.squash_kind  # type: ignore[return-value]

    @property
    def _raw_space(self) -> str:
        return "linear" if self._adapter is None else self._adapter.raw_space


def facts_about(model: nn.Module) -> dict[Any, Any]:
    """Return what was learnt about a model as it is read; see :func:`seqsal.models.state.facts_of`.

    Nothing is kept of a model with other inputs beside the sequence, nor of a view that computes in another way.
    """
    if not isinstance(model, SequenceModel):
        return facts_of(model)
    if len(model.extra_inputs) or "forward" in vars(model):
        return {}
    facts: dict[Any, Any] = facts_of(model.module).setdefault((model.target, model.output_space, model.asked), {})
    return facts


def wrap(
    module: nn.Module,
    *,
    target: Target = 0,
    input_length: int | None = None,
    output_space: str = "auto",
    layout: str = "NCL",
    channel_order: str = "ACGT",
    output: int | str | None = None,
    reduce: str | Callable[[torch.Tensor], torch.Tensor] | None = None,
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
        when there is none (``linear``). For a softmax over several classes that is the target's logit, and the
        log-probability where the model itself gives some of the classes only (``softmax(z, 1)[:, 0]``). ``logit`` and
        ``log`` insist on that value, ``probability`` and ``count`` on the value after it; ``linear`` takes the module's
        output as it is. With `reduce`, it is the values of this space that are reduced: under ``auto`` the sum of
        logits, not of probabilities.
    layout
        Of the model's input: ``NCL`` for (N, 4, L), ``NLC`` for (N, L, 4), ``NL`` for whole numbers (N, L), one a base
        from 0 on in `channel_order`, which the model looks up in an `nn.Embedding`; the one-hot bases times that table
        stand for the look-up, so that gradients reach them, and an unknown base has a row of zeros.
    channel_order
        The bases in the order of the model's input channels.
    output
        Which part of a tuple (index) or dictionary (key) holds the scores; dots lead into nested ones, as in
        ``"heads.human"``.
    reduce
        How a profile becomes one number per track: ``sum``, ``mean`` or ``max`` over positions, or the log of the sum,
        ``log_sum``; ``weighted``, the sum of each position times its share under what `readout_at` of
        :func:`seqsal.attribute` says; a function of one's own, (N, T, positions) → (N, T); ``profile``, the
        softmax-weighted sum of logits that BPNet and ChromBPNet are explained with, added up over tracks (strands);
        ``profile_strand``, the same for each track by itself; ``profile_both``, the same with one softmax over all
        tracks, as bpnet-lite's `ProfileWrapper` has it for two strands.
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
        fails on (2, 4, `input_length`), gives another shape, NaN or infinite values, or scores a sequence
        differently from call to call or with what is next to it in the batch.

    Examples
    --------
    >>> import seqsal, torch
    >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40, 1))
    >>> X = torch.eye(4)[torch.arange(10) % 4].T[None]  # ACGTACGTAC, (1, 4, 10)
    >>> torch.equal(seqsal.wrap(module)(X), module(X)[:, 0])
    True
    """
    if not isinstance(module, nn.Module):
        raise ModelError(f"model: got {_named(module)}, expected a torch.nn.Module; {_cure(module)}")
    if any(tensor.is_inference() for tensor in itertools.chain(*tensors_of(module))):
        raise ModelError(
            "model: its weights were made inside torch.inference_mode(), which leaves them without gradients; make or "
            "load the model outside of it"
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


def _named(given: object) -> str:
    """Name what is no module."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    if given is None or isinstance(given, (str, os.PathLike)):
        return repr(None if given is None else os.fspath(given))
    name = type(given).__name__
    return f"a{'n' * (name[0] in 'AEIOU')} {name}"


def _cure(given: object) -> str:
    """Say how to come to a module from what was given instead."""
    if isinstance(given, type):
        return f"make one of it, such as {given.__name__}()"
    if isinstance(given, (str, os.PathLike)):
        return f"open files with seqsal.load_model({os.fspath(given)!r})"
    if isinstance(given, Mapping) and any(isinstance(value, torch.Tensor) for value in given.values()):
        return "load the state dictionary into its module by load_state_dict(), and give that"
    return "put it into a module's forward()" if callable(given) else "give the network itself"
