"""What a model keeps of a forward pass for its gradient, and how it keeps less: parts that are computed again.

A gradient needs the activations of all layers, which at half a million bases do not fit into memory. Of a *segment*, a
part of the model whose inputs alone are kept, the forward pass is run once more when the backward pass comes to it
(Chen et al. 2016, arXiv:1604.06174; :func:`torch.utils.checkpoint.checkpoint`): the same operations on the same
numbers, and so the same gradient to the bit, for at most one more forward pass.

Segments are found by looking: during one pass that keeps nothing, each module counts the bytes that autograd would have
kept in it. All parts that count at most so many bytes and are in no larger one are segments; the limit is chosen so
that the inputs of the segments, what is kept between them, and the largest of them while it is computed again, are
least together. Where that does not fit either, all of it is laid aside (:mod:`seqsal.models.aside`). Nothing of this is
done to a model whose windows fit.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint

from seqsal.models.aside import Aside
from seqsal.models.state import tensors_of

__all__ = ["LONG", "Kept", "free_bytes", "is_full", "measure_kept", "recomputed", "thrifty"]

logger = logging.getLogger(__name__)

LONG = 1 << 15  # bp, from which on it is looked whether a window fits; below, a look would cost more than it saves
ROOM = 2  # times what autograd keeps: the peak of a backward pass
MOST_LIMITS = 64  # that are tried
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",  # the CPU
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # cuDNN, when none finds room for its workspace
)


@dataclass
class _Call:
    """A module's call: what autograd keeps in it but not in calls of its own, what it was given, and its own calls."""

    name: str = ""
    own: set[int] = field(default_factory=set)
    given: set[int] = field(default_factory=set)
    calls: list[_Call] = field(default_factory=list)

    def kept(self) -> set[int]:
        """Return all storages that are kept in this call."""
        return self.own.union(*(call.kept() for call in self.calls))


