"""The tasks of a plan, live: on the processes of this machine, or on a cluster that Dask runs.

The tasks are those of :mod:`seqsal.pipeline.units`, in a hidden folder next to the result, which stays until they are
joined: whatever dies, the same command goes on with what is done. A worker that is killed costs its task, which another
does. Dask is imported here and in :mod:`seqsal.pipeline.slurm` only.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from seqsal.attribution.api import OpenRequest, open_request
from seqsal.attribution.request import make_request, read_model_of
from seqsal.auditing.context import SPREAD, AuditContext
from seqsal.auditing.run import open_audited
from seqsal.errors import SeqsalError, StoreError, UsageError, counted, first_line
from seqsal.experiments.variants import open_scorer
from seqsal.experiments.variants.score import VariantScorer
from seqsal.io.atomic import check_writable
from seqsal.io.progress import bar as progress_bar
from seqsal.io.store import read_attributions
from seqsal.models import resolve_device
from seqsal.pipeline.slurm import slurm_client
from seqsal.pipeline.units import (
    FILES,
    MOST_TASKS,
    N_NAMED,
    Plan,
    is_of,
    merge_units,
    plan_units,
    rooted,
    task_edges,
    work_unit,
)
from seqsal.regions import format_region
from seqsal.version import VERSION

__all__ = ["attribute_on", "audit_on", "score_on", "variants_on"]

TRIES = 3  # of a task
ENVIRONMENT = "distributed.nanny.pre-spawn-environ"  # which variables of our own environment override
KEEPING = {  # for glibc: freed memory stays; by Dask's threshold of 64 kB each batch asks for its pages again
    "MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1, "MALLOC_MMAP_THRESHOLD_": 32 << 20, "MALLOC_TOP_PAD_": 64 << 20,
}  # fmt: skip
TASKS_A_WORKER = 4  # so that fast ones wait little for slow ones
CONNECT_SECONDS = 10
ONE_TASK = threading.Lock()  # in a process: its model, which a worker's threads share, keeps notes of a pass
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
        same files; ``slurm:FILE.toml`` starts workers as jobs.
    model
        A model file or factory, or several that are an ensemble.
    out
        Attribution file to write; one that is finished, of the same request, stays.
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
        n_workers = _count_workers(client, scheduler)
        wanted = units or min(n_workers * TASKS_A_WORKER, MOST_TASKS)
        plan = plan_units([model], folder, units=wanted, workers=None if units else n_workers, **arguments)
        if not _is_finished(out, plan):
            _check_workers(client, [str(plan.folder.absolute()), *_files_of(plan.requests[0])])
            logger.info(
                "scheduler: %s on %s, dashboard %s",
                counted(len(plan.tasks), "task"),
                counted(n_workers, "worker"),
                client.dashboard_link,
            )
            failed = _work(client, scheduler, plan, progress)
            if failed:
                raise _without(plan, out, failed)
            merge_units(folder, out)
    shutil.rmtree(folder, ignore_errors=True)
    return out


def _without(plan: Plan, out: Path, failed: Mapping[int, str]) -> StoreError:
    """Write what there is without the tasks that failed; returns the error that lists their regions."""
    with open_request(make_request(**plan.requests[0])) as opened:
        ends = ("chrom", "start", "end")
        table = opened.source.windows[list(ends)]
        spans = [[format_region(*table.iloc[row]) for row in (first, last - 1)]
                 for first, last in (plan.tasks[task].windows for task in failed)]  # fmt: skip
    told = "; ".join(f"{first} to {last}" for first, last in spans[:N_NAMED]) + "; …" * (len(spans) > N_NAMED)
    kept = "nothing was written"
    if len(failed) < len(plan.tasks):
        merge_units(plan.folder, out, partial=True)
        kept = f"all others are in {out}, which names what it lacks in its attribute missing_tasks"
    task, reason = next(iter(failed.items()))
    return StoreError(
        f"scheduler: {len(failed):,} of {len(plan.tasks):,} tasks failed, those of windows {told}; task {task} with: "
        f"{reason}; {kept}; the same command tries those tasks again"
    )


def _is_finished(out: Path, plan: Plan) -> bool:
    """Whether the file is there, of the same request, with as many controls as are planned, or more."""
    if not is_of(out, plan.fingerprints[0]):
        return False
    with h5py.File(out, "r") as file:
        return (len(file["null/source"]) if "null/source" in file else 0) >= plan.tasks[-1].controls[1]


def score_on(
    scheduler: str, model: str | Sequence[str], *, progress: bool | None = False, **arguments: Any
) -> pd.DataFrame:
    """Predict by the workers of a scheduler; the table is that of :func:`seqsal.score`.

    Parameters and errors as for :func:`attribute_on`.
    """
    request = rooted(make_request(model, **arguments).arguments())
    with open_request(make_request(**request)) as opened, _client(scheduler) as client:
        n_units = min(_count_workers(client, scheduler) * TASKS_A_WORKER, len(opened.source))
        edges = task_edges(len(opened.source), n_units, (1 << 20) // opened.source.length)
        frozen = _frozen(request, _files_of(request))
        jobs = ((frozen, first, stop) for first, stop in pairwise(edges))
        with progress_bar(total=len(opened.source), unit="window", disable=_hidden(progress)) as bar:
            parts = []
            for part in mapped(client, scheduler, _predict, jobs, _files_of(request)):
                parts.append(part)
                bar.update(part.shape[1])
        return opened.score_table(np.concatenate(parts, axis=1))


@contextmanager
def variants_on(scheduler: str, **arguments: Any) -> Iterator[VariantScorer]:
    """Open a scorer of variants whose windows are predicted by the workers of a scheduler.

    Parameters and errors as for :func:`attribute_on`; `arguments` are those of `open_scorer`.
    """
    given = rooted({name: value for name, value in arguments.items() if name != "progress"})
    with open_scorer(**arguments) as scorer, _client(scheduler) as client:
        _count_workers(client, scheduler)
        files = _files_of(given)
        frozen = _frozen(given, files)
        scorer.score_jobs = lambda jobs: mapped(
            client, scheduler, _score_alike, ((frozen, *job) for job in jobs), files
        )
        yield scorer


@contextmanager
def audit_on(
    scheduler: str, attributions: str | os.PathLike[str], model: str | Sequence[str], seed: int, of: dict[str, Any],
    reading: dict[str, Any],
) -> Iterator[None]:  # fmt: skip
    """Have the audits of this block predict and attribute by the workers of a scheduler.

    Parameters and errors as for :func:`attribute_on`; `attributions` is the file under audit, `of` what is audited of
    it (`result`, and the arguments of `open_audited`), and `reading` how the model is read.
    """
    reading = rooted({**reading, "genome": os.fspath(attributions), "model": model})
    files = _files_of(reading)
    frozen = _frozen([reading.pop("genome"), reading.pop("model"), seed, of, reading], files)
    with _client(scheduler) as client:
        _count_workers(client, scheduler)
        token = SPREAD.set(
            lambda name, jobs: mapped(client, scheduler, _ask, ((frozen, name, job) for job in jobs), files)
        )
        try:
            yield
        finally:
            SPREAD.reset(token)


def _frozen(value: Any, files: Sequence[str]) -> str:
    """Write arguments down, with what tells whether their files have changed since a worker opened them."""
    stamps = [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, files)]
    return f"{json.dumps(value)}\n{stamps}"


def _thawed(text: str) -> Any:
    return json.loads(text.partition("\n")[0])


def _ask(arguments: str, name: str, job: dict[str, Any]) -> Any:
    return getattr(_opened_audit(arguments), name)(**job)


@functools.lru_cache(maxsize=2)
def _opened_audit(arguments: str) -> AuditContext:
    """Open what is audited on a worker, for as long as that lives."""
    path, model, seed, of, reading = _thawed(arguments)
    attr = open_audited(read_attributions(path, of.pop("result"), in_memory=False), **of)
    reading["device"] = resolve_device(reading["device"])
    return AuditContext(attr, read_model_of(model, attr, **reading), device=reading["device"], seed=seed)


def _predict(request: str, first: int, stop: int) -> NDArray[np.float32]:
    return _opened_request(request).predict(first, stop)


def _score_alike(arguments: str, alleles: Any, n_each: Any) -> Any:
    return _opened_scorer(arguments).score_alike(alleles, n_each)


@functools.lru_cache(maxsize=2)
def _opened_request(request: str) -> OpenRequest:
    """Open a request on a worker, for as long as that lives."""
    return open_request(make_request(**_thawed(request)))


@functools.lru_cache(maxsize=2)
def _opened_scorer(arguments: str) -> VariantScorer:
    """Open a scorer of variants on a worker, for as long as that lives."""
    return open_scorer(**_thawed(arguments))


def mapped(
    client: Any, scheduler: str, function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]],
    files: Sequence[str] = (),
) -> Iterator[Any]:  # fmt: skip
    """Yield what a function of a worker gives for each job, in order, with a few of them on their way.

    SeqsalError: the input is to blame; StoreError: the scheduler was lost, a job failed three times, or a worker does
    not see one of `files`.
    """
    import distributed

    _check_workers(client, files)
    most = 2 * _count_workers(client, scheduler)
    waiting: deque[Any] = deque()
    try:
        for number, job in enumerate(jobs):
            key = f"seqsal-{function.__name__}-{os.getpid()}-{number}"
            waiting.append(client.submit(_answer, function, job, key=key, retries=TRIES - 1))
            if len(waiting) >= most:
                yield _value(waiting.popleft().result())
        while waiting:
            yield _value(waiting.popleft().result())
    except (OSError, distributed.client.FutureCancelledError) as error:
        raise StoreError(
            f"scheduler: {scheduler} was lost ({first_line(error)}); run the same command again"
        ) from error
    except distributed.scheduler.KilledWorker as error:
        raise StoreError(
            f"scheduler: a task failed {TRIES} times ({first_line(error)}); see the worker's log"
        ) from error


def _answer(function: Callable[..., Any], job: tuple[Any, ...]) -> Any:
    """Call a function on a worker; what the input is to blame for is returned, since trying again would not help."""
    try:
        with ONE_TASK:
            return function(*job)
    except SeqsalError as error:
        return error


def _value(answer: Any) -> Any:
    if isinstance(answer, SeqsalError):
        raise answer
    return answer


def _hidden(progress: bool | None) -> bool | None:
    return None if progress is None else not progress


def _count_workers(client: Any, scheduler: str) -> int:
    """How many workers there are, or will be; StoreError if there is none yet."""
    n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
    if not n_workers:
        raise StoreError(f"scheduler: {scheduler} has no workers; start some (`dask worker {scheduler}`)")
    return max(n_workers, len(client.cluster.plan) if client.cluster is not None else 0)  # some may wait in a queue


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    """Connect to a scheduler, or start one."""
    try:
        import dask
        import distributed
    except ImportError:
        raise UsageError("scheduler: needs Dask, which is not installed; pip install 'seqsal[distributed]'") from None
    kind, _, rest = scheduler.partition(":")
    if kind == "local":
        if not rest.isdigit() or int(rest) < 1:
            raise UsageError(f"scheduler: got {scheduler!r}, expected local:N with N workers of 1 or more")
        environment = {**dask.config.get(ENVIRONMENT), **KEEPING}
        with (
            dask.config.set({ENVIRONMENT: environment}),
            distributed.LocalCluster(
                n_workers=int(rest), threads_per_worker=1, processes=True, silence_logs=logging.CRITICAL,
                dashboard_address=":0",
            ) as cluster,
            distributed.Client(cluster) as client,
        ):  # fmt: skip
            client.run(_share_cores, int(rest))
            yield client
        return
    if kind == "slurm":
        with slurm_client(Path(rest), KEEPING) as client:
            yield client
        return
    if kind not in ("tcp", "tls"):
        raise UsageError(f"scheduler: got {scheduler!r}, expected local:N, tcp://host:port or slurm:FILE.toml")
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


def _files_of(arguments: Mapping[str, Any]) -> list[str]:
    """Files of this machine that a request names."""
    named = (one for name in FILES for one in np.atleast_1d(np.asarray(arguments.get(name), dtype=object)))
    return [one for one in named if isinstance(one, str) and os.path.isfile(one)]


def _look(files: Sequence[str]) -> tuple[tuple[str, str], list[str]]:
    """Say on a worker which versions it has, and which of the files it does not see."""
    return _versions(), [one for one in files if not os.path.exists(one)]


def _check_workers(client: Any, files: Sequence[str] = ()) -> None:
    """Raise unless every worker has these versions of seqsal and torch, and sees these files."""
    expected = _versions()
    for worker, found in client.run(_look, list(files), on_error="return").items():
        if isinstance(found, OSError):  # it was lost meanwhile: others do its work
            continue
        if isinstance(found, BaseException):
            raise StoreError(
                f"scheduler: worker {worker} cannot run seqsal ({first_line(found)}); install seqsal {VERSION} there"
            )
        versions, missing = found
        for name, ours, theirs in zip(("seqsal", "torch"), expected, versions, strict=True):
            if ours != theirs:
                raise StoreError(
                    f"scheduler: worker {worker} has {name} {theirs}, here is {ours}; install {name} {ours} there"
                )
        if missing:
            raise StoreError(
                f"scheduler: worker {worker} does not see {', '.join(missing)}; expected the same files on all "
                "machines, mount them there under the same path"
            )


def _task(folder: str, task: int) -> str:
    """Do a task on a worker; what the input is to blame for is returned, since trying again would not help."""
    try:
        with ONE_TASK:
            work_unit(folder, task, keep=True)
    except SeqsalError as error:
        import distributed

        return f"{error} (worker {distributed.get_worker().address})"
    return ""


def _work(client: Any, scheduler: str, plan: Plan, progress: bool | None) -> dict[int, str]:
    """Have all tasks done that are not; returns those that failed, and why."""
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
                      disable=_hidden(progress)) as bar:  # fmt: skip
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
    return failed
