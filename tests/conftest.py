"""Fixtures: the command as a process, a cluster that stays warm for the session, small specs."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
JOBS = REPOSITORY / "jobs"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Command:
    """The runner command, run as a person would, with an environment of the test's own."""

    environment: Mapping[str, str]
    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, timeout_s: float = 120) -> Outcome:
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Outcome(process.returncode, out, err)

    def records(self, run: str | None = None) -> list[dict[str, Any]]:
        """The records of the only run, or of ``run``, as far as they are whole."""
        found = list((self.folder / "runs").glob(f"{run or '*'}/records.jsonl"))
        if not found:
            return []
        lines = found[0].read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]


def wait_for(condition: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """The first true value of ``condition``, asked every 50 ms, or a failed test."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    pytest.fail(f"it did not come about in {timeout_s:g} s")


def environment(state: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RUNNER_"))}
    return {**kept, "XDG_STATE_HOME": str(state), "NO_COLOR": "1", **more}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command where no cluster is up: each submit starts one of its own."""
    return Command(environment(tmp_path / "state"), tmp_path)


@pytest.fixture(scope="session")
def warm_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a cluster that ``runner up`` started; ended with the session."""
    folder = tmp_path_factory.mktemp("warm")
    up = Command(environment(folder / "state"), folder)
    started = up("up")
    assert started.code == 0, started.err
    try:
        yield folder / "state"
    finally:
        ended = up("down")
        assert ended.code == 0, ended.err


@pytest.fixture
def warm(warm_state: Path, tmp_path: Path) -> Command:
    """The command beside a cluster that is up, which saves each test the start of one."""
    return Command(environment(warm_state), tmp_path)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A server that speaks S3's protocol on loopback; yields the variables that lead to it."""
    pytest.importorskip("s3fs", reason="S3 needs s3fs")
    pytest.importorskip("moto", reason="the S3 server is moto's")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "server.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=log,
        ) as server,
    ):
        try:
            wait_for(lambda: _answers(port))
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def bucket(s3_server: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a new bucket on that server, which this process and those it starts reach."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    import boto3

    name = f"runs-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], str]:
    """Writes a spec into the test's folder; returns its name."""

    def write(text: str, name: str = "job.yaml") -> str:
        (tmp_path / name).write_text(text)
        return name

    return write


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread for a file's tests, and then on as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
