"""runner platforms [NAME]"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from runner.cli.options import json_option, storage_option
from runner.errors import Exit, UsageError
from runner.storage import Place

if TYPE_CHECKING:
    from runner.edge.platforms import Platforms
    from runner.edge.selection import Need

# Where neither a terminal nor COLUMNS says how wide a line may be: what reads a pipe gets it all.
NO_LIMIT = 10_000


@click.command()
@click.argument("name", required=False)
@click.option(
    "--needs",
    metavar="WORDS",
    help="What it must be, have and take, with commas between: cpu, gpu, npu; int8, fp16, ...; "
    "onnx, litert, ... Of devices and of precisions, one of those named.",
)
@click.option("--max-watts", type=click.FloatRange(min=0, min_open=True), help="Power at most.")
@click.option(
    "--min-fps",
    type=click.FloatRange(min=0, min_open=True),
    help="Inferences a second at least, of the --model, at batch 1.",
)
@click.option(
    "--model",
    metavar="RUN",
    help="A model to run there: a run that has one, RUN:TASK, or a model's folder or URI.",
)
@click.option(
    "--platform",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file that describes platforms of your own, or a folder of them. Repeatable.",
)
@storage_option
@json_option
def command(
    name: str | None,
    needs: str | None,
    max_watts: float | None,
    min_fps: float | None,
    model: str | None,
    files: tuple[Path, ...],
    storage: Place,
    as_json: bool,
) -> Exit:
    """Rank edge platforms for a need or a model; with NAME, show all there is to know of one.

    Latency and energy are estimates at best (roofline), not measurements, and figures that have no
    source are marked. Exit code 3 means that none suits.
    """
    from runner.cli.platform_text import details, document, ranking
    from runner.edge.platforms import platforms
    from runner.edge.selection import rank
    from runner.runs.counting import model_named, workload
    from runner.spec.suggest import did_you_mean

    need = _need(needs, max_watts, min_fps, has_model=model is not None)
    known: Platforms = {**platforms(), **_own(files)}
    if name is not None:
        if name not in known:
            raise UsageError(
                f"no platform is called '{name}'{did_you_mean(name, known)}",
                hint="'runner platforms' shows them all",
            )
        known = {name: known[name]}
    work = workload(model_named(model, storage)) if model is not None else None
    verdicts = rank(known, need, work)
    if as_json:
        click.echo(json.dumps(document(verdicts, need, work), indent=2))
    elif name is not None:
        click.echo(details(verdicts[0]))
    else:
        click.echo(ranking(verdicts, work, columns=get_terminal_size((NO_LIMIT, 1)).columns))
    return Exit.FINISHED if any(each.suits for each in verdicts) else Exit.NEVER_FITS


def _need(
    words: str | None, max_watts: float | None, min_fps: float | None, *, has_model: bool
) -> Need:
    from runner.edge.selection import WORDS, need_of
    from runner.spec.suggest import did_you_mean

    if min_fps is not None and not has_model:
        raise UsageError("--min-fps goes with --model, whose inferences it counts")
    named = [word.strip().lower() for word in (words or "").split(",") if word.strip()]
    wrong = [
        f"'{word}' is nothing to need{did_you_mean(word, WORDS)}"
        for word in named
        if word not in WORDS
    ]
    if wrong:
        raise UsageError("; ".join(wrong), hint=f"expected some of {', '.join(WORDS)}")
    return need_of(named, max_watts=max_watts, min_fps=min_fps)


def _own(files: Sequence[Path]) -> Platforms:
    """The platforms of the user's own files; of one name, that of the last."""
    from runner.errors import Fault, SpecError
    from runner.spec.platforms import read

    found: Platforms = {}
    faults: list[Fault] = []
    for file in _each(files):
        try:
            found = {**found, **read(file.read_bytes(), file=str(file))}
        except OSError as error:
            raise UsageError(f"{file} can't be read: {error.strerror}") from None
        except SpecError as error:
            faults += error.faults
    if faults:
        raise SpecError(faults)
    return found


def _each(files: Sequence[Path]) -> list[Path]:
    each: list[Path] = []
    for file in files:
        if not file.is_dir():
            each.append(file)
            continue
        inside = sorted(path for path in file.iterdir() if path.suffix in (".yaml", ".yml"))
        if not inside:
            raise UsageError(f"{file}{os.sep} holds no .yaml file that could describe a platform")
        each += inside
    return each
