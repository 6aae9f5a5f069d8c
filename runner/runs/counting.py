"""A model out of a run, and what an inference of it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from runner.edge.estimate import Workload
from runner.errors import RunNotFoundError, TaskError
from runner.runs.finding import find
from runner.runs.reporting import report_of
from runner.spec.suggest import did_you_mean
from runner.storage import Place, Remote, at

DESCRIPTION = "model.json"
# Counting takes a second or two, most of it to import PyTorch; code of the user's may hang.
LIMIT_S = 120.0


def model_named(text: str, storage: Place) -> Place:
    """The folder of the model that ``text`` means: a run, RUN:TASK, or the folder itself, or a URI.

    A run means its one model. Raises RunNotFoundError, naming what there is, where it has none,
    or more than one and no task is named.
    """
    named = at(text)
    if _has_model(named):
        return named
    run, _, task = text.rpartition(":") if "://" not in text else (text, "", "")
    folder = find(run or text, storage)
    models = {
        each.name: at(str(artifact["path"]))
        for each in report_of(folder).tasks
        for artifact in each.artifacts.values()
        if each.status == "finished" and _has_model(at(str(artifact["path"])))
    }
    if run:
        if task not in models:
            raise RunNotFoundError(
                f"no task '{task}' of {folder.run} has left a model{did_you_mean(task, models)}"
            )
        return models[task]
    if len(models) == 1:
        return next(iter(models.values()))
    if models:
        choices = " or ".join(f"{folder.run}:{name}" for name in models)
        raise RunNotFoundError(
            f"{folder.run} has {len(models)} models, of {', '.join(models)}",
            hint=f"name one of them: {choices}",
        )
    raise RunNotFoundError(
        f"{folder.run} has left no model", hint="name a run that trained one, or a model's folder"
    )


def _has_model(folder: Place) -> bool:
    if isinstance(folder, Remote):
        return (folder / DESCRIPTION).size() is not None
    return (folder / DESCRIPTION).is_file()


def workload(model: Place) -> Workload:
    """What an inference of the model in a folder takes, counted by a process that holds PyTorch.

    A factory is looked for in the current folder and among what is installed, and nowhere else: a
    run's own copy of code is not run. Raises TaskError where the model can't be counted.
    """
    with _at_hand(model) as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "runner.torchlib.costs", str(folder)],
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TaskError(
                f"{model} was not counted in {LIMIT_S:g} s", hint="see what its factory waits for"
            ) from None
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise TaskError(f"{model} can't be counted: {said}")
    told = json.loads(lines[-1])
    if "error" in told:
        raise TaskError(str(told["error"]), hint=str(told["hint"]))
    return Workload(**{field.name: told[field.name] for field in fields(Workload)})


@contextmanager
def _at_hand(model: Place) -> Iterator[Path]:
    """The folder on this machine's disk; of one at a URI its description, which is all it takes."""
    if not isinstance(model, Remote):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="runner-model-") as folder:
        (Path(folder) / DESCRIPTION).write_bytes((model / DESCRIPTION).read() or b"")
        yield Path(folder)
