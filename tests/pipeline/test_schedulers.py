"""Live schedulers: workers that share the tasks, one that is killed, and what cannot be used."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import current_thread
from typing import Any

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from command_line import call, refused

import seqsal
from seqsal.attribution.request import read_model_of
from seqsal.auditing.context import AuditContext
from seqsal.errors import CheckpointError, StoreError, UsageError
from seqsal.pipeline import schedulers
from seqsal.pipeline.schedulers import attribute_on, audit_on, mapped, score_on
from seqsal.version import VERSION

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
    """Workers keep freed memory meanwhile: Dask's own threshold is 65536."""
    out, one = tmp_path / "A.h5", tmp_path / "one.h5"
    killed: list[int] = []
    thresholds: list[str] = []

    def kill() -> None:  # a worker, once the first task is done
        while not list(tmp_path.glob(".A.h5.units/task-*.h5")):
            time.sleep(0.02)
        children = psutil.Process().children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        thresholds.extend(worker.environ()["MALLOC_TRIM_THRESHOLD_"] for worker in workers)
        killed.append(workers[0].pid)
        os.kill(workers[0].pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    attribute_on("local:2", options["model"], out, **{key: value for key, value in options.items() if key != "model"})
    thread.join(10)
    assert killed and thresholds == ["2147483647"] * 2
    seqsal.attribute(out=one, **options)
    ours, theirs = seqsal.read_attributions(out), seqsal.read_attributions(one)
    np.testing.assert_allclose(ours.track, theirs.track, atol=1e-6)
    assert ours.controls is not None and theirs.controls is not None
    np.testing.assert_array_equal(ours.controls.codes, theirs.controls.codes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.h5", "one.h5"]


@pytest.fixture
def cluster() -> Iterator[str]:
    """A scheduler with two workers in this process, by its address."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, processes=False, dashboard_address=":0", protocol="tcp") as made:
        yield made.scheduler_address


@pytest.mark.usefixtures("no_pages")
def test_scores_variants_and_a_run_are_those_of_one_process(
    options: dict[str, Any], cluster: str, tmp_path: Path
) -> None:
    words = ("--model", options["model"], "--genome", options["genome"], "--device", "cpu", "--quiet")
    where = (*words, "--regions", options["regions"])
    bases = options["genome"].read_text().split("\n")[1]
    rows = [f"chr1\t{p + 1}\t{bases[p]}\t{'ACGT'['ACGT'.index(bases[p]) - 1]}" for p in range(100, 8_000, 800)]
    (tmp_path / "V.tsv").write_text("chrom\tpos\tref\talt\n" + "\n".join(rows) + "\n")
    for name, command in {
        "s.tsv": ("score", *where), "v.tsv": ("variants", *words, "--vcf", tmp_path / "V.tsv"),
        "run": ("run", *where, "--no-audit", "--controls", 60),
    }.items():  # fmt: skip
        for folder, more in (("one", ()), ("many", ("--scheduler", cluster))):
            (tmp_path / folder).mkdir(exist_ok=True)
            done = call(*command, *more, "--out", tmp_path / folder / name)
            assert done.exit_code == 0, done.output
    for name in ("s.tsv", "v.tsv", "run/scores.tsv", "run/peaks.tsv"):
        ours, theirs = (pd.read_csv(tmp_path / folder / name, sep="\t") for folder in ("many", "one"))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)
    found = [path.stat().st_mtime_ns for path in tmp_path.glob("many/run/attributions.h5")]
    attribute_on(cluster, options["model"], tmp_path / "many" / "run" / "attributions.h5", device="cpu", n_controls=60,
                 hypothetical=True, genome=options["genome"], regions=options["regions"])  # fmt: skip
    assert found == [path.stat().st_mtime_ns for path in tmp_path.glob("many/run/attributions.h5")]  # finished


def test_threads_of_a_worker_do_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client

    at_once, most = [0], [0]

    def work(*args: Any, **how: Any) -> None:
        at_once[0] += 1
        time.sleep(0.05)
        most[0] = max(most[0], at_once[0])
        at_once[0] -= 1

    monkeypatch.setattr(schedulers, "work_unit", work)
    with Client(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None) as client:
        tasks = [client.submit(schedulers._task, "plan", i) for i in range(4)]
        jobs = [client.submit(lambda i: schedulers._answer(work, (i,)), i) for i in range(4)]
        client.gather([*tasks, *jobs])
    assert most == [1]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a worker's files are closed when they are collected
def test_workers_that_live_on_see_that_the_model_has_changed(
    options: dict[str, Any], cluster: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from seqsal.models import CNN, CNNConfig, save_checkpoint

    opened = (schedulers._opened_request, schedulers._opened_scorer, schedulers._opened_audit)
    request.addfinalizer(lambda: ([cache.cache_clear() for cache in opened], gc.collect()))
    model = tmp_path / "M.safetensors"
    given = {"genome": options["genome"], "regions": options["regions"], "device": "cpu"}
    variants = pd.DataFrame({"chrom": "chr1", "pos": [4_000], "ref": "N", "alt": "A"})
    variants["ref"] = options["genome"].read_text().split("\n")[1][3_999]
    variants["alt"] = "C" if variants["ref"][0] == "A" else "A"
    variants.to_csv(tmp_path / "V.tsv", sep="\t", index=False)
    answers = []
    for seed in range(2):
        torch.manual_seed(seed)
        save_checkpoint(model, CNN(CNNConfig(L, n_filters=8, n_blocks=1, stem_kernel=7)).eval(), {})
        expected = seqsal.score(str(model), **given)["prediction"].to_numpy()
        found = score_on(cluster, str(model), **given)["prediction"].to_numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        tables = []
        for out, more in ((tmp_path / f"one{seed}.tsv", ()), (tmp_path / f"many{seed}.tsv", ("--scheduler", cluster))):
            done = call("variants", "--model", model, "--genome", options["genome"], "--vcf", tmp_path / "V.tsv",
                        "--device", "cpu", "--quiet", "--out", out, *more)  # fmt: skip
            assert done.exit_code == 0, done.output
            tables.append(pd.read_csv(out, sep="\t"))
        pd.testing.assert_frame_equal(*tables, rtol=1e-4)
        made = tmp_path / "A.h5"
        made.unlink(missing_ok=True)
        attr = seqsal.attribute(str(model), out=made, method="saliency", **given)
        here, there = (AuditContext(attr, read_model_of(str(model), attr), seed=3) for _ in range(2))
        codes = here.codes(here.rows(N))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("seqsal.auditing.context.SPREAD_BP", 100 * L)
            with audit_on(cluster, made, str(model), 3, {"result": None}, {"device": "cpu"}):
                np.testing.assert_allclose(there.predict(codes), here.predict(codes), rtol=1e-5, atol=1e-6)
        answers.append((expected, tables[0]["effect"].to_numpy(), there.predict(codes)))
    for first, second in zip(*answers, strict=True):
        assert abs(first - second).max() > 1e-3


def test_an_audit_asks_the_workers(options: dict[str, Any], cluster: str, tmp_path: Path) -> None:
    made = tmp_path / "A.h5"
    given = {key: options[key] for key in ("genome", "regions", "device")}
    attr = seqsal.attribute(options["model"], out=made, method="saliency", span=40, **given)
    model = read_model_of(options["model"], attr)
    here, there = (AuditContext(attr, model, seed=3) for _ in range(2))
    codes, rows = here.shuffled(here.codes(here.rows(N))), here.rows(N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqsal.auditing.context.SPREAD_BP", 100 * L)
        other = here.predict(codes, model), here.attribute(codes[:9], method="gradient_x_input", draw=1, rows=rows[:9])
        expected = here.predict(codes), here.predict(codes[:20], rows=rows[:20]), here.losses(8), *other[1:]
        asked: list[str] = []
        real = AuditContext.make_from
        patch.setattr(
            AuditContext, "make_from", lambda *a, **k: (asked.append(current_thread().name), real(*a, **k))[1]
        )
        with audit_on(cluster, made, options["model"], 3, {"result": None}, {"device": "cpu"}):
            found = (there.predict(codes), there.predict(codes[:20], rows=rows[:20]), there.losses(8),
                     there.attribute(codes[:9], method="gradient_x_input", draw=1, rows=rows[:9]))  # fmt: skip
            np.testing.assert_array_equal(there.predict(codes, model), other[0])  # by a model that is only here
        assert asked and current_thread().name not in asked
    for one, by_workers in zip(expected, found, strict=True):
        np.testing.assert_allclose(by_workers, one, rtol=1e-5, atol=1e-6)
    unnamed = shutil.copy(made, tmp_path / "unnamed.h5")
    with h5py.File(unnamed, "r+") as file:
        file.attrs["model"] = "{}"
    audit = call("audit", unnamed, "--out", tmp_path / "a.json", "--quiet", "--scheduler", cluster)
    refused(audit, "scheduler", "give --model")


def test_what_workers_cannot_use_is_told(options: dict[str, Any], cluster: str, tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(options["genome"].read_text())
    with pytest.raises(CheckpointError, match="no such file"):
        score_on(cluster, "missing.safetensors", genome=tmp_path / "g.fa", regions=options["regions"])

    class Lost:
        """A client whose scheduler goes while it works."""

        cluster = None

        def submit(self, *args: Any, **how: Any) -> Any:
            raise OSError("Timed out")

        def scheduler_info(self, **how: Any) -> dict[str, Any]:
            return {"workers": {"a": {}}}

        def run(self, *args: Any, **how: Any) -> dict[str, Any]:
            return {}

    with pytest.raises(StoreError, match=r"tcp://a was lost \(Timed out\); run the same command again"):
        list(mapped(Lost(), "tcp://a", len, [((1, 2),)]))


VERSIONS = (VERSION, torch.__version__.partition("+")[0])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda files: (VERSIONS, [one for one in files if one.endswith("g.fa")]),
         ("does not see", "expected the same files on all machines, mount them")),
        (lambda files: (VERSIONS, files[:1]), ("does not see", "mount them there")),
        (lambda files: (("0.0.9", VERSIONS[1]), []), ("has seqsal 0.0.9", f"install seqsal {VERSION} there")),
        (lambda files: ((VERSION, "1.13.0"), []), ("has torch 1.13.0", f"install torch {VERSIONS[1]} there")),
        (lambda files: ModuleNotFoundError("No module named 'seqsal'"),
         ("cannot run seqsal (No module named 'seqsal')", f"install seqsal {VERSION} there")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["attribute", "score"])
def test_workers_that_lack_a_file_or_a_version_are_named(
    verb: str, answer: Callable[[list[str]], Any], expected: tuple[str, str], options: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Client:
        """Its first worker is as here, its second is not."""

        dashboard_link, cluster = "", None

        def scheduler_info(self, **how: Any) -> dict[str, Any]:
            return {"workers": {"tcp://10.0.0.1:40": {}, "tcp://10.0.0.2:40": {}}}

        def run(self, function: Any, files: list[str], **how: Any) -> dict[str, Any]:
            assert function(files) == (VERSIONS, []) and function(["/no/g.fa"]) == (VERSIONS, ["/no/g.fa"])
            assert {str(options[name]) for name in ("model", "genome", "regions")} <= set(files)
            return {"tcp://10.0.0.1:40": function(files), "tcp://10.0.0.2:40": answer(files)}

    monkeypatch.setattr("seqsal.pipeline.schedulers._client", lambda scheduler: nullcontext(Client()))
    words = ("--model", options["model"], "--genome", options["genome"], "--regions", options["regions"])
    out = tmp_path / ("A.h5" if verb == "attribute" else "s.tsv")
    done = call(verb, *words, "--device", "cpu", "--out", out, "--scheduler", "tcp://10.0.0.3:8786")
    refused(done, "worker tcp://10.0.0.2:40", *expected)
    assert not out.exists()


def test_slurm_says_what_it_lacks(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--model", options["model"], "--genome", options["genome"], "--regions", options["regions"])
    command = ("score", *words, "--out", tmp_path / "s.tsv", "--scheduler")
    refused(call(*command, f"slurm:{tmp_path / 'none.toml'}"), "none.toml")
    (tmp_path / "c.toml").write_text('cores = 1\nmemory = "4GB"\n')
    refused(call(*command, f"slurm:{tmp_path / 'c.toml'}"), "workers: got None, expected a number of jobs")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    (tmp_path / "c.toml").write_text("workers = 2\n")
    refused(call(*command, f"slurm:{tmp_path / 'c.toml'}"), "needs dask-jobqueue", "seqsal plan --for slurm")
    assert not (tmp_path / "s.tsv").exists()


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


def test_tasks_that_fail_are_told_and_the_others_delivered(options: dict[str, Any], tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    from seqsal.pipeline import schedulers

    arguments = {key: value for key, value in options.items() if key != "model"}
    plan = schedulers.plan_units([options["model"]], tmp_path / "plan", units=4, **arguments | {"method": "saliency"})
    plan.result(2).symlink_to("/nonexistent/folder/task.h5")  # cannot be written
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster, Client(cluster) as client:
        failed = schedulers._work(client, "inproc", plan, False)
    assert [plan.result(task).exists() for task in range(4)] == [True, True, False, True]
    told = str(schedulers._without(plan, tmp_path / "A.h5", failed))
    rows = options["regions"].read_text().split("\n")
    first, last = ("{}:{}-{}".format(*rows[row].split("\t")) for row in (128, 191))
    assert f"1 of 4 tasks failed, those of windows {first} to {last}; task 2 with: " in told and "(worker " in told
    assert "\n" not in told and "the same command tries those tasks again" in told
    kept = seqsal.read_attributions(tmp_path / "A.h5")
    assert (len(kept), kept.attrs["missing_tasks"]) == (N - 64, [2])
