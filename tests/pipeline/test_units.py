"""Work units: what tasks in any order leave, joined, is what one process writes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from command_line import call, refused

import seqsal
from seqsal.errors import OutputError, StoreError, UsageError
from seqsal.io import packing, store_writer
from seqsal.io.inputs import open_input
from seqsal.pipeline import units
from seqsal.pipeline.units import merge_units, plan_units, read_plan, work_unit

L, N = 60, 300


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    (folder / "g.fa").write_text(f">chr1\n{''.join(rng.choice(list('ACGT'), 30_000))}\n")
    starts = sorted(rng.integers(0, 9_000 - L, N))
    (folder / "r.bed").write_text("".join(f"chr1\t{s}\t{s + L}\n" for s in starts) + "chr1\t31000\t31060\n")
    (folder / "toy_units.py").write_text(
        "import torch\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    layers = torch.nn.Conv1d(4, 8, 7), torch.nn.ReLU()\n"
        "    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(8 * 54, 2))\n"
    )
    return {"folder": folder, "genome": folder / "g.fa", "regions": folder / "r.bed", "device": "cpu"}


@pytest.fixture
def options(inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(inputs["folder"]))
    monkeypatch.setattr(units, "time_windows", lambda run, source: (1, 1.0, 1.0))
    more = {"method": ["gradient_x_input", "smoothgrad"], "target": [0, 1], "n_controls": 90, "input_length": L}
    return {name: value for name, value in inputs.items() if name != "folder"} | more


def datasets(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: one[...]}) if isinstance(one, h5py.Dataset) else None)
    return found


def assert_same(path: Path, expected: Path) -> None:
    ours, theirs = datasets(path), datasets(expected)
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(ours[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert np.array_equal(ours[name], values), name


def test_tasks_in_any_order_give_the_file_of_one_process(options: dict[str, Any], tmp_path: Path) -> None:
    one = tmp_path / "one.h5"
    seqsal.attribute("toy_units:make", out=one, **options)
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=4, **options)
    assert [task.windows for task in plan.tasks] == [(0, 64), (64, 128), (128, 192), (192, 300)]
    for task in (2, 0, 3, 1):
        work_unit(tmp_path / "plan", task)
    ((path, missing),) = merge_units(tmp_path / "plan", tmp_path / "A.h5")
    assert not missing
    assert_same(path, one)
    ours, theirs = seqsal.read_attributions(path), seqsal.read_attributions(one)
    differing = {key for key in theirs.attrs if ours.attrs[key] != theirs.attrs[key]}
    assert differing <= {"fingerprint", "genome"}, differing  # files are named from the root on
    assert len(ours.rejected) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"span": 20},
        {"null": "background", "target": 0},
        {"contrast": "1-0", "target": None},
        {"regions": "genome", "step": 55, "exclude": "x.bed"},
    ],
)
def test_whatever_attribute_takes(more: dict[str, Any], options: dict[str, Any], tmp_path: Path) -> None:
    chosen = options | {"method": "gradient_x_input"} | more
    if "exclude" in more:
        chosen["exclude"] = tmp_path / "x.bed"
        chosen["exclude"].write_text("chr1\t9000\t29500\n")
    seqsal.attribute("toy_units:make", out=tmp_path / "one.h5", **chosen)
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=3, **chosen)
    for task in range(len(plan.tasks)):
        work_unit(plan.folder, task)
    merge_units(plan.folder, tmp_path / "A.h5")
    assert_same(tmp_path / "A.h5", tmp_path / "one.h5")


def test_rounded_scores_are_the_same_bytes_however_they_are_made(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqsal.attribution import passes

    attribute = passes._attribute_chunk
    monkeypatch.setattr(passes, "chunk_rows", lambda *args: 64)
    monkeypatch.setattr(store_writer, "PACKED_BYTES", 1 << 12)
    monkeypatch.setattr(packing, "SLOT", 100 * L)  # so that chunks and tasks end within slots
    seqsal.attribute("toy_units:make", out=tmp_path / "one.h5", keep_bits=7, **options)
    seen: list[int] = []

    def interrupted(*args: Any) -> Any:
        seen.append(1)
        if len(seen) in (4, 8):
            raise KeyboardInterrupt
        return attribute(*args)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "_attribute_chunk", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                seqsal.attribute("toy_units:make", out=tmp_path / "B.h5", keep_bits=7, **options)
        seqsal.attribute("toy_units:make", out=tmp_path / "B.h5", keep_bits=7, **options)
    assert (tmp_path / "B.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=3, keep_bits=7, **options)
    for task in (1, 2, 0):
        work_unit(plan.folder, task)
    merge_units(plan.folder, tmp_path / "A.h5")
    assert (tmp_path / "A.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
    with h5py.File(tmp_path / "A.h5") as file:
        assert file["track"].compression == file["results/smoothgrad.target1/null/track"].compression == "gzip"
    other = plan_units(["toy_units:make"], tmp_path / "other", units=3, keep_bits=8, **options)
    for task in range(3):
        shutil.copy(plan.result(task), other.result(task))
    with pytest.raises(StoreError, match=r"task-0000\.h5: is no result of this plan"):
        merge_units(other.folder, tmp_path / "C.h5")


def test_an_interrupted_task_goes_on_and_a_done_one_is_not_done_again(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqsal.attribution import passes

    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=1, **options)
    seen: list[int] = []
    attribute = passes._attribute_chunk

    def counted(family: Any, view: Any, chunk: Any, *args: Any) -> Any:
        if len(seen) == 5:
            seen.append(-1)
            raise KeyboardInterrupt
        seen.append(len(chunk.codes))
        return attribute(family, view, chunk, *args)

    monkeypatch.setattr(passes, "_attribute_chunk", counted)
    monkeypatch.setattr(passes, "chunk_rows", lambda *args: 64)
    with pytest.raises(KeyboardInterrupt):
        work_unit(plan.folder, 0)
    assert not plan.result(0).exists()
    work_unit(plan.folder, 0)
    assert sum(n for n in seen if n > 0) < 2 * 2 * (N + 90)  # two families; the first two chunks once
    n_seen = len(seen)
    lock = plan.folder / ".task-0000.h5.seqsal-lock"
    lock.touch()  # as a process leaves it that is killed once the task is whole
    work_unit(plan.folder, 0)
    assert len(seen) == n_seen and not lock.exists()
    merge_units(plan.folder, tmp_path / "A.h5")
    seqsal.attribute("toy_units:make", out=tmp_path / "one.h5", **options)
    assert_same(tmp_path / "A.h5", tmp_path / "one.h5")


def test_a_worker_that_saw_another_plan_in_a_folder_opens_the_new_one(options: dict[str, Any], tmp_path: Path) -> None:
    for seed in (0, 1):  # of the controls
        plan = plan_units(["toy_units:make"], tmp_path / "plan", units=1, seed=seed, **options)
        work_unit(plan.folder, 0, keep=True)
        merge_units(plan.folder, tmp_path / f"{seed}.h5")
        shutil.rmtree(plan.folder)
    seqsal.attribute("toy_units:make", out=tmp_path / "one.h5", seed=1, **options)
    assert_same(tmp_path / "1.h5", tmp_path / "one.h5")


def test_what_is_missing_is_named_and_the_rest_joined_on_request(options: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=4, **options)
    with pytest.raises(StoreError, match=r"4 of 4 tasks are missing \(0, 1, 2, 3\)"):
        merge_units(plan.folder, tmp_path / "A.h5", partial=True)
    for task in (0, 2, 3):
        work_unit(plan.folder, task)
    with pytest.raises(StoreError, match=r"1 of 4 tasks are missing \(1\).*--partial"):
        merge_units(plan.folder, tmp_path / "A.h5")
    assert not (tmp_path / "A.h5").exists()
    ((path, missing),) = merge_units(plan.folder, tmp_path / "A.h5", partial=True)
    attr, whole = seqsal.read_attributions(path), seqsal.attribute("toy_units:make", **options)
    assert missing == [1] and attr.attrs["missing_tasks"] == [1]
    kept = np.r_[0:64, 128:300]
    np.testing.assert_allclose(attr.track, whole.track[kept], rtol=1e-5, atol=1e-6)
    assert list(attr.regions["start"]) == list(whole.regions["start"].iloc[kept])
    assert attr.controls is not None and whole.controls is not None
    of_kept = np.isin(whole.controls.source, kept)
    of_done = np.concatenate([np.arange(*plan.tasks[task].controls) for task in (0, 2, 3)])
    there = np.array([i for i in of_done if of_kept[i]])
    np.testing.assert_array_equal(attr.controls.codes, whole.controls.codes[there])
    np.testing.assert_array_equal(kept[attr.controls.source], whole.controls.source[there])


def test_several_models_are_planned_together(
    options: dict[str, Any], tmp_path: Path, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (inputs["folder"] / "toy_other.py").write_text(
        "from toy_units import make as first\n\n\ndef make():\n    return first()\n"
    )
    models = ["toy_units:make", "toy_other:make"]
    read: list[Any] = []
    monkeypatch.setattr("seqsal.io.inputs.open_input", lambda **given: read.append(given) or open_input(**given))
    plan = plan_units(models, tmp_path / "plan", units=2, **options)
    for task in range(4):
        work_unit(plan.folder, task)
    merged = merge_units(plan.folder, tmp_path / "all")
    assert len(read) == 2  # by the plan and by the merge, for both models
    assert [path.name for path, _ in merged] == ["make-0.h5", "make-1.h5"]
    assert_same(merged[0][0], merged[1][0])
    (tmp_path / "file").touch()
    refused(call("merge", plan.folder, "--out", tmp_path / "file"), "is a file, expected a folder")


def test_changed_inputs_and_other_versions_are_refused(
    options: dict[str, Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    regions = tmp_path / "r.bed"
    regions.write_text(inputs["regions"].read_text())
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=2, **options | {"regions": regions})
    with regions.open("a") as file:
        file.write("chr1\t5\t65\n")
    with pytest.raises(StoreError, match=r"have changed since it was planned .*r\.bed"):
        work_unit(plan.folder, 0)
    path = plan.folder / "plan.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"versions": {"seqsal": "0.0.9", "torch": torch.__version__}}))
    with pytest.raises(StoreError, match=r"was planned with seqsal 0\.0\.9, here is"):
        work_unit(plan.folder, 0)
    for damage in ("{", "[]", json.dumps(content | {"schema": 9}), json.dumps({**content, "tasks": [1]})):
        path.write_text(damage)
        with pytest.raises(StoreError, match="plan"):
            read_plan(plan.folder)


def test_bad_input_is_one_line(options: dict[str, Any], tmp_path: Path) -> None:
    for n, words in ((0, "expected 1 to"), (N + 1, "expected no more than 300 windows")):
        with pytest.raises(UsageError, match=words):
            plan_units(["toy_units:make"], tmp_path / "plan", units=n, **options)
    assert not (tmp_path / "plan").exists()
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=2, **options)
    assert plan_units(["toy_units:make"], plan.folder, units=2, **options) == plan  # the same again
    with pytest.raises(OutputError, match="holds another plan"):
        plan_units(["toy_units:make"], plan.folder, units=3, **options)
    for given in ({}, {"units": 4, "workers": 4}):  # where the number is not asked for, it stays
        assert plan_units(["toy_units:make"], plan.folder, **given, **options) == plan
    with pytest.raises(OutputError, match="holds another plan"):
        plan_units(["toy_units:make"], plan.folder, **options | {"seed": 9})
    refused(call("work", plan.folder, "--task", 2), "task: got 2, expected 0 to 1")
    refused(call("work", tmp_path, "--task", 0), "expected the folder that `seqsal plan` wrote")
    refused(call("merge", plan.folder, "--out", tmp_path / "A.h5"), "2 of 2 tasks are missing (0, 1)")


def test_tasks_follow_from_the_time_of_a_window(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "time_windows", lambda run, source: (1, 1.0, 300.0 / 130))  # 390 rows
    assert len(plan_units(["toy_units:make"], tmp_path / "plan", **options).tasks) == 3


@pytest.mark.parametrize(("workers", "n_tasks"), [(2, 4), (3, 3), (5, 4)])  # 300 windows are four batches
def test_workers_share_tasks_evenly(workers: int, n_tasks: int, options: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=12, workers=workers, **options)
    assert len(plan.tasks) == n_tasks


def test_the_script_for_slurm_submits_every_task_and_the_merge(options: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "a %a plan"
    plan = plan_units(["toy_units:make"], out, units=2, system="slurm", merged=tmp_path / "A.h5", **options)
    array, merge = submitted(out / "slurm.sh", tmp_path)
    assert "--array=0-1" in array and "--partition=gpu" in array and "--partition=gpu" in merge
    assert f"--output={tmp_path}/a %%a plan/task-0%3a.log" in array  # of task 1 it is task-0001.log
    assert "--dependency=afterany:17" in merge and f"--out {tmp_path / 'A.h5'}" in merge[-1]
    job = array[array.index("--wrap") + 1]
    told = in_a_job(job.replace(sys.executable, "echo $OMP_NUM_THREADS", 1), "1")
    assert told == f"3 -m seqsal work {plan.folder} --task 1 --quiet\n"


def submitted(script: Path, folder: Path) -> list[list[str]]:
    """Run a script of Slurm with an `sbatch` that notes its arguments; returns those of each call."""
    (folder / "bin").mkdir()
    sbatch = folder / "bin" / "sbatch"
    sbatch.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" END >> "{folder}/calls"; echo 17\n')
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([script, "--partition=gpu"], check=True, env=environment, capture_output=True)
    return [call.strip().split("\n") for call in (folder / "calls").read_text().split("END\n")[:-1]]


@pytest.mark.parametrize(
    ("n", "n_units", "edges"),
    [(500, 8, [*range(0, 449, 64), 500]), (40, 4, [0, 0, 0, 0, 40]), (200, 3, [0, 64, 128, 200]), (0, 2, [0, 0, 0])],
)
def test_controls_are_cut_between_batches(n: int, n_units: int, edges: list[int]) -> None:
    assert units.task_edges(n, n_units, 10_000, least=units.BATCH) == edges


def in_a_job(program: str, number: str) -> str:
    """Run what `sbatch --wrap` was given, as a job of an array with three cores."""
    env = {"SLURM_ARRAY_TASK_ID": number, "SLURM_CPUS_ON_NODE": "3", "PATH": os.environ["PATH"]}
    return subprocess.run(["sh", "-c", program], check=True, capture_output=True, text=True, env=env).stdout


def test_slurm_gets_arrays_of_a_thousand_tasks(options: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_units(["toy_units:make"], tmp_path / "plan", units=2, **options)
    units._write_script(replace(plan, tasks=list(plan.tasks) * 1_100), "slurm", tmp_path / "A.h5")
    *arrays, merge = submitted(plan.folder / "slurm.sh", tmp_path)
    found = []
    for array in arrays:
        spec = next(word for word in array if word.startswith("--array="))
        program = array[array.index("--wrap") + 1].replace(sys.executable, "echo", 1)
        for number in (0, int(spec.rpartition("-")[2])):  # first and last
            found.append((spec, int(in_a_job(program, str(number)).split()[-2])))
    assert found == [("--array=0-999", 0), ("--array=0-999", 999), ("--array=0-999", 1000), ("--array=0-999", 1999),
                     ("--array=0-199", 2000), ("--array=0-199", 2199)]  # fmt: skip
    assert "--dependency=afterany:17:17:17" in merge
    with pytest.raises(StoreError, match=r"--task N` for each \(or .*plan/slurm\.sh again\)"):
        merge_units(plan.folder, tmp_path / "A.h5")


def test_the_script_for_nextflow_takes_names_as_they_are(options: dict[str, Any], tmp_path: Path) -> None:
    plan = plan_units(["toy_units:make"], tmp_path / "a $plan", units=2, system="nextflow", **options)
    text = (plan.folder / "main.nf").read_text()
    assert f"work '{tmp_path}/a \\$plan' --task ${{number}}\n" in text and "channel.of(0..1)" in text
    assert f"merge '{tmp_path}/a \\$plan' --out " in text and "{{" not in text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("n_models", [1, 2])
def test_snakemake_runs_the_tasks_and_the_merge(
    n_models: int, options: dict[str, Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    out, merged = tmp_path / "a $plan's", tmp_path / ("A.h5" if n_models == 1 else "all")
    with pytest.raises(UsageError, match="braces"):
        plan_units(["toy_units:make"], tmp_path / "{x}", units=2, system="snakemake", **options)
    with pytest.raises(UsageError, match="braces"):
        plan_units(["toy_units:make"], out, units=2, system="snakemake", merged=tmp_path / "{x}.h5", **options)
    assert not list(tmp_path.iterdir())
    plan_units(["toy_units:make"] * n_models, out, units=2, system="snakemake", merged=merged, **options)
    found = shutil.which("snakemake")
    if found is None:
        pytest.skip("snakemake is not installed")
    code = os.pathsep.join([str(inputs["folder"]), str(Path(seqsal.__file__).parents[1])])
    for n_done in (2 * n_models + 1, 0):  # the second time there is nothing to do
        done = subprocess.run([found, "--snakefile", out / "Snakefile", "--cores", "2"], cwd=tmp_path, check=False,
                              capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": code})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Finished jobid") == n_done, done.stderr
    seqsal.attribute("toy_units:make", out=tmp_path / "one.h5", **options)
    for path in [merged] if n_models == 1 else [merged / "make-0.h5", merged / "make-1.h5"]:
        assert_same(path, tmp_path / "one.h5")
