"""Every form of the report holds whatever is in its records, harmlessly."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from digits_run import STUDENT, planned_task, record, summary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from runner.model import Record
from runner.report.comparison import CAPTION
from runner.report.html import to_html
from runner.report.markdown import escaped, fenced, to_markdown
from runner.report.summary import Report, summarise, to_json
from runner.report.terminal import to_terminal
from runner.report.text import printable, width

VOID = {"meta", "br", "img", "input", "hr", "link"}
HOSTILE = (
    '</script><script>alert(1)</script><img src=x onerror="a()">',
    "'\"><svg onload=a()>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 \u202eabc \ud800",
    "a|b `c` ```\n# d\n[e](http://example.com) <f> $g$ @h **i**",
    "名前 émoji 🙂 ﷽",
    "]]> --> &amp; &#60; %s {0} ${x}",
)


class Page(HTMLParser):
    """Checks that elements nest, and keeps what is in them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def hostile(plan: dict[str, Any], text: str) -> Report:
    """A run in which everything that comes from outside is ``text``."""
    plan = copy.deepcopy(plan)
    first, second = plan["tasks"]
    first["task"]["name"], first["task"]["kind"] = text, text
    first["placement"] |= {"reason": text, "device": text, "nodes": [text]}
    second["task"]["depends_on"] = [text]
    plan["job"] |= {"name": text, "file": text, "overrides": [text], "spec": {text: [text]}}
    plan["cluster"] = text
    error = dict.fromkeys(("type", "message", "hint", "log"), text) | {"frames": [text]}
    points: list[list[object]] = [[f"{text}/loss", step, 1.0 / step] for step in (1, 2, 3)]
    points += summary({text: 1.0, "test/accuracy": 0.9})
    made = {"name": text, "path": text, "bytes": 3, "sha256": text}
    stream = [
        record(0, "run_started", run=text, environment={text: text}, cluster={"source": text}),
        record(1, "attempt_started", text, 1),
        record(2, "attempt_running", text, 1, node=text, environment={text: text}),
        record(3, "metrics", text, 1, points=points),
        record(4, "artifact", text, 1, **made),
        record(5, "attempt_ended", text, 1, status="failed", error=error),
        record(5, "task_ended", text, status="failed", error=error),
        record(6, "task_ended", "student", status="skipped", error=error),
        record(7, "run_ended", status="failed"),
    ]
    return summarise(plan, stream, storage=text)


def assert_harmless(page: Page) -> None:
    assert not {"script", "img", "iframe", "link", "object", "f", "b"} & set(page.names)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "action")
        if name == "href":
            assert value.startswith(("#", "./"))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_page_of_a_good_run(plan_document: dict[str, Any], records: list[Record]) -> None:
    text = to_html(summarise(plan_document, records))
    page = parsed(text)
    assert_harmless(page)
    assert text == to_html(summarise(plan_document, records))
    assert len(text.encode()) < 300_000
    assert not re.search(r'(?:href|src)=(?!"#)|@import|url\((?!#)', text)
    assert text.count('<svg role="img"') == 4 and 'class="timeline"' in text
    for shown in (
        "student is 117\u00d7 smaller and 2.3\u00d7 faster than teacher, and 0.8 points less",
        "runner submit jobs/distill.yaml --set tasks.student.alpha=0.7",
        "student vs teacher",
        "128 = 128 per device \u00d7 1 accumulated \u00d7 1 worker",
        "1 lost after 1.8 s on node-1 (the worker was killed (SIGKILL))",
        "9f2b6c1d0e8a",
        "AMD EPYC 7B13",
        "temperature: 3.0",
        "1 for computing, in training and in measuring.",
    ):
        assert shown in page.text, shown


def test_the_page_of_a_failed_run(
    plan_document: dict[str, Any], failed_records: list[Record]
) -> None:
    page = parsed(to_html(summarise(plan_document, failed_records)))
    assert page.text.count("my/model.py:12 in forward: return self.head(x)") == 1
    assert "Log: teacher/1/log.txt" in page.text
    assert ("href", "./teacher/1/log.txt") in page.attributes
    assert "Comparison" not in page.text and "Measurements" not in page.text


def test_a_long_run_stays_a_small_page(
    plan_document: dict[str, Any], records: list[Record]
) -> None:
    points = [[name, step, 1.0 + (step % 97) / (step + 1)]
              for step in range(20_000) for name in ("train/loss", "test/accuracy")]  # fmt: skip
    stream = [*records[:3], record(4, "metrics", "teacher", 1, points=points)]
    assert len(to_html(summarise(plan_document, stream))) < 150_000


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(plan_document: dict[str, Any], text: str) -> None:
    report = hostile(plan_document, text)
    page_text = to_html(report)
    page_text.encode()
    page = parsed(page_text)
    assert_harmless(page)
    assert "\x1b" not in page_text and "\x00" not in page_text and "\u202e" not in page_text
    to_json(report).encode()
    terminal = to_terminal(report, location=text)
    terminal.encode()
    assert "\x1b" not in terminal and "\u202e" not in terminal
    markdown = to_markdown(report)
    markdown.encode()
    outside = re.sub(r"^(`{3,}).*?^\1$", "", markdown, flags=re.S | re.M)
    assert "<" not in outside and "\x1b" not in outside
    assert "@h" not in outside and "](http" not in outside


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(some.text(min_size=1, max_size=40).filter(lambda text: text != "student"))
def test_any_text_at_all(plan_document: dict[str, Any], text: str) -> None:
    report = hostile(plan_document, text)
    assert_harmless(parsed(to_html(report)))
    to_json(report)
    to_markdown(report).encode()
    to_terminal(report, colour=True).encode()


