"""Three stages that overlap: a thread reads ahead, the caller computes and says how far it is, a thread writes behind.

Queues are short, so memory does not grow with the number of windows, and an error in any stage ends all three and
reaches the caller.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

__all__ = ["WriteBehind", "made_ahead", "progress_told_to", "read_ahead", "tell_progress"]

Item = TypeVar("Item")


class _End:
    """Marks the end of a queue, with the error that caused it if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def read_ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yield the items of an iterable that another thread pulls, up to `depth` of them in advance.

    An error of the iterable is raised here. When the consumer stops early, so does the thread.

    Examples
    --------
    >>> list(read_ahead(range(3)))
    [0, 1, 2]
    """
    buffer: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                buffer.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def pull() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                put(item)
        except BaseException as error:  # handed to the consumer, which raises it
            put(_End(error))
        else:
            put(_End())

    thread = threading.Thread(target=pull, name="seqsal-reader", daemon=True)
    thread.start()
    try:
        while not isinstance(item := buffer.get(), _End):
            yield item
        error = item.error
        del item  # holds the error, whose traceback holds this frame: a ring in which tensors would stay
        if error is not None:
            try:
                raise error
            finally:
                del error
    finally:
        stopped.set()
        thread.join()


def made_ahead(items: Iterable[Item], device: torch.device) -> Iterable[Item]:
    """Items that the processor makes for a device: ahead, in another thread, where that is not the processor itself.

    Examples
    --------
    >>> list(made_ahead(range(3), torch.device("cpu")))
    [0, 1, 2]
    """
    return items if device.type == "cpu" else read_ahead(items)


class _Listener(threading.local):
    """Whom this thread tells how far it is."""

    hear: Callable[[int], object] | None = None


_listener = _Listener()


@contextlib.contextmanager
def progress_told_to(hear: Callable[[int], object]) -> Iterator[None]:
    """While entered, call `hear` with what this thread tells by :func:`tell_progress`.

    Examples
    --------
    >>> with progress_told_to(print):
    ...     tell_progress(300)
    300
    """
    before, _listener.hear = _listener.hear, hear
    try:
        yield
    finally:
        _listener.hear = before


def tell_progress(n_sequences: int) -> None:
    """Say that so many more sequences of a window went through the model, to whoever shows it.

    Examples
    --------
    >>> tell_progress(300)  # nobody listens
    """
    if _listener.hear is not None:
        _listener.hear(n_sequences)


class WriteBehind(Generic[Item]):
    """Hand items to a function that runs in another thread, in order, at most `depth` of them waiting.

    An error of the function is raised by the next :meth:`put` or on leaving the context, where all that was handed in
    has been written.

    Parameters
    ----------
    write
        Takes one item.
    depth
        Items that may wait.

    Examples
    --------
    >>> written = []
    >>> with WriteBehind(written.append) as writer:
    ...     writer.put(1)
    >>> written
    [1]
    """

    def __init__(self, write: Callable[[Item], None], depth: int = 2) -> None:
        self._write = write
        self._buffer: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._drain, name="seqsal-writer", daemon=True)

    def _drain(self) -> None:
        while not isinstance(item := self._buffer.get(), _End):
            if self._error is not None:
                continue  # keep emptying the queue, so that put never blocks
            try:
                self._write(item)
            except BaseException as error:  # raised in the caller's thread
                self._error = error

    def put(self, item: Item) -> None:
        """Queue one item, waiting while the queue is full."""
        if self._error is not None:
            raise self._error
        self._buffer.put(item)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._buffer.put(_End())
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error
