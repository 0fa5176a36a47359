"""The tasks of a plan, live: on the processes of this machine, or on a cluster that Dask runs.

The tasks are those of :mod:`seqsal.pipeline.units`, in a hidden folder next to the result, which stays until they are
joined: whatever dies, the same command goes on with what is done. A worker that is killed costs its task, which another
does. Dask is imported here and nowhere else.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seqsal.errors import SeqsalError, StoreError, UsageError, first_line
from seqsal.io.atomic import check_writable
from seqsal.io.progress import bar as progress_bar
from seqsal.pipeline.units import MOST_TASKS, Plan, merge_units, plan_units, work_unit
from seqsal.version import VERSION

__all__ = ["attribute_on"]

TRIES = 3  # of a task
TASKS_A_WORKER = 4  # so that fast ones wait little for slow ones
CONNECT_SECONDS = 10
logger = logging.getLogger(__name__)


def attribute_on(
    scheduler: str, model: str | Sequence[str], out: str | os.PathLike[str], *, units: int | None = None,
    progress: bool | None = False, **arguments: Any,
) -> Path:  # fmt: skip
    """Attribute by the workers of a scheduler; the file is that of :func:`seqsal.attribute`.

    Parameters
    ----------
    scheduler
        ``local:N`` starts N processes here; ``tcp://host:port`` is a running scheduler of Dask, whose workers see the
        same files.
    model
        A model file or factory, or several that are an ensemble.
    out
        Attribution file to write.
    units
        Tasks; None makes four for each worker.
    progress
        Show a bar over tasks.
    arguments
        Those of :func:`seqsal.attribute`.

    Raises
    ------
    UsageError
        The scheduler is of no known kind, or Dask is not installed.
    StoreError
        It cannot be reached or is lost, its workers have other versions, or a task fails three times.
    """
    out = check_writable(out)
    folder = out.with_name(f".{out.name}.units")
    with _client(scheduler) as client:
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        if not n_workers:
            raise StoreError(f"scheduler: {scheduler} has no workers; start some (`dask worker {scheduler}`)")
        wanted = units or min(n_workers * TASKS_A_WORKER, MOST_TASKS)
        plan = plan_units([model], folder, units=wanted, at_most=units is None, **arguments)
        _check_workers(client)
        logger.info(
            "scheduler: %d tasks on %d workers, dashboard %s", len(plan.tasks), n_workers, client.dashboard_link
        )
        _work(client, scheduler, plan, progress)
    merge_units(folder, out)
    shutil.rmtree(folder, ignore_errors=True)
    return out


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    """Connect to a scheduler, or start one."""
    try:
        import distributed
    except ImportError:
        raise UsageError("scheduler: needs Dask, which is not installed; pip install 'seqsal[distributed]'") from None
    kind, _, rest = scheduler.partition(":")
    if kind == "local":
        if not rest.isdigit() or int(rest) < 1:
            raise UsageError(f"scheduler: got {scheduler!r}, expected local:N with N workers of 1 or more")
        with (
            distributed.LocalCluster(
                n_workers=int(rest), threads_per_worker=1, processes=True, silence_logs=logging.CRITICAL,
                dashboard_address=":0",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):  # fmt: skip
            client.run(_share_cores, int(rest))
            yield client
        return
    if kind not in ("tcp", "tls"):
        raise UsageError(f"scheduler: got {scheduler!r}, expected local:N or tcp://host:port")
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS)
    except OSError as error:
        raise StoreError(
            f"scheduler: {scheduler} does not answer ({first_line(error)}); start it (`dask scheduler`), or use local:N"
        ) from error
    with client:
        yield client


def _share_cores(n_workers: int) -> None:
    """Give each worker of this machine its share of the cores."""
    torch.set_num_threads(max(len(os.sched_getaffinity(0)) // n_workers, 1))


def _versions() -> tuple[str, str]:
    return VERSION, torch.__version__.partition("+")[0]


def _check_workers(client: Any) -> None:
    """Raise unless every worker has these versions of seqsal and torch."""
    expected = _versions()
    for worker, found in client.run(_versions, on_error="return").items():
        if isinstance(found, BaseException):
            raise StoreError(f"scheduler: worker {worker} cannot run seqsal ({first_line(found)}); install it there")
        for name, ours, theirs in zip(("seqsal", "torch"), expected, found, strict=True):
            if ours != theirs:
                raise StoreError(f"scheduler: worker {worker} has {name} {theirs}, here is {ours}; install the same")


def _task(folder: str, task: int) -> str:
    """Do a task on a worker; what the input is to blame for is returned, since trying again would not help."""
    try:
        work_unit(folder, task, keep=True)
    except SeqsalError as error:
        return str(error)
    return ""


def _work(client: Any, scheduler: str, plan: Plan, progress: bool | None) -> None:
    """Have all tasks done that are not."""
    import distributed

    due = plan.missing(range(len(plan.tasks)))
    folder = str(plan.folder.absolute())
    futures = {
        client.submit(
            _task, folder, task, key=f"seqsal-{plan.fingerprints[0][:12]}-{task}-{os.getpid()}", retries=TRIES - 1
        ): task
        for task in due
    }
    failed: dict[int, str] = {}
    with progress_bar(total=len(plan.tasks), initial=len(plan.tasks) - len(due), desc="tasks", unit="task",
                      disable=None if progress is None else not progress) as bar:  # fmt: skip
        try:
            for future in distributed.as_completed(futures):
                task = futures[future]
                if future.status in ("cancelled", "lost"):
                    raise ConnectionError(future.status)
                reason = first_line(future.exception()) if future.status == "error" else future.result()
                if reason:
                    failed[task] = reason
                bar.update(1)
        except (OSError, distributed.client.FutureCancelledError) as error:
            raise StoreError(
                f"scheduler: {scheduler} was lost ({first_line(error)}); run the same command again, it goes on with "
                f"the {len(plan.tasks) - len(plan.missing(range(len(plan.tasks)))):,} tasks that are done"
            ) from error
    if failed:
        task, reason = next(iter(failed.items()))
        first, last = plan.tasks[task].windows
        raise StoreError(
            f"scheduler: {len(failed):,} of {len(plan.tasks):,} tasks failed, task {task} (windows {first:,} to "
            f"{last:,}) with: {reason}; the others are kept in {plan.folder}: run again, or join them with `seqsal "
            f"merge {plan.folder} --partial`"
        )
