"""A real Slurm of one node, started here and stopped after: the script of a plan, and workers through dask-jobqueue.

    SEQSAL_SLURM=1 pytest tests/pipeline/test_slurm.py

It needs Debian's `slurm-wlm` and `munge` (`apt-get install slurm-wlm`), takes some minutes, and leaves the machine's
own Slurm, if there is one, alone: sockets, ports, state and logs are its own.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from command_line import call

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scancel")
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not os.environ.get("SEQSAL_SLURM") or not all(shutil.which(one, path=SEARCHED) for one in PROGRAMS),
        reason="starts a Slurm, where SEQSAL_SLURM is set and slurm-wlm is installed",
    ),
]
CONFIGURATION = """ClusterName=seqsal
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def wait_for(what: str, is_so: Callable[[], object], seconds: float, logs: Path) -> None:
    """Look every half second; the ends of the logs go with the failure."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            told = [f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in sorted(logs.glob("*.log"))]
            pytest.fail(f"{what}: not within {seconds} s\n" + "\n".join(told))
        time.sleep(0.5)


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start munged, slurmctld and slurmd; yields their folder."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key, conf = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    conf.write_text(CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2), user=getpass.getuser()))
    found = {name: str(shutil.which(name, path=SEARCHED)) for name in PROGRAMS}
    ends = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{option}={folder}/munge.{end}" for option, end in ends.items()]
    daemons = (
        [found["munged"], "--foreground", "--force", *munge],
        [found["slurmctld"], "-D", "-i", "-f", str(conf)],
        [found["slurmd"], "-D", "-N", host, "-f", str(conf)],
    )
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("SLURM_CONF", str(conf))
        patch.setenv("PATH", SEARCHED)
        running = []
        try:
            for command in daemons:
                log = stack.enter_context((folder / f"{Path(command[0]).name}.out.log").open("wb"))
                running.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
                if command is daemons[0]:
                    wait_for("munged", (folder / "munge.socket").exists, 10, folder)

            def is_idle() -> bool:
                told = subprocess.run([found["sinfo"], "--noheader", "--format=%t"], capture_output=True, check=False)
                return told.stdout.strip() == b"idle"

            wait_for("an idle node", is_idle, 60, folder)
            yield folder
        finally:
            stop(running, found, str(conf))


def stop(running: list[subprocess.Popen[bytes]], found: dict[str, str], conf: str) -> None:
    """End all jobs, and then the daemons and what they have left."""
    subprocess.run([found["scancel"], "--user", getpass.getuser()], check=False, capture_output=True)
    for _ in range(30):
        queue = subprocess.run([found["squeue"], "--noheader"], check=False, capture_output=True).stdout
        if not queue.strip():
            break
        time.sleep(0.5)
    for one in reversed(running):
        one.terminate()
    for one in running:
        try:
            one.wait(20)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
    for process in psutil.process_iter(["name", "cmdline"]):
        with suppress(psutil.Error):
            if "slurmstepd" in " ".join(process.info["cmdline"] or ()) and process.environ().get("SLURM_CONF") == conf:
                process.kill()


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Model, genome and regions, as options."""
    from seqsal.models import CNN, CNNConfig, save_checkpoint

    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    (folder / "g.fa").write_text(f">chr1\n{''.join(rng.choice(list('ACGT'), 9_000))}\n")
    (folder / "r.bed").write_text("".join(f"chr1\t{at}\t{at + 60}\n" for at in range(0, 8_900, 30)))
    save_checkpoint(folder / "M.safetensors", CNN(CNNConfig(60, n_filters=8, n_blocks=1, stem_kernel=7)).eval(), {})
    given = {"--model": "M.safetensors", "--genome": "g.fa", "--regions": "r.bed"}
    named = [word for option, name in given.items() for word in (option, str(folder / name))]
    return [*named, "--method", "ism", "--controls", "40", "--device", "cpu"]


@pytest.fixture(scope="module")
def expected(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "one.h5"
    call("attribute", *words, "--out", str(out))
    return out


def contents(path: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda name, item: found.update({name: item[...].tobytes() if item.dtype != object else item[...].tolist()})
            if isinstance(item, h5py.Dataset) else None
        )  # fmt: skip
    return found


def test_the_script_of_a_plan_runs_and_merges(slurm: Path, words: list[str], expected: Path, tmp_path: Path) -> None:
    out = tmp_path / "A.h5"
    call("plan", *words, "--units", "3", "--for", "slurm", "--merged", str(out), "--out", str(tmp_path / "plan"))
    subprocess.run([tmp_path / "plan" / "slurm.sh", "--ntasks=1", "--mem=900"], check=True)
    wait_for("the merged file", out.exists, 150, tmp_path / "plan")
    assert contents(out) == contents(expected)


def test_a_cancelled_task_is_told_and_done_again(slurm: Path, words: list[str], expected: Path, tmp_path: Path) -> None:
    out, plan = tmp_path / "A.h5", tmp_path / "a %a plan"
    call("plan", *words, "--units", "3", "--for", "slurm", "--merged", str(out), "--out", str(plan))
    script, log = plan / "slurm.sh", plan / "merge.log"
    subprocess.run([script, "--mem=900"], check=True)
    subprocess.run(["scancel", "--name=seqsal", "--state=PENDING"], check=True)  # the third waits for a core at least
    wait_for("the merge", lambda: log.exists() and "error" in log.read_text(), 150, plan)
    told = log.read_text()
    assert "of 3 tasks are missing" in told and f"{plan}/slurm.sh again" in told and not out.exists()
    subprocess.run([script, "--mem=900"], check=True)
    wait_for("the merged file", out.exists, 150, plan)
    assert contents(out) == contents(expected)


def test_workers_are_jobs(slurm: Path, words: list[str], expected: Path, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    settings = tmp_path / "slurm.toml"
    settings.write_text(
        'workers = 2\ncores = 1\nmemory = "900MB"\nwalltime = "00:10:00"\ninterface = "lo"\n'
        f'log_directory = "{tmp_path}"\n'
    )
    call("attribute", *words, "--out", str(tmp_path / "A.h5"), "--scheduler", f"slurm:{settings}")
    assert contents(tmp_path / "A.h5") == contents(expected)
    assert len(list(tmp_path.glob("*.out"))) == 2  # what its jobs wrote


def test_workers_that_are_cancelled_are_replaced(slurm: Path, words: list[str], expected: Path, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    settings, out = tmp_path / "slurm.toml", tmp_path / "A.h5"
    settings.write_text('workers = 2\ncores = 1\nmemory = "900MB"\nwalltime = "00:10:00"\ninterface = "lo"\n'
                        f'log_directory = "{tmp_path}"\n')  # fmt: skip

    def cancel() -> None:
        while not list(tmp_path.glob(".A.h5.units/task-*.h5")):
            time.sleep(0.02)
        subprocess.run(["scancel", "--user", getpass.getuser()], check=True)

    thread = threading.Thread(target=cancel, daemon=True)
    thread.start()
    done = call("attribute", *words, "--out", str(out), "--scheduler", f"slurm:{settings}")
    thread.join(10)
    assert done.exit_code == 0, done.output
    assert contents(out) == contents(expected)
    assert len(list(tmp_path.glob("*.out"))) > 2
