"""runner logs [RUN] [TASK]"""

from __future__ import annotations

import time
from codecs import IncrementalDecoder, getincrementaldecoder
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import click

from runner.cli.options import run_argument, storage_option
from runner.errors import RunNotFoundError

if TYPE_CHECKING:
    from runner.runs.folder import RunFolder
    from runner.storage import Place

POLL_S = 0.3


@click.command()
@run_argument
@click.argument("task", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the run ends.")
@storage_option
def command(run: str, task: str | None, follow: bool, storage: Place) -> None:
    """Print the logs of RUN's tasks, or of TASK alone: what they and their libraries printed."""
    from runner.spec.suggest import did_you_mean

    folder = _found(run, task, storage)
    names = [planned.task.name for planned in folder.plan().tasks]
    if task is not None and task not in names:
        raise RunNotFoundError(f"{folder.run} has no task '{task}'{did_you_mean(task, names)}")
    shown = _Shown(folder, [task] if task else names)
    shown.print_new()
    while follow and not _over(folder):
        time.sleep(max(POLL_S, folder.look_s))
        shown.print_new()
    if follow:
        shown.print_new()
    if not shown.offsets:
        click.echo(_silence(folder, names, task), err=True)


def _found(run: str, task: str | None, storage: Place) -> RunFolder:
    """The run's folder. Raises RunNotFoundError; for a task's name alone it says what to type."""
    from runner.runs.finding import all_runs, find

    try:
        return find(run, storage)
    except RunNotFoundError as error:
        latest = all_runs(storage)[:1] if task is None else []
        if any(planned.task.name == run for each in latest for planned in each.plan().tasks):
            hint = f"for the task of that name: runner logs latest {run}"
            raise RunNotFoundError(error.message, hint=hint) from None
        raise


def _silence(folder: RunFolder, names: list[str], task: str | None) -> str:
    """Why there is nothing to print."""
    from runner.report.fold import fold, observed
    from runner.runs.finding import driver_alive

    records = folder.records()
    state = observed(fold(records, names), driver_alive=driver_alive(folder, records))
    going = state.status == "running"
    if task is None:
        return f"no task of {folder.run} has printed anything{' yet' if going else ''}"
    asked = state.tasks[task]
    if any(attempt.running_s is not None for attempt in asked.attempts):
        return f"'{task}' has printed nothing{' yet' if asked.status == 'running' else ''}"
    if asked.status in ("pending", "running") and going:  # running before its worker is: placed
        return f"'{task}' has not started yet"
    why = (asked.error or {}).get("message")
    ended = f"it is {asked.status}" if asked.status != "pending" else f"the run is {state.status}"
    return f"'{task}' never started: {ended}{f', as {why}' if why else ''}"


def _over(folder: RunFolder) -> bool:
    from runner.runs.finding import is_running

    return not is_running(folder, folder.records())


class _Shown:
    """What of each log has been printed; several logs are told apart by a heading."""

    def __init__(self, folder: RunFolder, tasks: list[str]) -> None:
        self.folder, self.tasks = folder, tasks
        self.offsets: dict[tuple[str, int], int] = {}
        # A character may be written in two parts, and be read between them.
        decoder = partial(getincrementaldecoder("utf-8"), errors="replace")
        self.decoders = defaultdict[tuple[str, int], IncrementalDecoder](decoder)
        self.current: tuple[str, int] | None = None

    def print_new(self) -> None:
        for task in self.tasks:
            for attempt in self.folder.attempts(task):
                self._print(task, attempt)

    def _print(self, task: str, attempt: int) -> None:
        log = task, attempt
        data = self.folder.read(f"{task}/{attempt}/log.txt", self.offsets.get(log, 0))
        if not data:
            return
        self.offsets[log] = self.offsets.get(log, 0) + len(data)
        if self.current != log and (len(self.tasks) > 1 or attempt != 1):
            click.echo(f"==> {task}, attempt {attempt} <==")
        self.current = log
        click.echo(self.decoders[log].decode(data), nl=False)
