"""Storage at a URI, on each sort of file system: a disk's, memory's, and a real S3 protocol."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runner.errors import Exit, StorageError, UsageError
from runner.storage import OFTEN_S, SELDOM_S, Remote, at, pause_s
from tests.conftest import REPOSITORY


@pytest.fixture(params=["file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """An empty folder."""
    if request.param == "s3":
        return Remote(f"{request.getfixturevalue('bucket')}/runs")
    if request.param == "memory":
        return Remote(f"memory://{secrets.token_hex(4)}")
    return Remote(f"file://{tmp_path}/runs")


def test_a_uri_is_told_from_a_path_by_how_it_begins() -> None:
    assert at("s3://bucket/runs/") == Remote("s3://bucket/runs")
    assert at("runs") == Path("runs")
    assert at("/mnt/runs:/x") == Path("/mnt/runs:/x")
    deep = at("gs://bucket") / "a" / "b"
    assert (str(deep), deep.name, str(deep.parent)) == ("gs://bucket/a/b", "b", "gs://bucket/a")
    assert str(Remote("file:///") / "x") == "file:///x"
    assert str(Remote("memory://") / "x") == "memory://x"


def test_a_relative_uri_means_the_same_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Remote("file://runs").absolute()) == f"file://{tmp_path}/runs"


def test_what_is_written_is_read(place: Remote) -> None:
    file = place / "deep" / "file"
    assert (file.read(), file.size(), file.exists()) == (None, None, False)
    assert (place.names(), place.sizes()) == ([], {})
    file.write(b"0123456789")
    assert (file.read(), file.read(4), file.size()) == (b"0123456789", b"456789", 10)
    assert (file.read(10), file.read(11)) == (b"", b"")  # where a store says that it has none
    file.write(b"012")
    assert (file.read(), file.read(5), file.size()) == (b"012", b"", 3)
    (place / "other").write(b"")
    assert (place.names(), place.sizes()) == (["deep", "other"], {"deep/file": 3, "other": 0})
    assert ((place / "deep").exists(), (place / "deep").size()) == (True, None)
    place.remove()
    assert place.names() == []
    place.remove()


def test_what_others_write_meanwhile_is_seen(place: Remote) -> None:
    """File systems like to remember what they have listed."""
    place.write(b"") if place.uri.startswith("memory") else (place / "first").write(b"")
    for each in (place / "a").names(), (place / "a" / "one").size():
        assert not each
    writing = (
        f"from runner.storage import Remote; Remote({(place / 'a' / 'one').uri!r}).write(b'1')"
    )
    if place.uri.startswith("memory"):
        pytest.skip("memory is this process's own")
    subprocess.run([sys.executable, "-c", writing], check=True, timeout=60)
    assert ((place / "a").names(), (place / "a" / "one").size()) == (["one"], 1)
    assert (place / "a").sizes() == {"one": 1}


def test_of_many_who_make_a_file_one_does(place: Remote) -> None:
    (place / "beside").write(b"")
    if place.uri.startswith("memory"):
        assert [(place / "claim").create(b"1"), (place / "claim").create(b"2")] == [True, False]
        return
    start, made = threading.Barrier(6), list[bool]()

    def claim(number: int) -> None:
        start.wait()
        made.append((place / "claim").create(b"%d" % number))

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 5 + [True]


def test_folders_are_put_and_got_whole(place: Remote, tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "inner").mkdir(parents=True)
    (source / "a.bin").write_bytes(os.urandom(300_000))
    (source / "inner" / ".hidden").write_bytes(b"x")
    (source / "empty").write_bytes(b"")
    (place / "model").put(source)
    assert (place / "model").sizes() == {"a.bin": 300_000, "empty": 0, "inner/.hidden": 1}
    (place / "model").get(tmp_path / "back")
    for file in ("a.bin", "inner/.hidden", "empty"):
        assert (tmp_path / "back" / file).read_bytes() == (source / file).read_bytes()
    (place / "one.bin").put(source / "a.bin")
    assert (place / "one.bin").size() == 300_000
    with pytest.raises(StorageError, match=f"nothing lies at {place}/nowhere"):
        (place / "nowhere").get(tmp_path / "none")


def test_who_reads_while_it_is_written_has_the_old_or_the_new(tmp_path: Path) -> None:
    """Stores show nothing of a file before it is whole; a disk would."""
    file = Remote(f"file://{tmp_path}/records")
    sizes = 10, 3_000_000
    file.write(b"x" * sizes[0])
    over = threading.Event()

    def write() -> None:
        for turn in range(60):
            file.write(b"x" * sizes[turn % 2])
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not over.is_set():
        seen.add(len(file.read() or b""))
    thread.join()
    assert seen <= set(sizes)
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


@pytest.mark.parametrize(
    ("uri", "package"), [("gs://bucket/runs", "gcsfs"), ("abfs://runs@account/x", "adlfs")]
)
def test_a_package_that_is_missing_is_named(uri: str, package: str) -> None:
    pytest.importorskip("fsspec")
    try:
        __import__(package)
    except ImportError:
        with pytest.raises(UsageError, match="can't be reached") as caught:
            Remote(uri).absolute()
        assert caught.value.hint.startswith(f"pip install {package}")
        assert caught.value.exit_code == Exit.USAGE
    else:
        pytest.skip(f"{package} is installed")


def test_a_protocol_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match="Protocol not known: s4") as caught:
        Remote("s4://bucket/runs").absolute()
    assert "s3://bucket/runs" in caught.value.hint


def test_what_a_store_refuses_is_told_with_the_uri_and_its_own_words(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Remote(f"{bucket}-not/runs/x")
    with pytest.raises(StorageError) as caught:
        missing.write(b"")
    assert (
        caught.value.message == f"{missing} can't be written: The specified bucket does not exist"
    )
    assert "credentials are found as s3fs documents it" in caught.value.hint
    assert caught.value.exit_code == Exit.NO_RUN


def test_a_read_only_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"can't be written: (Not a directory|File exists)"):
        (Remote(f"file://{tmp_path}/file") / "runs").write(b"")


def test_writing_takes_a_twentieth_of_the_time_at_most() -> None:
    assert [pause_s(took_s) for took_s in (0, 0.01, 0.5, 5)] == [OFTEN_S, OFTEN_S, 10, SELDOM_S]


def test_a_path_of_this_machine_never_imports_fsspec(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from runner.runs.finding import all_runs, storage_at\n"
        "from runner.runs.folder import RunFolder\n"
        "from tests.runs.plans import finished_run\n"
        f"finished_run(Path({str(tmp_path)!r}), 'run')\n"
        f"(folder,) = all_runs(storage_at({str(tmp_path)!r}, {{}}))\n"
        "folder.reopen(folder.plan()); folder.release(); folder.records()\n"
        "sys.exit('fsspec' in sys.modules or 'runner.runs.mirror' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=60, check=False)
    assert ended.returncode == 0
