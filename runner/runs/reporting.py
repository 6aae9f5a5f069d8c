"""A run's folder → its report, in every form."""

from __future__ import annotations

import json

from runner.report.figures import warm
from runner.report.html import to_html
from runner.report.markdown import to_markdown
from runner.report.summary import Report, summarise, to_json
from runner.runs.finding import driver_alive
from runner.runs.folder import RunFolder

__all__ = ["report_of", "warm", "write_reports"]


def report_of(folder: RunFolder) -> Report:
    """The report of a run as its records stand. Raises RecordsError if they can't be read."""
    records = folder.records()
    folder.plan()  # checked as a plan before its document is used
    return summarise(
        json.loads(folder.plan_text()),
        records,
        driver_alive=driver_alive(folder, records),
        storage=str(folder.path.parent),
    )


def write_reports(folder: RunFolder) -> Report:
    """Write report.json, report.md and report.html anew from the records."""
    report = report_of(folder)
    folder.write("report.json", to_json(report))
    folder.write("report.md", to_markdown(report))
    folder.write("report.html", to_html(report))
    return report
