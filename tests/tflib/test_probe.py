"""Whether there is a TPU: signs of one, and a child process that may hang, abort or lie."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from runner.tflib.installed import installed_build
from runner.tflib.probe import Finding, probe, signs, without_asking
from runner.tflib.tpu import TpuAddress
from tests.conftest import wait_for
from tests.runs.real_runs import is_gone

LOCAL = TpuAddress()


def asking(code: str, *, limit_s: float = 30.0, root: Path, address: TpuAddress = LOCAL) -> Finding:
    """What a probe finds whose child process does something else."""
    return probe(address, limit_s=limit_s, root=root, command=(sys.executable, "-c", code))


def answer(cores: int, said: str = "well") -> str:
    return f"print({json.dumps(json.dumps({'cores': cores, 'said': said}))})"


def test_chips_show_as_devices_and_as_googles_behind_pci(tmp_path: Path) -> None:
    for name in ("accel0", "accel1"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    for name, vendor in (("0000:00:04.0", "0x1ae0\n"), ("0000:00:05.0", "0x8086\n")):
        (tmp_path / "sys/bus/pci/devices" / name).mkdir(parents=True)
        (tmp_path / "sys/bus/pci/devices" / name / "vendor").write_text(vendor)
    looked, found = signs(tmp_path, {"TPU_NAME": "mine"})
    assert [Path(each).name for each in found[:2]] == ["accel0", "accel1"]
    assert found[2:] == ["PCI device 0000:00:04.0", "TPU_NAME=mine"]
    assert looked[:2] == ["/dev/accel* (2)", "Google's PCI devices (1)"]


def test_where_nothing_is_it_is_said_where_was_looked(tmp_path: Path) -> None:
    found = without_asking(tmp_path)
    assert not found.is_there
    assert "/dev/accel* (none)" in found.in_words()
    assert "no node of the cluster offers one" in found.in_words()


def test_a_tpu_that_answers_is_found(tmp_path: Path) -> None:
    found = asking(answer(8, "TPU 'local' initialised"), root=tmp_path)
    assert (found.is_there, found.cores) == (True, 8)
    assert found.in_words().startswith("8 cores: TPU 'local' initialised")


def test_one_that_hangs_is_given_up_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r} + '~', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(pids)!r} + '~', {str(pids)!r})\n"
        "time.sleep(600)"
    )
    found = asking(code, limit_s=3.0, root=tmp_path)
    assert not found.is_there
    assert found.said == "TensorFlow gave no answer within 3 s"
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: is_gone(pid), timeout_s=10)  # type: ignore[misc]


def test_an_abort_of_the_library_is_a_finding(tmp_path: Path) -> None:
    found = asking("import os; os.abort()", root=tmp_path)
    assert not found.is_there
    assert "SIGABRT" in found.said
    assert "runner[tpu]" in found.said


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('no JSON')", "print('[1]')"])
def test_no_answer_is_a_finding(code: str, tmp_path: Path) -> None:
    found = asking(code, root=tmp_path)
    assert not found.is_there
    assert "ended with exit code" in found.said


def test_the_chips_are_left_to_the_servers_that_are_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TPU_LOAD_LIBRARY", raising=False)
    code = (
        "import os, json\n"
        "said = str(os.environ.get('TPU_LOAD_LIBRARY'))\n"
        "print(json.dumps({'cores': 0, 'said': said}))"
    )
    assert asking(code, root=tmp_path).said == "None"
    slice_of_two = TpuAddress(name="grpc://10.0.0.1:8470,grpc://10.0.0.2:8470")
    assert asking(code, root=tmp_path, address=slice_of_two).said == "0"


def test_the_metadata_server_is_asked_only_where_something_speaks_for_a_tpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    code = (
        "import os, json\n"
        "said = str(os.environ.get('TPU_SKIP_MDS_QUERY'))\n"
        "print(json.dumps({'cores': 0, 'said': said}))"
    )
    assert asking(code, root=tmp_path).said == "1"
    assert asking(code, root=tmp_path, address=TpuAddress(name="mine")).said == "None"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/accel0").touch()
    assert asking(code, root=tmp_path).said == "None"


@pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'runner[tf]'"
)
@pytest.mark.skipif(bool(signs(Path("/"), os.environ)[1]), reason="there may be a TPU here")
def test_tensorflow_itself_says_that_there_is_none_here() -> None:
    found = probe(LOCAL, limit_s=100.0)
    assert not found.is_there
    assert found.said.startswith("NotFoundError")
    assert "{{" not in found.said
    assert found.build == installed_build()
    assert found.looked[-1] == "TPUClusterResolver('local')"