@dataclass(frozen=True)
class Kept:
    """What autograd keeps of a window's forward pass: so many bytes, call by call."""

    n_bytes: int
    root: _Call = field(repr=False)
    sizes: dict[int, int] = field(repr=False)

    @functools.cached_property
    def fewest(self) -> tuple[int, tuple[str, ...]]:
        """Bytes that are kept at most where segments are computed again, the largest included, and their names."""
        of_part: dict[str, int] = {}
        pending = list(self.root.calls)
        while pending:
            call = pending.pop()
            pending += call.calls
            of_part[call.name] = max(self._total(call.kept()), of_part.get(call.name, 0))
        limits = sorted(set(of_part.values()) - {0})
        tried = limits[:: max(-(-len(limits) // MOST_LIMITS), 1)]
        return min([(self.n_bytes, ()), *(self._below(limit, of_part) for limit in tried)], key=lambda one: one[0])

    def _below(self, limit: int, of_part: dict[str, int]) -> tuple[int, tuple[str, ...]]:
        """Bytes that are kept where all parts of at most so many are segments, and these."""
        segments: dict[str, int] = {}
        kept: set[int] = set()
        pending = [self.root]
        while pending:
            call = pending.pop()
            if 0 < of_part.get(call.name, 0) <= limit:
                segments[call.name] = of_part[call.name]
                kept |= call.given
            else:
                kept |= call.own
                pending += call.calls
        return self._total(kept) + max(segments.values(), default=0), tuple(segments)

    def _total(self, storages: set[int]) -> int:
        return sum(self.sizes[storage] for storage in storages)


@contextlib.contextmanager
def thrifty(
    model: nn.Module, run: Callable[[torch.Tensor], Any], X: torch.Tensor, known: dict[Any, Any], n_windows: int = 1
) -> Iterator[int]:
    """While entered, keep less for a gradient if so many windows would not fit; yield the bytes that one of them keeps.

    Parameters
    ----------
    model
        The modules that may be computed again.
    run
        A forward pass of it.
    X
        One window, (1, 4, L).
    known
        What was learnt about the model, to be read and added to.
    n_windows
        That go through it together, or whose passes are kept at the same time.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 3), torch.nn.Sigmoid()).requires_grad_(False)
    >>> with thrifty(model, model, torch.zeros(1, 4, 12), {}) as n_bytes:
    ...     n_bytes  # float32: (4, 12) before the convolution, (8, 10) after the sigmoid
    512
    """
    key = ("kept", X.device.type, X.dtype, X.shape[2])
    if key not in known:
        known[key] = measure_kept(model, run, X)
    kept: Kept = known[key]
    free = free_bytes(X.device)
    if ROOM * n_windows * kept.n_bytes <= free:
        yield kept.n_bytes
        return
    n_bytes, segments = kept.fewest
    told = "memory: a window of %s bp keeps %s for its gradient, of %s free; "
    so_far = (f"{X.shape[2]:,}", _shown(kept.n_bytes), _shown(free))
    if segments and max(ROOM, n_windows) * n_bytes <= free:  # the largest that is computed again counts already
        logger.info(
            told + "%d parts of the model are computed again instead, which leaves %s", *so_far, len(segments),
            _shown(n_bytes),
        )  # fmt: skip
        with recomputed(model, segments):
            yield n_bytes
        return
    where = "the machine's memory" if X.device.type == "cuda" else tempfile.gettempdir()
    logger.info(told + "it is laid aside in %s", *so_far, where)
    with Aside(frozenset(_addresses(model))):
        yield kept.n_bytes


def _addresses(model: nn.Module) -> set[int]:
    """Where a model's own tensors are in memory."""
    return {tensor.untyped_storage().data_ptr() for tensor in itertools.chain(*tensors_of(model))}


def free_bytes(device: torch.device) -> int:
    """Memory that tensors could take: what nobody has, and what torch holds for tensors that are gone.

    On a CPU it is what the system says is available, or less where a limit is set to the process.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    bounds = [1 << 62]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        bounds.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):  # of a container
        group = Path("/sys/fs/cgroup")
        bounds.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            bounds.append(limit - taken)
    return max(min(bounds), 0)


def is_full(error: BaseException) -> bool:
    """Whether an error means that a device ran out of memory, which not all libraries say by the type."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def measure_kept(model: nn.Module, run: Callable[[torch.Tensor], Any], X: torch.Tensor) -> Kept:
    """Count what autograd keeps of X (N, 4, L), a window, and find segments; the pass itself keeps nothing.

    Parameters
    ----------
    model
        Its parts may be segments.
    run
        A forward pass of it.
    X
        A few windows.
    """
    own = _addresses(model)
    sizes: dict[int, int] = {}
    held: list[StorageWeakRef] = []  # so that no storage gets the number of another
    root = _Call()
    stack = [root]

    def number(tensor: torch.Tensor) -> int:
        reference = StorageWeakRef(tensor.untyped_storage())
        if reference.cdata not in sizes:
            held.append(reference)
            sizes[reference.cdata] = tensor.untyped_storage().nbytes()
        return int(reference.cdata)

    def note(tensor: torch.Tensor) -> None:
        if tensor.untyped_storage().data_ptr() not in own:
            stack[-1].own.add(number(tensor))

    def enter(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        call = _Call(name, given={number(one) for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)})
        stack[-1].calls.append(call)
        stack.append(call)

    def leave(*_: Any) -> None:
        stack.pop()

    hooks = []
    try:
        for name, module in model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                hooks.append(module.register_forward_pre_hook(functools.partial(enter, name), with_kwargs=True))
                hooks.append(module.register_forward_hook(leave, always_call=True))
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
            run(X.detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    sizes = {storage: n_bytes // len(X) for storage, n_bytes in sizes.items()}
    total = sum(sizes[storage] for storage in root.kept())
    return Kept(max(total, X[0].numel() * X.element_size()), root, sizes)


@contextlib.contextmanager
def recomputed(model: nn.Module, names: tuple[str, ...]) -> Iterator[None]:
    """While entered, compute parts of a model again for the gradient; on leaving, the model is as it was.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 3), torch.nn.Sigmoid())
    >>> with recomputed(model, ("0",)):
    ...     "forward" in vars(model[0])
    True
    >>> "forward" in vars(model[0])
    False
    """
    parts = [vars(model.get_submodule(name)) for name in names]
    before = [{"forward": part["forward"]} if "forward" in part else {} for part in parts]
    try:
        for part, name in zip(parts, names, strict=True):
            part["forward"] = _computed_again(model.get_submodule(name).forward)
        yield
    finally:
        for part, own in zip(parts, before, strict=True):
            part.pop("forward", None)
            part |= own


def _computed_again(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a forward pass keep its inputs alone, where a gradient is going to be taken."""

    def run(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values())
        if not (torch.is_grad_enabled() and any(getattr(one, "requires_grad", False) for one in given)):
            return forward(*args, **kwargs)
        entered = _Entered()
        return checkpoint(
            forward, *args, use_reentrant=False, preserve_rng_state=False,
            context_fn=lambda: (contextlib.nullcontext(), entered), **kwargs,
        )  # fmt: skip

    run.recomputes = True  # type: ignore[attr-defined]
    return run


class _Entered:
    """Modes of torch's functions, each as it was when the segment began; one may enter them again and again."""

    def __init__(self) -> None:
        modes = torch.overrides._get_current_function_mode_stack()
        self._modes = [mode.replay() for mode in modes if hasattr(mode, "replay")]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        for mode in self._modes:
            self._stack.enter_context(mode.replay())

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _shown(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
