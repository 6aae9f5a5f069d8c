"""The report as plain text for a terminal: the sentence, the table, a line a task, the errors."""

from __future__ import annotations

from runner.report import chain, pareto
from runner.report import format as form
from runner.report.comparison import Column, compare
from runner.report.failure import Failure, failure, failures
from runner.report.headline import headline
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line, width

WIDTH = 80
HEADING_LIMIT = 22
NAME_LIMIT = 32
REASON_LIMIT = 60
DETAIL_LINES = 12
GAP = "  "

STYLES = {
    "bold": "1",
    "dim": "2",
    "finished": "32",
    "failed": "31",
    "lost": "31",
    "timed_out": "31",
    "cancelled": "33",
    "skipped": "33",
}


def to_terminal(
    report: Report, *, location: str | None = None, colour: bool = False, columns: int = WIDTH
) -> str:
    """The report in lines of at most ``columns`` cells, as far as names allow, ending in a newline.

    ``location`` is where report.html lies, to be named at the end. Colour is ANSI, if asked for.
    """
    sentence = _wrapped(f"{headline(report)}.", columns, "bold", colour)
    blocks = [[_title(report, colour), "", *sentence]]
    blocks.append(_chain(report, colour, columns))
    blocks += _tables(report, colour, columns)
    blocks += [lines for task in report.tasks if (lines := _tried(report, task, colour))]
    blocks.append(_task_lines(report, colour))
    blocks += [_failure_lines(task, wrong, colour) for task, wrong in failures(report)]
    if location:
        blocks.append([f"report  {one_line(location)}"])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _title(report: Report, colour: bool) -> str:
    parts = [one_line(report.run or report.job), report.status.replace("_", " ")]
    parts.append(form.at_work(report.duration_s, len(report.pauses)))
    return _styled(" · ".join(parts), "dim", colour)


def _wrapped(sentence: str, columns: int, style: str, colour: bool) -> list[str]:
    """Words filled into lines; a word longer than a line stands alone."""
    lines = [""]
    for word in sentence.split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer) <= columns:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_styled(line, style, colour) for line in lines if line]


def _tables(report: Report, colour: bool, columns: int) -> list[list[str]]:
    """The comparison, cut into several tables where it is wider than the terminal."""
    comparison = compare(report)
    labels = comparison.labels
    label_width = max((width(label) for label in labels), default=0)
    waiting: list[list[Column]] = []  # what stays together: a ratio and its models, if there's room
    for group in comparison.groups:
        fits = _table_width(label_width, group) <= columns
        waiting += [group] if fits else [[column] for column in group]
    tables: list[list[str]] = []
    while waiting:
        chosen = waiting.pop(0)
        while waiting and _table_width(label_width, [*chosen, *waiting[0]]) <= columns:
            chosen = [*chosen, *waiting.pop(0)]
        tables.append(_table(labels, label_width, chosen, colour))
    if comparison.caption:
        tables[-1] += _wrapped(comparison.caption, columns, "dim", colour)
    return tables


def _chain(report: Report, colour: bool, columns: int) -> list[str]:
    """All models from the first on, a line each."""
    found = chain.links(report)
    if not found:
        return []
    lines = _lines([("", *chain.headings(found)[1:]), *chain.rows(found)], colour)
    return [*lines, *_wrapped(chain.CAPTION, columns, "dim", colour)]


def _tried(report: Report, task: TaskReport, colour: bool) -> list[str]:
    """What a task tried, a line each."""
    found = pareto.points(report, task)
    if not found:
        return []
    return _lines(
        [(f"{task.name} tried", *pareto.headings(found)[1:]), *pareto.rows(found)], colour
    )


def _lines(cells: list[tuple[str, ...]], colour: bool) -> list[str]:
    """A table out of its headings and rows."""
    widths = [max(width(row[index]) for row in cells) for index in range(len(cells[0]))]
    lines = [_row(row[0], widths[0], list(zip(row[1:], widths[1:], strict=True))) for row in cells]
    rule = _styled("─" * (sum(widths) + len(GAP) * (len(widths) - 1)), "dim", colour)
    return [_styled(lines[0], "bold", colour), rule, *lines[1:]]


def _table(
    labels: tuple[str, ...], label_width: int, columns: list[Column], colour: bool
) -> list[str]:
    lines = [_row("", label_width, [(_heading(each), _column_width(each)) for each in columns])]
    if any(each.note for each in columns):
        lines.append(_row("", label_width, [(each.note, _column_width(each)) for each in columns]))
    lines = [_styled(line, "bold", colour) for line in lines]
    lines.append(_styled("─" * _table_width(label_width, columns), "dim", colour))
    for index, label in enumerate(labels):
        cells = [(each.cells[index], _column_width(each)) for each in columns]
        # Of a table that was cut, some parts have nothing in rows that others have figures in.
        if any(text != form.NONE for text, _ in cells):
            lines.append(_row(label, label_width, cells))
    return lines


def _row(label: str, label_width: int, cells: list[tuple[str, int]]) -> str:
    row = label + " " * (label_width - width(label))
    for text, cell_width in cells:
        row += GAP + " " * (cell_width - width(text)) + text
    return row.rstrip()


def _heading(column: Column) -> str:
    return one_line(column.heading, HEADING_LIMIT)


def _column_width(column: Column) -> int:
    return max(width(text) for text in (_heading(column), column.note, *column.cells))


def _table_width(label_width: int, columns: list[Column]) -> int:
    return label_width + sum(len(GAP) + _column_width(each) for each in columns)


def _task_lines(report: Report, colour: bool) -> list[str]:
    names = [one_line(task.name, NAME_LIMIT) for task in report.tasks]
    name_width = max((width(name) for name in names), default=0)
    status_width = max((len(task.status) for task in report.tasks), default=0)
    lines = []
    for task, name in zip(report.tasks, names, strict=True):
        status = task.status.replace("_", " ").ljust(status_width)
        parts = [form.duration(task.duration_s).rjust(10) if task.attempts else " " * 10]
        if task.status == "skipped" and task.error:
            parts = [one_line(failure(task.error).summary, REASON_LIMIT)]
        if task.node:
            parts.append(f"on {one_line(task.node, NAME_LIMIT)}")
        if len(task.attempts) > 1:
            parts.append(f"{len(task.attempts)} attempts")
        name += " " * (name_width - width(name))
        line = f"{name}{GAP}{_styled(status, task.status, colour)}{GAP}{GAP.join(parts)}"
        lines.append(line.rstrip())
    return lines


def _failure_lines(task: TaskReport, wrong: Failure, colour: bool) -> list[str]:
    """The error, the user's frames first, and where the whole of it can be read."""
    name = one_line(task.name, NAME_LIMIT)
    lines = [_styled(f"{name}: {wrong.summary}", task.status, colour)]
    lines += [f"  {line}" for line in wrong.details[:DETAIL_LINES]]
    if len(wrong.details) > DETAIL_LINES:
        lines.append(f"  … {len(wrong.details) - DETAIL_LINES} more lines, which the log has")
    lines += [f"    {line}" for line in wrong.frames]
    if wrong.hint:
        lines += [f"  hint  {wrong.hint}"]
    if wrong.log:
        lines.append(f"  log   {wrong.log}")
    return lines


def _styled(text: str, style: str, colour: bool) -> str:
    code = STYLES.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code and text else text
