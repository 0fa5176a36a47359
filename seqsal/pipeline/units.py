"""Work units: an attribution cut into tasks that any batch system can run, and joined to the file of one process.

``plan.json`` in a folder holds the requests, a checksum of everything that they read, and the tasks: for each model,
rows of windows and of controls. Tasks depend on nothing but the plan, may run in any order, at the same time, on other
machines, and again: each leaves `task-0000.h5`, under that name only when it is whole. What a window's map is follows
from its bases and not from what it comes with, so that the joined file has the values of one process. Tasks begin and
end where one process would begin a new chunk, if there are enough of those: then the batches are the same too, and on
the same kind of machine so are the bytes. Otherwise values may differ by the rounding of another batch (1e-6).
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from seqsal.attribution.api import open_request
from seqsal.attribution.engine import AttributionRun
from seqsal.attribution.passes import chunk_rows
from seqsal.attribution.request import Request, identify_model, make_request
from seqsal.attribution.spans import WindowReader
from seqsal.errors import OutputError, StoreError, UsageError, counted
from seqsal.io.atomic import all_or_nothing, atomic_path, check_folder, check_writable, locked, make_folder
from seqsal.io.hdf5 import DAMAGE
from seqsal.io.inputs import SharedWindows
from seqsal.io.store import StoreLayout
from seqsal.io.store_writer import AttributionWriter, RowsWriter, fingerprint, rows_fingerprint
from seqsal.pipeline.dry_run import time_windows
from seqsal.version import VERSION

__all__ = [
    "SYSTEMS",
    "Plan",
    "Task",
    "is_of",
    "merge_units",
    "plan_units",
    "read_plan",
    "rooted",
    "task_edges",
    "work_unit",
]

PLAN = "plan.json"
SCHEMA = 1
TASK_SECONDS = 300.0  # that a task should take, where no number of them is given
MOST_TASKS = 10_000
BATCH = 64  # windows, of which batches are a part or a multiple
FILES = (  # arguments that may name one
    "model", "genome", "regions", "fasta", "weights", "target_names", "references", "exclude",
    "variants", "background", "motif_db",
)  # fmt: skip
N_NAMED = 8  # tasks that a message lists
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Rows of one model's attributions: `windows` and `controls` from the first to before the last."""

    model: int
    windows: tuple[int, int]
    controls: tuple[int, int]

    def bounds(self) -> tuple[dict[str, int], dict[str, int]]:
        """First row and end of each part of the file."""
        first, stop = zip(self.windows, self.controls, strict=True)
        return dict(zip(("main", "null"), first, strict=True)), dict(zip(("main", "null"), stop, strict=True))


@dataclass(frozen=True)
class Plan:
    """What is in ``plan.json``.

    Attributes
    ----------
    folder
        Where it is, with the results of the tasks.
    requests
        Arguments of :func:`seqsal.attribution.request.make_request`, one mapping a model.
    fingerprints
        Of the file of each model: a checksum of the windows, the settings and the model.
    tasks
        All tasks, those of a model together.
    versions
        Of seqsal and torch, that the plan was made with.
    """

    folder: Path
    requests: Sequence[Mapping[str, Any]]
    fingerprints: Sequence[str]
    tasks: Sequence[Task]
    versions: Mapping[str, str]

    def result(self, task: int) -> Path:
        """File that a task leaves."""
        return self.folder / f"task-{task:04d}.h5"

    def missing(self, tasks: Sequence[int]) -> list[int]:
        """Tasks that have left no file yet."""
        return [task for task in tasks if not self.result(task).exists()]

    def tasks_of(self, model: int) -> list[int]:
        """Numbers of the tasks of a model."""
        return [number for number, task in enumerate(self.tasks) if task.model == model]


