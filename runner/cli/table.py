"""Rows of cells under each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(
    rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,), columns: int | None = None
) -> list[str]:
    """The cells of each row under each other: the columns ``left`` to the left, others right.

    The last ones are left out where lines would be longer than ``columns`` of a terminal.
    """
    from runner.report.text import width

    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    while columns is not None and len(widths) > 1 and sum(widths) + 2 * len(widths) - 2 > columns:
        widths.pop()
    return [
        "  ".join(
            cell + " " * (most - width(cell))
            if index in left
            else " " * (most - width(cell)) + cell
            for index, (cell, most) in enumerate(zip(cells, widths, strict=False))
        ).rstrip()
        for cells in rows
    ]
