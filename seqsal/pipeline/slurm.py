"""Workers of Dask as jobs of Slurm, by dask-jobqueue. A job that ends before the work does is replaced.

Dask itself would wait for ever: it does not hear of a job that ends before its worker has come, and submits none in
place of one that was cancelled or ran out of time.
"""

from __future__ import annotations

import getpass
import logging
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seqsal.errors import StoreError, UsageError, first_line
from seqsal.io.config import read_config

__all__ = ["slurm_client"]

TRIES = 3  # of each job to start a worker
LOOK_SECONDS = 5.0  # between looks at the queue
QUEUE_SECONDS = 3600.0  # that the first job may wait
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
logger = logging.getLogger(__name__)


@contextmanager
def slurm_client(path: Path, exported: Mapping[str, object]) -> Iterator[Any]:
    """Start workers as jobs, as a TOML file says: `workers`, and what dask-jobqueue's SLURMCluster takes.

    Each process of a job does one task at a time, with its share of the job's cores.

    Parameters
    ----------
    path
        The TOML file.
    exported
        Variables of a job's environment, where it does not set them itself.

    Raises
    ------
    UsageError
        The file is wrong, dask-jobqueue is not installed, or sbatch refuses the jobs.
    StoreError
        No job starts, or none of them starts a worker.
    """
    settings = read_config(path, "slurm")
    n_jobs = settings.pop("workers", None)
    if not isinstance(n_jobs, int) or n_jobs < 1:
        raise UsageError(f"{path}: workers: got {n_jobs!r}, expected a number of jobs of 1 or more")
    try:
        import distributed
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UsageError(
            "scheduler: slurm needs dask-jobqueue, which is not installed; pip install 'seqsal[distributed]', or "
            "submit tasks yourself (`seqsal plan --for slurm`)"
        ) from None
    try:
        cluster = SLURMCluster(**_one_task_at_a_time(settings, exported))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: SLURMCluster refuses it ({first_line(error)}); see dask-jobqueue") from error
    with cluster, distributed.Client(cluster) as client:
        jobs = _Jobs(path, cluster, client, n_jobs)
        jobs.submit()
        jobs.start()
        try:
            jobs.await_worker()
            yield client
        except StoreError as error:
            if jobs.given_up:
                raise StoreError(jobs.given_up) from error
            raise
        finally:
            jobs.end()


def _one_task_at_a_time(settings: Mapping[str, Any], exported: Mapping[str, object]) -> dict[str, Any]:
    """Turn the cores of a job into threads of torch, not of Dask."""
    from distributed.deploy.utils import nprocesses_nthreads

    found, exported = dict(settings), dict(exported)
    if "cores" in found:
        n_processes = found.setdefault("processes", nprocesses_nthreads(found["cores"])[0])
        exported |= dict.fromkeys(THREADS, max(found["cores"] // n_processes, 1))
        found["job_cpu"] = found.get("job_cpu") or found["cores"]
        found["cores"] = n_processes
    lines = [f"export {name}=${{{name}:-{value}}}" for name, value in exported.items()]
    found.setdefault("silence_logs", logging.CRITICAL)
    found["job_script_prologue"] = [*found.get("job_script_prologue", []), *lines]
    return found


class _Jobs(threading.Thread):
    """The jobs of a cluster; a thread replaces those that end, unless too many do so before their worker comes."""

    def __init__(self, path: Path, cluster: Any, client: Any, n_jobs: int) -> None:
        super().__init__(name="seqsal-jobs", daemon=True)
        self.given_up = ""  # why
        self._path, self._cluster, self._client, self._n_jobs = path, cluster, client, n_jobs
        self._came: set[str] = set()  # jobs whose worker has come
        self._n_in_vain = 0  # jobs that ended before theirs did, since the last that came
        self._over = threading.Event()

    def submit(self) -> None:
        """Submit all; UsageError: Slurm refuses."""
        try:
            self._add(self._n_jobs)
        except FileNotFoundError as error:
            raise UsageError(
                f"scheduler: {error.filename} is not on this machine; run where Slurm is, or use local:N"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"{self._path}: sbatch refuses its jobs ({_said(error)}); see `sinfo`") from error

    def await_worker(self) -> None:
        """Return when there is a worker; StoreError where none comes."""
        end = time.monotonic() + QUEUE_SECONDS
        while not self._workers():
            if self.given_up:
                raise StoreError(self.given_up)
            if time.monotonic() > end:
                raise StoreError(
                    f"scheduler: no job of {self._path} has started in {QUEUE_SECONDS:.0f} s; see `squeue`"
                )
            time.sleep(0.2)

    def run(self) -> None:
        """Look after the jobs."""
        while not self._over.wait(LOOK_SECONDS) and not self.given_up:
            queued = _queued()
            if queued is not None:
                self._look(queued)

    def end(self) -> None:
        """Replace no more jobs."""
        self._over.set()
        self.join()

    def _workers(self) -> list[str]:
        return [str(worker.name) for worker in list(self._cluster.scheduler.workers.values())]

    def _add(self, n: int) -> None:
        spec = self._cluster.worker_spec
        for _ in range(n):
            spec.update(self._cluster.new_worker_spec())
        try:
            self._cluster.sync(self._cluster._correct_state)
        finally:
            for job in self._cluster.workers.values():
                if job.job_id is None:  # else the cluster would complain of it when it closes
                    job.status = type(job.status).failed

    def _look(self, queued: set[str]) -> None:
        workers, jobs = self._workers(), dict(self._cluster.workers)
        came = {name for name in jobs if any(f"{worker}-".startswith(f"{name}-") for worker in workers)}
        if came - self._came:
            self._came |= came
            self._n_in_vain = 0
        spec = self._cluster.worker_spec
        ended = [name for name in spec if name not in jobs or jobs[name].job_id not in queued]
        if not ended or (workers and self._n_in_vain >= TRIES * self._n_jobs):
            return
        self._n_in_vain += sum(name not in self._came for name in ended)
        if self._n_in_vain >= TRIES * self._n_jobs:
            if not workers:
                self._give_up(jobs.get(ended[-1]))
            return
        logger.warning("scheduler: %d jobs of %s have ended; others are submitted", len(ended), self._path)
        for name in ended:
            spec |= self._cluster.new_worker_spec()  # under a new name: the old worker's may still be known
            del spec[name]
        try:
            self._add(0)
        except (OSError, RuntimeError, ValueError) as error:
            logger.warning("scheduler: sbatch refuses (%s)", _said(error))

    def _give_up(self, job: Any) -> None:
        number = None if job is None else job.job_id
        name = f"slurm-{number}.out"
        if number and job.log_directory:
            name = f"{job.log_directory}/{job.job_name}-{number}.err"
        self.given_up = (
            f"scheduler: {self._n_in_vain} jobs of {self._path} ended before their workers came"
            f"{f', the last was {number} (see {name})' if number else ''}; mend it and run the same command again"
        )
        self._client.close()  # what waits for it ends with an error


def _queued() -> set[str] | None:
    """Return the numbers of all own jobs that wait or run; None where Slurm does not answer."""
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%A"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("scheduler: squeue does not answer (%s)", error)
        return None
    return set(told.stdout.split())


def _said(error: BaseException) -> str:
    """Return the first line that sbatch wrote to its errors."""
    lines = str(error).partition("stderr:")[2].split("\n")
    return next((line.strip() for line in lines if line.strip()), first_line(error))