def plan_units(
    models: Sequence[str | Sequence[str]], out: str | os.PathLike[str], *, units: int | None = None,
    workers: int | None = None, system: str | None = None, merged: str | os.PathLike[str] = "A.h5", **arguments: Any,
) -> Plan:  # fmt: skip
    """Cut the attribution of some models into tasks, and write the plan.

    Parameters
    ----------
    models
        Model files or factories; they share everything else. Several in a list of their own are an ensemble.
    out
        Folder to write, which must not hold another plan. The tasks of the same plan stay, unless their number is asked
        for.
    units
        Tasks a model; None makes them some five minutes long, by a trial.
    workers
        Processes that share the tasks evenly: about `units` are made, or fewer where windows are few.
    system, merged
        One of `SYSTEMS`, for which to write a script as well, and what that merges into.
    arguments
        Those of :func:`seqsal.attribute`.

    Raises
    ------
    SeqsalError
        As for :func:`seqsal.attribute`.
    UsageError
        `units` is below 1, or there are fewer windows.
    OutputError
        The folder holds a plan already, or cannot be written to.
    """
    if units is not None and not 1 <= units <= MOST_TASKS:
        raise UsageError(f"units: got {units:,}, expected 1 to {MOST_TASKS:,}")
    check_folder(out)
    _check_script(system, out, merged)
    requests, fingerprints, tasks = [], [], []
    with SharedWindows() as windows:
        for number, model in enumerate(models):
            request = rooted(make_request(model, **arguments).arguments())
            with _opened(make_request(**request), windows) as (run, source, layout):
                parts = _share(run, source, layout, units, workers)
                tasks += [Task(number, rows, controls) for rows, controls in zip(*parts, strict=True)]
                fingerprints.append(fingerprint(layout, run.describe(source)))
            requests.append(request)
    plan = Plan(Path(out), requests, fingerprints, tasks, _versions())
    if (plan.folder / PLAN).exists():
        there = read_plan(plan.folder)
        if units is None or workers is not None:  # so many tasks were not asked for: go on with those there
            plan = replace(plan, tasks=there.tasks)
        if _as_json(there) != _as_json(plan):
            raise OutputError(f"{plan.folder}: holds another plan; give another folder, or remove it")
    with make_folder(out), all_or_nothing():
        with atomic_path(plan.folder / PLAN) as path:
            path.write_text(_as_json(plan))
        if system is not None:
            _write_script(plan, system, Path(merged))
    return plan


