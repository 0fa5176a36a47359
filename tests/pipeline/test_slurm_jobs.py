"""Workers as jobs, with an `sbatch` that starts them at once: what becomes of jobs that end too early."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from seqsal.errors import StoreError, UsageError
from seqsal.pipeline import slurm
from seqsal.pipeline.schedulers import KEEPING, _client, _count_workers
from seqsal.pipeline.slurm import slurm_client

pytest.importorskip("dask_jobqueue")
PROGRAMS = {
    "sbatch": 'n=$(($(ls {folder} | grep -c sh$) + 1)); cp "$1" {folder}/$n.sh; cd {folder}\n'
              "setsid bash $n.sh > $n.log 2>&1 < /dev/null & echo $! > $n.pid; echo Submitted batch job $n",
    "squeue": "cd {folder}; for one in *.pid; do kill -0 $(cat $one) 2> /dev/null && echo ${{one%.pid}}; done; true",
    "scancel": "kill -- -$(cat {folder}/$1.pid)",
}  # fmt: skip


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put programs of Slurm on the path; yields the folder of the scripts and process groups of their jobs."""
    folder, programs = tmp_path / "jobs", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text("#!/bin/bash\n" + text.format(folder=folder) + "\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.2)
    yield folder
    for pid in folder.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def settings(folder: Path, *more: str) -> Path:
    path = folder / "c.toml"
    path.write_text("\n".join(['cores = 1\nmemory = "900MB"\ninterface = "lo"', *(more or ["workers = 1"])]))
    return path


@pytest.mark.slow
def test_a_job_that_is_cancelled_is_replaced(jobs: Path, tmp_path: Path) -> None:
    with slurm_client(settings(tmp_path), {}) as client:
        first = client.submit(os.getpid).result(timeout=60)
        os.killpg(int((jobs / "1.pid").read_text()), signal.SIGKILL)
        second = client.submit(os.getpid, pure=False).result(timeout=60)
    assert first != second
    assert sorted(path.name for path in jobs.glob("*.sh")) == ["1.sh", "2.sh"]


def test_jobs_that_start_no_worker_end_the_command(jobs: Path, tmp_path: Path) -> None:
    path = settings(tmp_path, "workers = 2", 'job_script_prologue = ["exit 1"]')
    with (
        pytest.raises(StoreError, match=r"[67] jobs of .*c\.toml ended before .*last was \d+ \(see slurm-\d+\.out\)"),
        slurm_client(path, {}),
    ):
        pytest.fail("there is no worker")
    assert len(list(jobs.glob("*.sh"))) <= 7


@pytest.mark.slow
def test_jobs_that_start_no_worker_later_end_it_too(jobs: Path, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    path = settings(tmp_path, "workers = 1", f'job_script_prologue = ["[ ! -e {stop} ] || exit 1"]')
    with pytest.raises(StoreError, match=r"3 jobs of .*c\.toml ended before"), slurm_client(path, {}) as client:
        waiting = client.submit(time.sleep, 100)
        stop.touch()
        os.killpg(int((jobs / "1.pid").read_text()), signal.SIGKILL)
        with pytest.raises(BaseException, match=r"cancelled"):
            waiting.result(timeout=60)
        raise StoreError("lost")


def test_what_sbatch_says_is_told(jobs: Path, tmp_path: Path) -> None:
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: no such partition' >&2; exit 1\n")
    with pytest.raises(UsageError, match=r"c\.toml: sbatch refuses .*sbatch: error: no such partition"):
        slurm_client(settings(tmp_path), {}).__enter__()
    (tmp_path / "bin" / "sbatch").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(UsageError, match="sbatch is not on this machine"):
            slurm_client(settings(tmp_path), {}).__enter__()
    with pytest.raises(UsageError, match="SLURMCluster refuses it"):
        slurm_client(settings(tmp_path, 'workers = 1\nprocesses = "two"'), {}).__enter__()


def test_a_process_has_one_task_and_its_share_of_the_cores(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    path = tmp_path / "c.toml"
    path.write_text('workers = 2\ncores = 8\nprocesses = 2\nmemory = "4GB"\njob_script_prologue = ["module() { :; }"]\n'
                    'interface = "lo"\n')  # fmt: skip
    with _client(f"slurm:{path}") as client:
        assert _count_workers(client, "slurm") == 4  # though not all have come
    script = (jobs / "1.sh").read_text()
    before, command, after = script.partition("-m distributed.cli.dask_worker")
    assert command and before.index("module()") < before.index("export MALLOC_TRIM_THRESHOLD_=")
    assert "--nworkers 2" in after and "--nthreads 1" in after and "--cpus-per-task=8" in before
    told = subprocess.run(
        ["bash", "-c", "\n".join(line for line in before.split("\n") if line.startswith("export")) + "\nenv"],
        capture_output=True, text=True, check=True, env={"MALLOC_TOP_PAD_": "7"},
    ).stdout.split()  # fmt: skip
    assert {f"MALLOC_TRIM_THRESHOLD_={KEEPING['MALLOC_TRIM_THRESHOLD_']}", "OMP_NUM_THREADS=4"} <= set(told)
    assert "MALLOC_TOP_PAD_=7" in told  # what a job sets itself stays
