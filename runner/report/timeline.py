"""The timeline: a bar for each attempt at each task, over the seconds of the run, as inline SVG.

Its widths are percentages, so that bars stretch with the page while the letters keep their size.
"""

from __future__ import annotations

import math
from html import escape

from runner.report import format as form
from runner.report.fold import AttemptState, at_work_s
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line

ROW = 44
BAR_TOP, BAR = 20, 14
AXIS = 26
NAME_LIMIT, DETAIL_LIMIT = 40, 60
PHONE_PX, LETTER_PX = 360, 7
LEAD_SHARE = 0.08  # a shorter time before the first task is not worth a row
STEPS = (1, 2, 5, 10, 15, 30)


def timeline(report: Report) -> str:
    """The picture, or nothing for a run in which no task was started."""
    started = [task for task in report.tasks if task.started_s is not None]
    if report.started_s is None or not started or not report.duration_s:
        return ""
    ready_s = min(task.started_s or 0.0 for task in started) - report.started_s
    lead = _lead(ready_s, report.duration_s) if ready_s > LEAD_SHARE * report.duration_s else ""
    first_top = ROW if lead else 0
    height = ROW * len(started) + first_top + AXIS
    ticks = "".join(_tick(at, report.duration_s, height) for at in tick_times(report.duration_s))
    pauses = "".join(_pause(report, *pause, height) for pause in report.pauses)
    rows = "".join(
        _row(report, task, first_top + index * ROW) for index, task in enumerate(started)
    )
    title = f"When each of {len(started)} tasks ran, and on which node"
    return (
        f'<svg class="timeline" role="img" aria-label="{title}" width="100%" height="{height}">'
        f"<title>{title}</title>{ticks}{pauses}{lead}{rows}</svg>"
    )


def tick_times(duration_s: float, most: int = 7) -> list[float]:
    """Round times from zero up to ``duration_s``: steps of 1, 2 or 5, or of clock units."""
    rough = duration_s / most
    if rough < 30:
        unit = 10.0 ** math.floor(math.log10(rough)) if rough < 1 else 1.0
    else:
        unit = 60.0 if rough < 1800 else 3600.0
    step = next((unit * n for n in STEPS if unit * n >= rough), None)
    if step is None:
        step = unit * 10 ** math.ceil(math.log10(rough / unit))
    return [step * n for n in range(math.floor(duration_s / step + 1e-9) + 1)]


def _tick(at_s: float, duration_s: float, height: int) -> str:
    x = 100 * at_s / duration_s
    anchor = "start" if at_s == 0 else "end" if x > 96 else "middle"
    base = height - AXIS + 4
    return (
        f'<line class="grid" x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="{base}"/>'
        f'<text class="tick" x="{x:.3f}%" y="{base + 16}" text-anchor="{anchor}">'
        f"{_clock(at_s)}</text>"
    )


def _pause(report: Report, since_s: float, until_s: float, height: int) -> str:
    """Where a pause was cut out of the axis: it may be of days."""
    x = _position(report, until_s)
    title = f"resumed after a pause of {form.duration(max(0.0, until_s - since_s))}"
    return (
        f'<line class="pause" x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="{height - AXIS + 4}">'
        f"<title>{title}</title></line>"
    )


def _lead(ready_s: float, duration_s: float) -> str:
    """What comes before the first task: the time until the cluster was there."""
    end, y = 100 * ready_s / duration_s, BAR_TOP + BAR // 2
    return (
        f'<text class="task" x="0" y="{BAR_TOP - 6}">cluster'
        f'<tspan class="detail" dx="8">ready after {form.duration(ready_s)}</tspan></text>'
        f'<line class="starting" x1="0" x2="{end:.3f}%" y1="{y}" y2="{y}"/>'
    )


def _row(report: Report, task: TaskReport, top: int) -> str:
    bars = "".join(_bars(report, task, attempt, top + BAR_TOP) for attempt in task.attempts)
    first = _position(report, task.started_s)
    label = [form.duration(task.duration_s)]
    if len(task.attempts) > 1:
        label.append(f"{len(task.attempts)} attempts")
    nodes = list(dict.fromkeys(each.node for each in task.attempts if each.node))
    if nodes:
        label.append(f"on {', '.join(nodes)}")
    if task.status != "finished":
        label.append(task.status.replace("_", " "))
    name, detail = one_line(task.name, NAME_LIMIT), one_line(" · ".join(label), DETAIL_LIMIT)
    # The label starts with its bar, or ends at the right edge where a phone has too little room.
    room_px = PHONE_PX * (1 - first / 100)
    fits = LETTER_PX * (len(name) + len(detail) + 2) <= room_px
    place = f'x="{first:.3f}%"' if fits or first < 5 else 'x="100%" text-anchor="end"'
    return (
        f'<text class="task" {place} y="{top + BAR_TOP - 6}">{escape(name)}'
        f'<tspan class="detail" dx="8">{escape(detail)}</tspan></text>{bars}'
    )


def _bars(report: Report, task: TaskReport, attempt: AttemptState, top: int) -> str:
    """A thin line while the worker was on its way, then a bar: hollow if the attempt was lost."""
    start = _position(report, attempt.started_s)
    ran = _position(report, attempt.running_s) if attempt.running_s is not None else None
    end = _position(report, attempt.ended_s) if attempt.ended_s is not None else 100.0
    what = f"{task.name}, attempt {attempt.number}: {attempt.status.replace('_', ' ')}"
    title = f"<title>{escape(one_line(what))}</title>"
    waited_until = end if ran is None else ran
    middle = top + BAR / 2
    shapes = (
        f'<line class="starting" x1="{start:.3f}%" x2="{waited_until:.3f}%" '
        f'y1="{middle:g}" y2="{middle:g}"/>'
    )
    if ran is not None:
        shapes += (
            f'<rect class="bar {attempt.status}" x="{ran:.3f}%" y="{top}" '
            f'width="{max(end - ran, 0.3):.3f}%" height="{BAR}" rx="2"/>'
        )
    return f"<g>{title}{shapes}</g>"


def _position(report: Report, at_s: float | None) -> float:
    """Where on the axis a time lies, in percent."""
    if at_s is None or report.started_s is None or not report.duration_s:
        return 0.0
    after_s = at_work_s(report.started_s, at_s, report.pauses) or 0.0
    return min(100.0, 100 * after_s / report.duration_s)


def _clock(at_s: float) -> str:
    if at_s < 60:
        return f"{at_s:g} s"
    minutes, seconds = divmod(round(at_s), 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02} h"
