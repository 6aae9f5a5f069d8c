"""A TPU slice of several hosts: a server on each, one process for all, in the right order.

What needs TPUs is a record of what was called; the processes are real.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runner.errors import TaskError
from runner.kinds import find
from runner.model import Context, Fact
from runner.tflib.gang import Gang
from runner.tflib.hosts import TpuHost, TpuSlice, joined
from runner.tflib.probe import Finding
from runner.tflib.tpu import TpuAddress
from tests.conftest import wait_for
from tests.runs.real_runs import is_gone

BOTH = "grpc://10.0.0.1:8470,grpc://10.0.0.2:8470"
SERVED = ["listens", "has_chips", "start", "listens", "number"]


class FakeHost:
    """A host with chips whose server listens once it was started."""

    def __init__(
        self, number: int | None, *, chips: bool = True, served: bool = False, dies: bool = False
    ) -> None:
        self.calls: list[str] = []
        self._number, self._chips, self._listens, self._dies = number, chips, served, dies

    def has_chips(self) -> bool:
        self.calls.append("has_chips")
        return self._chips

    def listens(self) -> bool:
        self.calls.append("listens")
        return self._listens

    def start(self) -> None:
        self.calls.append("start")
        self._listens = not self._dies

    def ended(self) -> str | None:
        return "the TPU's server ended with exit code 3" if self._dies else None

    def stop(self) -> None:
        self.calls.append("stop")

    def number(self) -> int | None:
        self.calls.append("number")
        return self._number


def there(address: TpuAddress) -> Finding:
    return Finding(cores=16, looked=(str(address),), said=f"{address}", build=None, seconds=0.0)


def not_asked(address: TpuAddress) -> Finding:
    pytest.fail(f"{address} was asked")


def on_both(
    folder: Path,
    hosts: list[FakeHost],
    within: Callable[[int, TpuSlice], Any],
    find: Callable[[TpuAddress], Finding] = there,
) -> list[Any]:
    """What ``within`` gives, or the error that ended it, for each of two ranks at once."""

    def rank(number: int) -> Any:
        address = f"10.0.0.{2 - number}"
        gang = Gang(rank=number, world_size=2, folder=folder, host=address, timeout_s=20)
        try:
            with joined(gang, host=hosts[number], find=find, limit_s=5) as found:
                return within(number, found)
        except RuntimeError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(rank, range(2)))


def test_each_host_serves_its_chips_and_the_first_rank_asks_for_them_all(tmp_path: Path) -> None:
    # Ray's ranks need not be in the order of the slice's own numbers.
    hosts = [FakeHost(1), FakeHost(0)]
    asked: list[TpuAddress] = []

    def find(address: TpuAddress) -> Finding:
        assert [each.calls for each in hosts] == [SERVED, SERVED]
        asked.append(address)
        return there(address)

    def within(rank: int, found: TpuSlice) -> TpuSlice:
        assert "stop" not in hosts[rank].calls
        if rank == 1:
            found.attend()  # until the first rank has left
            assert "stop" not in hosts[1].calls
        return found

    first, second = on_both(tmp_path, hosts, within, find)
    assert asked == [TpuAddress(name=BOTH)]
    assert first.address == second.address == asked[0]
    assert first.finding == second.finding == there(asked[0])
    assert [each.calls for each in hosts] == [[*SERVED, "stop"]] * 2


def test_hosts_that_do_not_know_their_numbers_are_in_the_order_of_ranks(tmp_path: Path) -> None:
    hosts = [FakeHost(None), FakeHost(0)]
    first, _ = on_both(tmp_path, hosts, lambda rank, found: found)
    assert first.address.name == "grpc://10.0.0.2:8470,grpc://10.0.0.1:8470"


def test_a_server_that_is_there_already_is_used_and_left_alone(tmp_path: Path) -> None:
    hosts = [FakeHost(0, served=True), FakeHost(1, served=True)]
    found, _ = on_both(tmp_path, hosts, lambda rank, found: found.finding.cores)
    assert found == 16
    assert [each.calls for each in hosts] == [["listens", "number", "stop"]] * 2


def test_a_host_without_chips_is_the_finding_of_every_rank_and_nobody_is_asked(
    tmp_path: Path,
) -> None:
    hosts = [FakeHost(1), FakeHost(0, chips=False)]
    findings = on_both(tmp_path, hosts, lambda rank, found: found.finding, not_asked)
    assert findings[0] == findings[1]
    assert not findings[0].is_there
    assert findings[0].said == "on 10.0.0.1:8470 there are no chips, and no server at port 8470"
    assert hosts[1].calls == ["listens", "has_chips", "number", "stop"]


def test_a_server_that_ends_as_it_starts_is_the_finding(tmp_path: Path) -> None:
    hosts = [FakeHost(0), FakeHost(1, dies=True)]
    findings = on_both(tmp_path, hosts, lambda rank, found: found.finding, not_asked)
    assert "on 10.0.0.1:8470 the TPU's server ended with exit code 3" in findings[0].in_words()
    assert hosts[1].calls[-1] == "stop"


def test_whoever_waits_for_a_rank_that_failed_is_let_go_and_servers_are_stopped(
    tmp_path: Path,
) -> None:
    hosts = [FakeHost(0), FakeHost(1)]

    def within(rank: int, found: TpuSlice) -> None:
        if rank == 0:
            raise RuntimeError("the training failed")
        found.attend()

    error, ended = on_both(tmp_path, hosts, within)
    assert str(error) == "the training failed" and ended is None
    assert [each.calls[-1] for each in hosts] == ["stop", "stop"]


def test_an_attempt_that_is_cancelled_stops_the_server(tmp_path: Path) -> None:
    host = FakeHost(0)
    gang = Gang(rank=0, world_size=1, folder=tmp_path, host="10.0.0.1", timeout_s=5)

    def run() -> Iterator[int]:
        with joined(gang, host=host, find=there):
            yield 1
            yield 2

    attempt = run()
    next(attempt)
    attempt.close()  # type: ignore[attr-defined]
    assert host.calls[-1] == "stop"


def test_a_rank_whose_server_ends_says_so(tmp_path: Path) -> None:
    host = FakeHost(0)
    gang = Gang(rank=1, world_size=2, folder=tmp_path, host="10.0.0.1", timeout_s=5)
    (tmp_path / "tpu-host-0").write_text('{"address": "a:8470", "number": 1, "said": null}')
    (tmp_path / "tpu-found").write_text(
        '{"cores": 16, "looked": [], "said": "", "build": null, "seconds": 0.0}'
    )
    with joined(gang, host=host, find=not_asked) as found:
        host._dies = True
        with pytest.raises(TaskError, match="server ended with exit code 3"):
            found.attend()


SERVER = """\
import socket, sys
from threading import Thread
from runner.tflib.server import end_with_input
Thread(target=end_with_input, daemon=True).start()
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listening.accept()
"""
# Starts such a server, says its process, and waits to be killed.
STARTER = """\
import sys, time
from runner.tflib.hosts import TpuHost
host = TpuHost(port=int(sys.argv[1]), command=[sys.executable, "-c", sys.argv[2], sys.argv[1]])
assert not host.listens()
host.start()
print(host._server.pid, flush=True)
time.sleep(1000)
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_server_is_started_and_ended() -> None:
    port = free_port()
    host = TpuHost(port=port, command=[sys.executable, "-c", SERVER, str(port)])
    assert not host.listens()
    host.start()
    try:
        wait_for(host.listens)
        assert host.ended() is None
    finally:
        host.stop()
    assert not host.listens()
    failing = TpuHost(port=port, command=[sys.executable, "-c", "raise SystemExit(3)"])
    failing.start()
    assert wait_for(failing.ended) == "the TPU's server ended with exit code 3"
    failing.stop()
    failing.stop()


