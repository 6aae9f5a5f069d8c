"""Which cluster is meant, and what is said where there is none."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from runner.cluster.address import Address, process_started, resolve, state_file, warm_cluster
from runner.errors import ClusterError
from tests.cli.calling import Call, call

__all__ = ["call"]


@pytest.fixture
def listener() -> int:
    """A port of this machine at which something listens, for as long as the test goes."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port: int = listening.getsockname()[1]
        yield port  # type: ignore[misc]


@pytest.fixture
def state(tmp_path: Path, listener: int) -> dict[str, str]:
    """An environment in which this process passes for the head of a warm cluster."""
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    note(environment, pid=os.getpid(), started=process_started(os.getpid()), port=listener)
    return environment


def note(environment: dict[str, str], **more: object) -> None:
    file = state_file(environment)
    file.parent.mkdir(parents=True, exist_ok=True)
    about = {"token": "t" * 64, "mark": "m", "folder": "/nowhere", "dashboard_port": 1}
    file.write_text(json.dumps({**about, **more}))


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8265",
        "https://head",
        "ray://127.0.0.1:10001",
        "head",
        "6379",
        ":6379",
        "head:",
        "head:port",
        "head:-1",
        "head:99999",
        "",
        "²:²",
    ],
)
@pytest.mark.parametrize("command", ["nodes", "plan"])
def test_an_address_of_another_form_is_refused_with_a_hint(
    call: Call, tmp_path: Path, command: str, address: str
) -> None:
    (tmp_path / "job.yaml").write_text(
        "name: j\ntasks:\n  a:\n    kind: train\n    model: {name: mlp}\n    data: {name: digits}\n"
        "    max_steps: 1\n"
    )
    file = ["job.yaml"] if command == "plan" else []
    done = call(command, *file, "--address", address)
    assert (done.code, done.out) == (4, "")
    assert f"--address is '{address}'" in done.err
    assert "hint:" in done.err
    assert "Traceback" not in done.err


def test_nothing_that_listens_is_exit_4_soon(call: Call) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began_s = time.monotonic()
    done = call("nodes", "--address", f"127.0.0.1:{port}")
    assert time.monotonic() - began_s < 5
    assert (done.code, done.out) == (4, "")
    assert f"nothing answers at 127.0.0.1:{port} (from --address)" in done.err
    assert "hint:" in done.err


def test_a_host_that_is_none_is_exit_4(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "no-such-host.invalid:6379")
    done = call("nodes")
    assert (done.code, done.out) == (4, "")
    assert "no-such-host.invalid:6379 (from RAY_ADDRESS)" in done.err


def test_given_goes_before_the_environment_and_that_before_the_warm_cluster(
    state: dict[str, str], listener: int
) -> None:
    there = f"127.0.0.1:{listener}"
    with_both = {**state, "RAY_ADDRESS": there}
    given = resolve(f"localhost:{listener}", with_both)
    assert given == Address(host="localhost", port=listener, origin="--address")
    by_environment = resolve(None, with_both)
    assert by_environment == Address(host="127.0.0.1", port=listener, origin="RAY_ADDRESS")
    for text in (None, "auto"):
        warm = resolve(text, state)
        assert warm is not None
        assert (warm.port, warm.origin, warm.token) == (listener, "runner up", "t" * 64)
    assert resolve("local", with_both) is None
    assert resolve(None, {"XDG_STATE_HOME": "/nowhere"}) is None


def test_auto_where_no_cluster_is_up_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no local cluster is up") as caught:
        resolve("auto", {"XDG_STATE_HOME": str(tmp_path)})
    assert "runner up" in caught.value.hint


def test_a_warm_cluster_whose_head_is_gone_is_not_meant(
    state: dict[str, str], listener: int
) -> None:
    assert warm_cluster(state) is not None
    began = process_started(os.getpid())
    assert began is not None
    note(state, pid=os.getpid(), started=began - 1, port=listener)  # its number was given anew
    assert warm_cluster(state) is None
    note(state, pid=2**22 + 1, started=began, port=listener)
    assert warm_cluster(state) is None
    assert resolve(None, state) is None


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"pid": 1}', "5"])
def test_a_state_file_that_cannot_be_read_says_what_to_remove(
    state: dict[str, str], text: str
) -> None:
    state_file(state).write_text(text)
    with pytest.raises(ClusterError, match="can't be read") as caught:
        warm_cluster(state)
    assert str(state_file(state)) in caught.value.hint