def _share(
    run: AttributionRun, source: WindowReader, layout: StoreLayout, units: int | None, workers: int | None
) -> list[Iterator[tuple[int, int]]]:
    """Cut the windows and the controls of a model into as many parts each."""
    n_rows, n_controls = len(layout.regions), layout.n_controls
    n_units = units or _suitable(time_windows(run, source)[2] * (n_rows + n_controls), n_rows)
    if workers:
        n_units = min(n_units, max(n_rows // BATCH, 1))
        n_units = n_units // workers * workers or n_units
    if n_units > n_rows:
        raise UsageError(f"units: got {n_units:,}, expected no more than {counted(n_rows, 'window')}")
    step = chunk_rows(run.planned, source.length, layout.length)
    edges = task_edges(n_rows, n_units, step), task_edges(n_controls, n_units, step, least=BATCH)  # some of no controls
    return [pairwise(one) for one in edges]


def _suitable(seconds: float, n_windows: int) -> int:
    """Tasks for work that takes some seconds."""
    return min(max(math.ceil(seconds / TASK_SECONDS), 1), n_windows, MOST_TASKS)


def task_edges(n_rows: int, n_units: int, chunk: int, least: int = 1) -> list[int]:
    """Where units begin and end: at chunks, if there are enough, else at batches, which are powers of two.

    Units are of `least` rows, or of none, where there are not enough batches either.
    """
    step = next((step for step in (chunk, BATCH) if n_rows >= step * n_units), least)
    n_steps = -(-n_rows // step)
    return [min(n_steps * i // n_units * step, n_rows) for i in range(n_units + 1)]


def rooted(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Name files from the root on, so that tasks may run in another folder; factories keep their names.

    UsageError: something cannot be written down.
    """
    found = dict(arguments)
    for name in FILES:
        value = found.get(name)
        if isinstance(value, (str, os.PathLike)):
            found[name] = _rooted(value)
        elif name == "model" and isinstance(value, list):
            found[name] = [_rooted(one) for one in value]
    try:
        json.dumps(found)
    except TypeError as error:
        raise UsageError(
            f"plan: an option cannot be written down ({error}); give it as text, a number or a file"
        ) from None
    return found


def _rooted(value: str | os.PathLike[str]) -> str:
    """Name a file from the root on; what is none stays."""
    return str(Path(value).absolute() if Path(value).is_file() else value)


def _versions() -> dict[str, str]:
    return {"seqsal": VERSION, "torch": torch.__version__.partition("+")[0]}


def _as_json(plan: Plan) -> str:
    content = {name: value for name, value in asdict(plan).items() if name != "folder"}
    return json.dumps({"schema": SCHEMA, **content}, indent=1) + "\n"


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """Read the plan in a folder.

    Raises
    ------
    StoreError
        There is none, or it is of another version of seqsal or damaged.
    """
    path = Path(folder) / PLAN
    try:
        content = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise StoreError(f"{path}: has schema {content['schema']}, expected {SCHEMA}; plan again with this version")
        tasks = [Task(task["model"], tuple(task["windows"]), tuple(task["controls"])) for task in content["tasks"]]
        named = {name: content[name] for name in ("requests", "fingerprints", "versions")}
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror}), expected the folder that `seqsal plan` wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: is damaged ({error}); run `seqsal plan` again") from error
    return Plan(folder=Path(folder), tasks=tasks, **named)


@contextmanager
def _opened(
    request: Request, windows: SharedWindows | None = None
) -> Iterator[tuple[AttributionRun, WindowReader, StoreLayout]]:
    """Open a request as one process would, up to the first value."""
    with open_request(request, windows) as opened:
        identify_model(opened.model)
        run = AttributionRun(opened.model, opened.source, opened.request.options, opened.device)
        yield run, opened.source, run.plan_layout(opened.source)


@contextmanager
def _planned(
    plan: Plan, model: int, device: str | None, windows: SharedWindows | None = None
) -> Iterator[tuple[AttributionRun, WindowReader, StoreLayout]]:
    """Open the request of a model of a plan, and see that everything is as it was."""
    arguments = dict(plan.requests[model]) | ({} if device is None else {"device": device})
    for name, version in _versions().items():
        if plan.versions.get(name) != version:
            raise StoreError(
                f"{plan.folder}: was planned with {name} {plan.versions.get(name)}, here is {version}; use the same "
                "environment for all tasks, or plan again"
            )
    with _opened(make_request(**arguments), windows) as (run, source, layout):
        if fingerprint(layout, run.describe(source)) != plan.fingerprints[model]:
            files = ", ".join(str(arguments[name]) for name in FILES if isinstance(arguments.get(name), str))
            raise StoreError(
                f"{plan.folder}: the model, the genome or the regions have changed since it was planned ({files}); put "
                "them back, or plan again in another folder"
            )
        yield run, source, layout


def work_unit(
    folder: str | os.PathLike[str], task: int, *, device: str | None = None, keep: bool = False,
    progress: bool | None = False,
) -> Path:  # fmt: skip
    """Do one task of a plan, unless that is done; an interrupted one goes on where it stopped.

    Parameters
    ----------
    folder
        Of the plan.
    task
        Number of the task, from 0.
    device
        Where to compute; None does as planned.
    keep
        Keep the model and the genome open, for the next task of this process.
    progress
        Show a progress bar.

    Raises
    ------
    StoreError
        There is no plan, or the model, the genome, the regions or seqsal are not those that were planned with.
    UsageError
        There is no such task.
    OutputError
        Another process does the task, or its file cannot be written.
    """
    plan = read_plan(folder)
    if not 0 <= task < len(plan.tasks):
        raise UsageError(
            f"task: got {task}, expected 0 to {len(plan.tasks) - 1}; {plan.folder} has "
            f"{counted(len(plan.tasks), 'task')}"
        )
    one = plan.tasks[task]
    first, stop = one.bounds()
    out, whole = plan.result(task), plan.fingerprints[one.model]
    if out.exists() and is_of(out, rows_fingerprint(whole, first, stop)):
        logger.info("task %d: done before", task)
        with suppress(OutputError), locked(out):  # removes the lock of one that was killed right after
            return out
        return out
    with ExitStack() as stack:
        opened = _planned(plan, one.model, device)
        found = _kept(str(plan.folder), one.model, device, whole)[1] if keep else stack.enter_context(opened)
        run, source, layout = found
        run.compare_with_plain(source)
        with RowsWriter(out, layout, whole, first, stop) as writer:
            run.stream(source, layout, writer, progress, until=stop)
            writer.finish({"correlations": run.correlations, "task": task})
    return out


@functools.lru_cache(maxsize=2)
def _kept(
    folder: str, model: int, device: str | None, fingerprint: str
) -> tuple[ExitStack, tuple[AttributionRun, WindowReader, StoreLayout]]:
    """Open a model of a plan for as long as this process lives; the stack keeps it open.

    By the plan's fingerprint too: a worker may live longer than the plan that it first saw in a folder.
    """
    stack = ExitStack()
    return stack, stack.enter_context(_planned(read_plan(folder), model, device))


def is_of(path: Path, expected: str) -> bool:
    """Whether a finished file has this fingerprint."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("fingerprint") == expected)
    except DAMAGE:
        return False


def merge_units(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], *, partial: bool = False
) -> list[tuple[Path, list[int]]]:
    """Join the results of a plan's tasks to attribution files, as one process would have written them.

    Parameters
    ----------
    folder
        Of the plan.
    out
        File to write (.h5); a folder, of a plan with several models.
    partial
        Join what there is. The file then holds the windows of finished tasks, with the controls of those windows, and
        names the tasks that are missing in its attribute `missing_tasks`.

    Returns
    -------
    list of (Path, list of int)
        Each file, and the tasks that it lacks.

    Raises
    ------
    StoreError
        Tasks are missing, or a file is not of this plan.
    OutputError
        A file cannot be written.
    """
    plan = read_plan(folder)
    missing = plan.missing(range(len(plan.tasks)))
    if missing and (not partial or len(missing) == len(plan.tasks)):
        named = ", ".join(map(str, missing[:N_NAMED])) + ", …" * (len(missing) > N_NAMED)
        raise StoreError(
            f"{plan.folder}: {len(missing):,} of {len(plan.tasks):,} tasks are missing ({named}); run `seqsal work "
            f"{plan.folder} --task N` for each"
            + f" (or {plan.folder}/slurm.sh again)" * (plan.folder / "slurm.sh").exists()
            + ", or join the others with --partial" * (len(missing) < len(plan.tasks))
        )
    paths, found = _results(plan, Path(out)), []
    with make_folder(out) if len(paths) > 1 else nullcontext(), SharedWindows() as windows:
        for path in paths:
            check_writable(path)
        for model, path in enumerate(paths):
            lacking = plan.missing(plan.tasks_of(model))
            if len(lacking) < len(plan.tasks_of(model)):
                _merge(plan, model, path, lacking, windows)
                found.append((path, lacking))
    return found


def _results(plan: Plan, out: Path) -> list[Path]:
    """Files of the models of a plan: the one that is named, or one each in a folder."""
    specs = [np.atleast_1d(request["model"]) for request in plan.requests]
    stems = ["+".join(Path(one).name.rpartition(":")[2].removesuffix(".safetensors") for one in each) for each in specs]
    names = [f"{stem}.h5" if stems.count(stem) == 1 else f"{stem}-{i}.h5" for i, stem in enumerate(stems)]
    return [out / name for name in names] if len(names) > 1 else [out]


def _merge(plan: Plan, model: int, path: Path, lacking: Sequence[int], shared: SharedWindows) -> None:
    """Write one model's attribution file from the tasks that are there."""
    there = [number for number in plan.tasks_of(model) if number not in lacking]
    with _planned(plan, model, "cpu", shared) as (run, source, _):
        run.correlations.update(_noted(plan.result(there[0])))
        layout, attrs = run.plan_layout(source), run.describe(source)
        windows = np.concatenate([np.arange(*plan.tasks[number].windows) for number in there])
        position = np.full(len(layout.regions), -1)
        position[windows] = np.arange(len(windows))
        parts = {number: _rows(plan, number, position) for number in there}
        if lacking:
            n_controls = sum(len(rows["null"]["of"]) for rows in parts.values())
            regions = layout.regions.iloc[windows].reset_index(drop=True)
            layout = replace(layout, regions=regions, n_controls=n_controls)
            attrs["missing_tasks"] = list(lacking)
        with AttributionWriter(path, layout, attrs, resume=False) as writer:
            done = 0
            for number, rows in parts.items():
                rows["null"]["to"] = done + np.arange(len(rows["null"]["of"]))
                done += len(rows["null"]["of"])
                file = plan.result(number)
                if not is_of(file, rows_fingerprint(plan.fingerprints[model], *plan.tasks[number].bounds())):
                    raise StoreError(f"{file}: is no result of this plan; remove it, and do task {number} again")
                with h5py.File(file, "r") as unit:
                    writer.take(unit, rows)
            writer.finish()


def _noted(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r") as file:
        noted: dict[str, Any] = json.loads(file.attrs["correlations"])
        return noted


def _rows(plan: Plan, number: int, position: NDArray[np.int64]) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Say which rows of a task's file are kept, and where its windows go: to their `position`, which may be -1."""
    task = plan.tasks[number]
    n_windows, n_controls = (stop - first for first, stop in (task.windows, task.controls))
    of = np.arange(n_controls)
    parents = of
    if n_controls:
        with h5py.File(plan.result(number), "r") as file:
            parents = position[file["null/source"][...]]
        of, parents = of[parents >= 0], parents[parents >= 0]
    main = {"of": np.arange(n_windows), "to": position[np.arange(*task.windows)]}
    return {"main": main, "null": {"of": of, "parents": parents}}


def _check_script(system: str | None, out: str | os.PathLike[str], merged: str | os.PathLike[str]) -> None:
    """Raise UsageError where a batch system would not take a name for what it is."""
    for name in (out, merged):
        if system == "snakemake" and set("{}") & set(str(Path(name).absolute())):
            raise UsageError(f"{name}: has braces, which are wildcards to Snakemake; give a name without")


def _write_script(plan: Plan, system: str, merged: Path) -> None:
    """Write what a batch system needs to run the tasks of a plan and to merge them."""
    folder, result = plan.folder.absolute(), merged.absolute()
    work, merge = (f"{shlex.quote(sys.executable)} -m seqsal {verb} {shlex.quote(str(folder))}"
                   for verb in ("work", "merge"))  # fmt: skip
    name, template, number, quote = SYSTEMS[system]
    filled = template.format(
        folder=folder, logs=shlex.quote(str(folder).replace("%", "%%")), last=len(plan.tasks) - 1,
        tasks=f"{folder}/task-", results=[str(path) for path in _results(plan, result)],
        work=quote(work, f" --task {number}"), merge=quote(f"{merge} --out {shlex.quote(str(result))}", ""),
    )  # fmt: skip
    with atomic_path(plan.folder / name) as path:
        path.write_text(filled)
        path.chmod(0o755 if system == "slurm" else 0o644)


def _for_bash(command: str, number: str) -> str:
    return shlex.quote(command + number)


def _for_snakemake(command: str, number: str) -> str:
    """Write a command in Python, with the braces of its names doubled."""
    return repr(command.replace("{", "{{").replace("}", "}}") + number)


def _for_nextflow(command: str, number: str) -> str:
    """Write a command in a text of Groovy."""
    return re.sub(r'([\\$"])', r"\\\1", command) + number


SLURM = """#!/bin/bash
# Submits the tasks as job arrays, and the merge after the last of them. Options of sbatch follow this script's name
# and hold for all jobs, for example: {folder}/slurm.sh --partition=gpu --gres=gpu:1 --time=01:00:00 --mem=16G
# The merge says in merge.log what is missing; submitted again, tasks that are done end at once.
set -euo pipefail
after=afterany
threads='export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-$SLURM_CPUS_ON_NODE}}'
for ((thousand = 0; thousand <= {last} / 1000; thousand++)); do  # MaxArraySize is 1001 unless a site sets it
  end=$(({last} - 1000 * thousand < 999 ? {last} - 1000 * thousand : 999))
  job=$(sbatch --job-name=seqsal --output={logs}/task-"$thousand"%3a.log "$@" --parsable --array=0-$end \\
    --wrap "$threads; task=\\$((1000 * $thousand + SLURM_ARRAY_TASK_ID)); "{work})
  after+=":${{job%%;*}}"
done
sbatch --job-name=seqsal-merge --output={logs}/merge.log "$@" --dependency="$after" \\
  --wrap {merge}
"""

SNAKEMAKE = """# snakemake --snakefile {folder}/Snakefile --cores 4
rule merge:
    input: [{tasks!r} + f"{{number:04d}}.h5" for number in range({last} + 1)]
    output: {results}
    shell: {merge}

rule work:
    output: {tasks!r} + "{{task}}.h5"
    wildcard_constraints: task="[0-9]+"
    shell: {work}
"""

NEXTFLOW = '''// nextflow run {folder}/main.nf
process WORK {{
    input:
    val number

    output:
    val number

    script:
    """
    cd "${{launchDir}}"
    OMP_NUM_THREADS=${{task.cpus}} {work}
    """
}}

process MERGE {{
    input:
    val numbers

    script:
    """
    cd "${{launchDir}}"
    {merge}
    """
}}

workflow {{
    done = WORK(channel.of(0..{last}))
    MERGE(done.collect())
}}
'''

SYSTEMS = {  # file, template, what stands for the number of a task, and how a command is written
    "slurm": ("slurm.sh", SLURM, "$task --quiet", _for_bash),
    "snakemake": ("Snakefile", SNAKEMAKE, "{wildcards.task}", _for_snakemake),
    "nextflow": ("main.nf", NEXTFLOW, "${number}", _for_nextflow),
}