def test_a_server_does_not_outlive_a_process_that_is_killed() -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(port), SERVER], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        server = int(starter.stdout.readline())
        try:
            wait_for(TpuHost(port=port).listens)
            starter.kill()
            wait_for(lambda: is_gone(server), timeout_s=10)
        finally:
            starter.kill()
            if not is_gone(server):
                os.kill(server, signal.SIGKILL)


def test_a_hosts_number_and_chips_are_read_from_where_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPU_WORKER_ID", "3")
    host = TpuHost(root=tmp_path)
    assert host.number() == 3
    assert not host.has_chips()
    vendor = tmp_path / "sys/bus/pci/devices/0000:00:04.0/vendor"
    vendor.parent.mkdir(parents=True)
    vendor.write_text("0x1ae0\n")
    assert host.has_chips()


def test_tensorflows_resolver_takes_the_addresses_of_all_hosts(kit: ModuleType) -> None:
    from runner.tflib.tpu import TensorFlowEdge

    resolver = TensorFlowEdge().resolve(TpuAddress(name=BOTH))
    assert resolver.cluster_spec().as_dict() == {"worker": ["10.0.0.1:8470", "10.0.0.2:8470"]}
    assert resolver.master() == "grpc://10.0.0.1:8470"


def test_a_rank_that_does_not_drive_the_slice_loads_no_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attended: list[TpuSlice] = []

    @contextmanager
    def found(gang: Gang) -> Iterator[TpuSlice]:
        assert (gang.rank, gang.world_size) == (1, 2)
        address = TpuAddress(name=BOTH)
        yield TpuSlice(address=address, finding=there(address), gang=gang, host=FakeHost(1))

    monkeypatch.setattr("runner.tflib.hosts.joined", found)
    monkeypatch.setattr(TpuSlice, "attend", lambda self: attended.append(self))
    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: "tensorflow-tpu 2.20.0")
    monkeypatch.setattr("runner.tflib.installed.prepare", lambda **_: pytest.fail("it was loaded"))
    kind = find("keras")
    params = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "max_steps": 1}
    checked = kind.params.model_validate({**params, "strategy": "tpu"}, strict=False)
    context = Context(params=checked, folder=tmp_path, device="tpu", rank=1, world_size=2)
    facts = [item for item in kind.run(context) if isinstance(item, Fact)]
    assert [each.name for each in facts] == ["tensorflow", "strategy"]
    assert facts[1].text.startswith("tpu, 16 cores")
    assert len(attended) == 1
