"""Live schedulers: workers that share the tasks, one that is killed, and what cannot be used."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from command_line import call, refused

import seqsal
from seqsal.errors import StoreError, UsageError
from seqsal.pipeline.schedulers import attribute_on

pytest.importorskip("distributed")
L, N = 60, 300


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from seqsal.models import CNN, CNNConfig, save_checkpoint

    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    (folder / "g.fa").write_text(f">chr1\n{''.join(rng.choice(list('ACGT'), 9_000))}\n")
    starts = rng.integers(0, 9_000 - L, N)
    (folder / "r.bed").write_text("".join(f"chr1\t{s}\t{s + L}\n" for s in starts))
    save_checkpoint(folder / "M.safetensors", CNN(CNNConfig(L, n_filters=8, n_blocks=1, stem_kernel=7)).eval(), {})
    return {
        "model": str(folder / "M.safetensors"), "genome": folder / "g.fa", "regions": folder / "r.bed",
        "method": "ism", "n_controls": 60, "device": "cpu",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_give_the_file_of_one_process_though_one_is_killed(options: dict[str, Any], tmp_path: Path) -> None:
    out, one = tmp_path / "A.h5", tmp_path / "one.h5"
    killed: list[int] = []

    def kill() -> None:  # a worker, once the first task is done
        while not list(tmp_path.glob(".A.h5.units/task-*.h5")):
            time.sleep(0.02)
        children = psutil.Process().children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        killed.append(workers[0].pid)
        os.kill(workers[0].pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    attribute_on("local:2", options["model"], out, **{key: value for key, value in options.items() if key != "model"})
    thread.join(10)
    assert killed
    seqsal.attribute(out=one, **options)
    ours, theirs = seqsal.read_attributions(out), seqsal.read_attributions(one)
    np.testing.assert_allclose(ours.track, theirs.track, atol=1e-6)
    assert ours.controls is not None and theirs.controls is not None
    np.testing.assert_array_equal(ours.controls.codes, theirs.controls.codes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.h5", "one.h5"]


@pytest.mark.parametrize("scheduler", ["local:0", "local:", "local:two", "dask", "http://somewhere:80"])
def test_unknown_schedulers_are_refused(scheduler: str, options: dict[str, Any], tmp_path: Path) -> None:
    arguments = {key: value for key, value in options.items() if key != "model"}
    with pytest.raises(UsageError, match="expected local:N"):
        attribute_on(scheduler, options["model"], tmp_path / "A.h5", **arguments)
    assert not list(tmp_path.iterdir())


def test_one_that_does_not_answer_is_one_line(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqsal.pipeline.schedulers.CONNECT_SECONDS", 0.3)
    words = ("--model", options["model"], "--genome", options["genome"], "--regions", options["regions"])
    done = call("attribute", *words, "--out", tmp_path / "A.h5", "--scheduler", "tcp://127.0.0.1:9")
    refused(done, "tcp://127.0.0.1:9 does not answer", "use local:N")
    assert not list(tmp_path.iterdir())


def test_tasks_that_fail_are_told_and_the_others_kept(options: dict[str, Any], tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    from seqsal.pipeline import schedulers

    arguments = {key: value for key, value in options.items() if key != "model"}
    plan = schedulers.plan_units([options["model"]], tmp_path / "plan", units=4, **arguments | {"method": "saliency"})
    plan.result(2).symlink_to("/nonexistent/folder/task.h5")  # cannot be written
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
        with pytest.raises(StoreError, match=r"1 of 4 tasks failed, task 2 \(windows 128 to 192\) with: "):
            schedulers._work(client, "inproc", plan, False)
    assert [plan.result(task).exists() for task in range(4)] == [True, True, False, True]
