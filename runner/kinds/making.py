"""What kind quantize tries is made here, or by the workers of a gang, each its share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import TaskError
from runner.kinds import Yield
from runner.kinds.candidates import Candidate, Source, answers, check_taken
from runner.kinds.fitting import gang
from runner.kinds.schemes import Choice
from runner.model import Context, Fact, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.edge.quantizers.recipe import Recipe

# A worker waits for the slowest, which may take as long as the task's timeout allows.
_WAIT_LIMIT_S = 7 * 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Share:
    """What a worker has made of its choices, the files of each, and why it has not made others."""

    made: list[Candidate] = field(default_factory=list)
    files: list[dict[str, bytes]] = field(default_factory=list)
    left_out: dict[Choice, TaskError] = field(default_factory=dict)


def make_all(
    context: Context,
    source: Source,
    wanted: Sequence[Choice],
    recipe: Callable[[Choice], Recipe],
) -> Generator[Yield, None, list[Candidate] | None]:
    """All that there is to try and that can be had; why something can't be is told.

    Of a gang each worker makes its share, and rank 0 gets all of them; None on every other. Raises
    TaskError if nothing can be had.
    """
    share = yield from _make(source, wanted[context.rank :: context.world_size], recipe)
    if context.world_size > 1:
        with gang(context, limit_s=_WAIT_LIMIT_S):
            shares = _gathered(context, share)
        if shares is None:
            return None
        share = _joined(shares, source.scratch, wanted)
    if not share.made:
        raise _nothing(share)
    for choice, error in share.left_out.items():
        yield Fact(name=f"left out: {choice}", text=error.message)
    return share.made


def _make(
    source: Source, wanted: Sequence[Choice], recipe: Callable[[Choice], Recipe]
) -> Generator[Yield, None, _Share]:
    share = _Share()
    for step, choice in enumerate(wanted):
        yield Progress(step=step, total_steps=len(wanted), phase="quantize")
        try:
            candidate = source.make(choice, recipe(choice))
            check_taken(candidate, source)
            answers(candidate, source, source.data.test_inputs)
        except TaskError as error:
            share.left_out[choice] = error
        else:
            share.made.append(candidate)
    return share


def _gathered(context: Context, share: _Share) -> list[_Share] | None:
    """The shares of all workers on rank 0, with their files; None on every other."""
    from runner.torchlib.parallel.world import gathered

    if context.rank > 0:
        share = replace(share, files=[_files(candidate.folder) for candidate in share.made])
    return gathered(share)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _joined(shares: Sequence[_Share], scratch: Path, wanted: Sequence[Choice]) -> _Share:
    """All in the order in which they are wanted, what others have made written to ``scratch``."""
    mine, *others = shares
    made = {candidate.choice: candidate for candidate in mine.made}
    left_out = dict(mine.left_out)
    for rank, share in enumerate(others, 1):
        left_out |= share.left_out
        for candidate, files in zip(share.made, share.files, strict=True):
            folder = scratch / f"of-rank-{rank}" / candidate.folder.name
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            made[candidate.choice] = replace(candidate, folder=folder)
    return _Share(
        made=[made[choice] for choice in wanted if choice in made],
        left_out={choice: left_out[choice] for choice in wanted if choice in left_out},
    )


def _nothing(share: _Share) -> TaskError:
    errors = share.left_out
    if len(errors) == 1:
        (error,) = errors.values()
        return error
    reasons = "; ".join(f"{choice}: {error.message}" for choice, error in errors.items())
    hints = dict.fromkeys(error.hint for error in errors.values() if error.hint)
    return TaskError(f"nothing that was tried can be had: {reasons}", hint="; or ".join(hints))
