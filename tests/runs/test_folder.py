"""The run folder: what is written is read back, whatever was cut off or broken."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

from runner.errors import RecordsError, UsageError
from runner.model import Record
from runner.runs.folder import PLAN, RECORDS, RunFolder
from tests.runs.plans import plan, record, run_folder

A_FEW = [
    record("run_started", run="r", job="j", driver={"pid": 1}),
    record("attempt_started", "only", after_s=0.25, placement={"nodes": ["ünode 1"]}),
    record("metrics", "only", after_s=1.5, points=[["loss", 1, 0.1], ["loss", 2, 1e-300]]),
    record("run_ended", after_s=2, status="finished"),
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return run_folder(tmp_path, "run")


def test_records_come_back_as_they_were_appended(folder: RunFolder) -> None:
    assert folder.records() == []
    for each in A_FEW:
        folder.append(each)
    assert folder.records() == A_FEW
    assert (folder.path / RECORDS).read_bytes().count(b"\n") == len(A_FEW)


def test_a_last_line_torn_anywhere_is_left_out(folder: RunFolder) -> None:
    for each in A_FEW:
        folder.append(each)
    file = folder.path / RECORDS
    whole = file.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(2, last + 1):
        file.write_bytes(whole[:-cut])
        assert folder.records() == A_FEW[:-1], cut
    file.write_bytes(whole[:-1])  # all of it but its newline is there: it is whole
    assert folder.records() == A_FEW


def test_a_torn_character_at_the_end_is_left_out(folder: RunFolder) -> None:
    folder.append(A_FEW[0])
    with (folder.path / RECORDS).open("ab") as file:
        file.write('{"at_s": 1, "event": "ü'.encode()[:-1])
    assert folder.records() == A_FEW[:1]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b'{"at_s": 1.0, "event": "hea',
        b"5",
        b"[]",
        b"null",
        b'{"event": "heartbeat"}',
        b'{"at_s": 1.0, "event": "heartbeat", "mood": "good"}',
        b'{"at_s": "noon", "event": "heartbeat"}',
        b'{"at_s": true, "event": "heartbeat"}',
        b'{"at_s": 1.0, "event": 5}',
        b'{"at_s": 1.0, "event": "progress", "task": 5, "attempt": 1}',
        b'{"at_s": 1.0, "event": "progress", "task": "a", "attempt": "1"}',
        b'{"at_s": 1.0, "event": "progress", "data": []}',
        b"\xff\xfe\x00",
    ],
)
def test_a_broken_line_in_the_middle_is_an_error_with_its_number(
    folder: RunFolder, line: bytes
) -> None:
    folder.append(A_FEW[0])
    with (folder.path / RECORDS).open("ab") as file:
        file.write(line + b"\n")
    folder.append(A_FEW[1])
    with pytest.raises(RecordsError, match=re.escape(f"{folder.path / RECORDS}:2 is no record")):
        folder.records()


def test_a_number_that_is_none_is_null_and_the_line_stays_json(folder: RunFolder) -> None:
    points = [["loss", 1, math.nan], ["loss", 2, math.inf], ["loss", 3, 0.5]]
    folder.append(record("metrics", "only", points=points, nested={"deep": (-math.inf,)}))
    text = (folder.path / RECORDS).read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    (back,) = folder.records()
    assert back.data["points"] == [["loss", 1, None], ["loss", 2, None], ["loss", 3, 0.5]]
    assert back.data["nested"] == {"deep": [None]}


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(folder: RunFolder) -> None:
    before = sorted(path.name for path in folder.path.iterdir())
    folder.write("report.md", "old " * 1000)
    first = (folder.path / "report.md").stat().st_ino
    with (folder.path / "report.md").open() as reading:
        folder.write("report.md", "new ü")
        # Whoever read meanwhile still sees all of the old one: it was renamed over, not rewritten.
        assert reading.read() == "old " * 1000
    assert (folder.path / "report.md").read_text(encoding="utf-8") == "new ü"
    assert (folder.path / "report.md").stat().st_ino != first
    assert sorted(path.name for path in folder.path.iterdir()) == sorted([*before, "report.md"])


def test_the_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    written = plan({"a": (), "b": ("a",)}, max_restarts=7)
    folder = RunFolder.create(tmp_path / "deep" / "storage", "run", written)
    assert folder.plan() == written
    assert RunFolder(folder.path).plan() == written
    assert folder.run == "run"


def test_a_plan_that_is_gone_or_is_none_is_an_error_that_names_it(folder: RunFolder) -> None:
    (folder.path / PLAN).write_text('{"job": 5}')
    with pytest.raises(RecordsError, match=re.escape(str(folder.path / PLAN))):
        folder.plan()
    (folder.path / PLAN).unlink()
    with pytest.raises(RecordsError, match="No such file"):
        folder.plan()


@pytest.mark.parametrize("storage", ["file/below", "/proc/runs"])
def test_storage_that_cannot_be_written_is_a_usage_error(tmp_path: Path, storage: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="can't be made") as caught:
        RunFolder.create(tmp_path / storage, "run", plan({"a": ()}))
    assert str(tmp_path / storage) in caught.value.message
    assert "--storage" in caught.value.hint


def test_a_run_of_the_same_name_is_not_written_over(folder: RunFolder) -> None:
    before = (folder.path / PLAN).read_bytes()
    with pytest.raises(UsageError, match="File exists"):
        RunFolder.create(folder.path.parent, folder.run, plan({"other": ()}))
    assert (folder.path / PLAN).read_bytes() == before


def test_a_wish_to_cancel_is_seen_by_whoever_looks(folder: RunFolder) -> None:
    assert not folder.cancel_requested()
    RunFolder(folder.path).request_cancel()
    assert folder.cancel_requested()
    folder.request_cancel()
    assert folder.cancel_requested()


def test_a_folder_named_relatively_is_still_found_from_elsewhere(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder.path.parent)
    relative = RunFolder(Path("run"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    assert relative.plan() == folder.plan()


def test_appends_of_several_writers_do_not_tear_each_other(folder: RunFolder) -> None:
    from concurrent.futures import ThreadPoolExecutor

    long = "x" * 5000
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda n: folder.append(record("metrics", "only", n=n, text=long)), range(80))
        )
    assert sorted(each.data["n"] for each in folder.records()) == list(range(80))
    assert all(isinstance(each, Record) and each.data["text"] == long for each in folder.records())


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_folder_that_is_gone_is_told_and_not_made_anew(folder: RunFolder, how: str) -> None:
    assert folder.is_there()
    if how == "moved":
        folder.path.rename(folder.path.with_name("elsewhere"))
    else:
        # As 'rm -r' does when a record comes in its midst: the folder itself is still there.
        (folder.path / PLAN).unlink()
        (folder.path / RECORDS).unlink()
    assert not folder.is_there()
    for write in (lambda: folder.append(A_FEW[0]), lambda: folder.plan()):
        with pytest.raises(RecordsError, match=re.escape(str(folder.path))):
            write()
    assert not (folder.path / RECORDS).exists()
