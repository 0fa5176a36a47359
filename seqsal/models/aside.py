"""What autograd keeps for a gradient, laid aside: in a file where a model runs on the CPU, or in the machine's memory.

Nothing is computed twice, every number comes back as it was and in the same order in memory, and what operations
outside of all modules keep (pools and their positions, sums, attention that a model writes out by hand) goes too, which
segments that are computed again have to hold. Memory then holds what a pass works on at one time.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from typing import Any, NamedTuple

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from seqsal.errors import OutputError

__all__ = ["Aside", "lay_aside", "taken_back"]

LEAST = 1 << 18  # bytes; smaller storages stay where they are
_KINDS = (torch.Tensor, torch.nn.Parameter)
_NOW = threading.local()  # `place` that is in use in a thread


class _Laid:
    """Bytes of one storage; they are given up with the last reference to this."""

    def __init__(self, aside: Aside, storage: torch.UntypedStorage, source: StorageWeakRef) -> None:
        self.place, self.n_bytes, self.device = aside, storage.nbytes(), storage.device
        self._source = source  # so that no other storage gets its number as long as this is there
        raw = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        self._there = raw.cpu() if storage.device.type == "cuda" else aside.write(raw)
        weakref.finalize(self, aside.give_up)

    def take(self) -> torch.Tensor:
        """Return the bytes, on the device that they came from."""
        there = self._there
        return there.to(self.device) if isinstance(there, torch.Tensor) else self.place.read(there, self.n_bytes)


class _Put(NamedTuple):
    """A tensor that was laid aside."""

    whole: _Laid
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]


class Aside:
    """A place for tensors; entered, it takes what autograd keeps in this thread.

    Parameters
    ----------
    own
        Addresses of storages that stay where they are: those of the model.

    Examples
    --------
    >>> x = torch.arange(1 << 17, dtype=torch.float32).requires_grad_()
    >>> with Aside(frozenset()) as aside:
    ...     y = (x * 2).exp().sum()
    >>> aside.n_held, torch.equal(torch.autograd.grad(y, x)[0], 2 * (2 * x).exp())
    (1, True)
    """

    def __init__(self, own: frozenset[int]) -> None:
        self._own = own
        self._lock = threading.RLock()  # a finalizer may run while it is held
        self._file: Any = None
        self._end = self.n_held = 0
        self._known: weakref.WeakValueDictionary[tuple[int, int], _Laid] = weakref.WeakValueDictionary()
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self.put, self.get)

    def put(self, tensor: torch.Tensor) -> torch.Tensor | _Put:
        """Lay a tensor aside, together with all that shares its storage; give what `get` makes it from."""
        storage = tensor.untyped_storage()
        if storage.nbytes() < LEAST or storage.data_ptr() in self._own or type(tensor) not in _KINDS:
            return tensor.detach()
        source = StorageWeakRef(storage)
        key = (int(source.cdata), tensor._version)
        laid = self._known.get(key)
        if laid is None:
            with self._lock:
                self.n_held += 1
            self._known[key] = laid = _Laid(self, storage, source)
        return _Put(laid, tensor.dtype, int(tensor.storage_offset()), tensor.size(), tensor.stride())

    def get(self, laid: torch.Tensor | _Put) -> torch.Tensor:
        """Return a tensor as it was."""
        if isinstance(laid, torch.Tensor):
            return laid
        raw = laid.whole.take()
        back: torch.Tensor = torch.empty(0, dtype=laid.dtype, device=raw.device)
        return back.set_(raw.untyped_storage(), laid.offset, laid.size, laid.stride)

    def write(self, raw: torch.Tensor) -> int:
        """Append bytes to the file; say where they begin."""
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)
                weakref.finalize(self, self._file.close)
            at, view = self._end, raw.numpy().data
            try:
                self._file.seek(at)
                while len(view):
                    view = view[self._file.write(view) :]
            except OSError as error:
                raise OutputError(
                    f"{tempfile.gettempdir()}: cannot be written ({error.strerror}), and activations that do not fit "
                    "into memory are laid aside there; free some space, or set TMPDIR to a folder on a larger disk"
                ) from error
            self._end += raw.numel()
        return at

    def read(self, at: int, n_bytes: int) -> torch.Tensor:
        """Read bytes of the file."""
        raw = torch.empty(n_bytes, dtype=torch.uint8)
        view = raw.numpy().data
        with self._lock:
            self._file.seek(at)
            while len(view):
                n_read = self._file.readinto(view)
                if not n_read:
                    raise OSError("what was laid aside in the temporary folder is gone")
                view = view[n_read:]
        return raw

    def give_up(self) -> None:
        """Empty the file when nothing that is in it is wanted any more."""
        with self._lock:
            self.n_held -= 1
            if not self.n_held and self._file is not None:
                self._file.truncate(0)
                self._end = 0

    def __enter__(self) -> Aside:
        self._before, _NOW.place = getattr(_NOW, "place", None), self
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        _NOW.place = self._before


def lay_aside(value: Any) -> Any:
    """Lay tensors in nested arguments aside, where there is a place for them; :func:`taken_back` undoes it."""
    place = getattr(_NOW, "place", None)
    if place is None:
        return value
    if isinstance(value, (tuple, list)):
        return type(value)(lay_aside(item) for item in value)
    return place.put(value) if isinstance(value, torch.Tensor) else value


def taken_back(value: Any) -> Any:
    """Return nested arguments as they were before :func:`lay_aside`."""
    if isinstance(value, _Put):
        return value.whole.place.get(value)
    return type(value)(taken_back(item) for item in value) if type(value) in (tuple, list) else value