def test_every_prefix_has_every_form(
    plan_document: dict[str, Any], records: list[Record], failed_records: list[Record]
) -> None:
    for stream in (records, failed_records):
        for length in range(len(stream)):
            report = summarise(plan_document, stream[:length])
            assert to_markdown(report) and to_terminal(report)
            if length % 4 == 0:
                parsed(to_html(report))


def test_the_terminal_fits_two_tasks_in_eighty_columns(
    plan_document: dict[str, Any], records: list[Record]
) -> None:
    text = to_terminal(summarise(plan_document, records), location="runs/x/report.html")
    lines = text.splitlines()
    assert max(width(line) for line in lines) <= 80
    assert "\x1b" not in text
    table = [line for line in lines if line.startswith(("test accuracy", "parameters", "through"))]
    assert len({len(line) for line in table}) == 1
    assert re.search(r"^student +finished +5\.5 s +on node-1 +2 attempts$", text, re.M)
    assert lines[-1] == "report  runs/x/report.html"
    coloured = to_terminal(
        summarise(plan_document, records), location="runs/x/report.html", colour=True
    )
    assert printable(coloured) == text


def test_a_wide_table_is_cut_into_several(
    plan_document: dict[str, Any], records: list[Record]
) -> None:
    report = summarise(plan_document, records)
    lines = to_terminal(report, columns=50).splitlines()
    assert sum(line.startswith("test accuracy") for line in lines) == 2
    tables = lines[2 : next(n for n, line in enumerate(lines) if line.startswith("teacher  fin"))]
    assert max(width(line) for line in tables) <= 50


def test_a_ratio_stays_beside_its_models_where_there_is_room(
    plan_document: dict[str, Any], records: list[Record]
) -> None:
    plan_document["tasks"].append(planned_task("small", "distill", ["teacher"]))
    stream = [
        *records[:-1],
        record(12.1, "attempt_started", "small", 1),
        record(12.1, "metrics", "small", 1, points=summary(STUDENT)),
        record(12.2, "task_ended", "small", status="finished", error=None),
        record(12.3, "run_ended", status="finished"),
    ]
    text = to_terminal(summarise(plan_document, stream))
    headings = [line.split() for line in text.splitlines() if " vs " in line]
    assert headings == [
        ["teacher", "student", "student", "vs", "teacher"],
        ["teacher", "small", "small", "vs", "teacher"],
    ]
    assert text.count(CAPTION) == 1
    assert max(width(line) for line in text.splitlines()) <= 80


def test_the_table_says_how_its_ratios_were_measured(
    plan_document: dict[str, Any], records: list[Record]
) -> None:
    report = summarise(plan_document, records)
    assert CAPTION in to_terminal(report)
    assert CAPTION in to_markdown(report)
    assert parsed(to_html(report)).text.count(CAPTION) == 1


def test_the_terminal_shows_the_error(
    plan_document: dict[str, Any], failed_records: list[Record]
) -> None:
    text = to_terminal(summarise(plan_document, failed_records))
    assert text.endswith(
        "teacher: ValueError: expected 64 inputs, got 63\n"
        "  in batch 4\n"
        "    my/model.py:12 in forward: return self.head(x)\n"
        "  log   teacher/1/log.txt\n"
    )


def test_markdown_says_the_same(plan_document: dict[str, Any], records: list[Record]) -> None:
    text = to_markdown(summarise(plan_document, records))
    assert text.startswith("# student is 117\u00d7 smaller")
    assert "|  | teacher | student | student vs teacher |\n| --- | ---: | ---: | ---: |\n" in text
    assert "| test accuracy | 98.1 % | 97.2 % | \u22120.8 points |" in text
    assert "```yaml\nname: distill-digits\n" in text


def test_markdown_escapes() -> None:
    assert escaped("a|b\n`c` <d> @e") == r"a\|b \`c\` &lt;d&gt; &#64;e"
    assert fenced("x\n````\ny") == "`````\nx\n````\ny\n`````"


def test_text_is_made_printable() -> None:
    assert printable("\x1b[1;31mred\x1b[0m\x1b]8;;http://x\x07link\x1b]8;;\x07") == "redlink"
    assert printable("a\x00b\ud800c\u202ed\r\ne\tf") == "a\ufffdb\ufffdc\ufffdd\ne\tf"
    assert printable("名前 é 👩\u200d🔬") == "名前 é 👩\u200d🔬"
    assert (width("abc"), width("名前"), width("e\u0301")) == (3, 4, 1)
