"""What there is of a TPU here, found out in a child process that has a limited time.

TensorFlow's own calls can't be trusted with this: without a TPU some of them block for minutes, and
a TPU build with another libtpu than it wants ends the whole process as it is imported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.tflib.installed import installed_build
from runner.tflib.tpu import TensorFlowEdge, Tpu, TpuAddress

# Short where nothing speaks for a TPU, so that its absence is soon told; a real one takes up to a
# minute to initialise.
LIMIT_S, LIMIT_WITH_SIGNS_S = 8.0, 120.0
_GOOGLE = "0x1ae0"
_VARIABLES = ("TPU_NAME", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a probe found: ``cores`` of a TPU, or None, where it ``looked``, and what was ``said``.

    ``said`` is the word of the library, or why it has none.
    """

    cores: int
    looked: tuple[str, ...]
    said: str
    build: str | None
    seconds: float

    @property
    def is_there(self) -> bool:
        """Whether a TPU was initialised."""
        return self.cores > 0

    def in_words(self) -> str:
        """The finding in one line."""
        if self.is_there:
            return f"{self.cores} cores: {self.said} ({self.build}, {self.seconds:.1f} s)"
        return f"no TPU: looked for {'; '.join(self.looked)}; {self.said}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """What is asked for a TPU: its name, how it looks for the address in braces, what a signal that
    ends it means, and which build of it is installed.
    """

    name: str
    looks: str
    when_ended: str
    build: Callable[[], str | None]


TENSORFLOW = Library(
    name="TensorFlow",
    looks="TPUClusterResolver({})",
    when_ended="a TPU build aborts with a libtpu that it was not made for: pip install "
    "'runner[tpu]' pins the one that loads",
    build=lambda: installed_build(),
)


def signs(root: Path, environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Where a TPU shows without any library, below ``root``: what was looked at, what was found."""
    accel, google = chips(root)
    found = [*accel, *(f"PCI device {name}" for name in google)]
    found += [f"{name}={environment[name]}" for name in _VARIABLES if environment.get(name)]
    looked = [
        f"/dev/accel* ({len(accel) or 'none'})",
        f"Google's PCI devices ({len(google) or 'none'})",
        *(f"{name} ({environment.get(name) or 'not set'})" for name in _VARIABLES),
    ]
    return looked, found


def chips(root: Path) -> tuple[list[str], list[str]]:
    """The devices ``/dev/accel*`` below ``root``, and, as chips are from v5e on, Google's PCI
    devices behind VFIO (as in ray._private.accelerators.tpu).
    """
    accel = sorted(str(path) for path in (root / "dev").glob("accel*"))
    vendors = (root / "sys/bus/pci/devices").glob("*/vendor")
    return accel, sorted(path.parent.name for path in vendors if _reads(path) == _GOOGLE)


def _reads(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # a device that is just going away
        return ""


def without_asking(root: Path = Path("/")) -> Finding:
    """The finding where nobody offers a TPU: signs are looked for, and no library is asked."""
    started = time.monotonic()
    looked, _ = signs(root, os.environ)
    return Finding(
        cores=0,
        looked=tuple(looked),
        said="no node of the cluster offers one",
        build=installed_build(),
        seconds=time.monotonic() - started,
    )


def probe(
    address: TpuAddress,
    *,
    limit_s: float | None = None,
    root: Path = Path("/"),
    command: Sequence[str] = (sys.executable, "-m", "runner.tflib.probe"),
    library: Library = TENSORFLOW,
) -> Finding:
    """Whether the TPU at ``address`` can be initialised from here: a child process tries it.

    It is killed after ``limit_s``, by default eight seconds where nothing speaks for a TPU and two
    minutes otherwise. Whatever becomes of it, the finding tells; nothing is raised.
    """
    started = time.monotonic()
    looked, found = signs(root, os.environ)
    is_likely = bool(found) or address.name != "local"
    limit = limit_s or (LIMIT_WITH_SIGNS_S if is_likely else LIMIT_S)
    looked.append(library.looks.format(address))
    environment = {} if is_likely else {"TPU_SKIP_MDS_QUERY": "1"}
    if address.name != "local":
        environment["TPU_LOAD_LIBRARY"] = "0"  # whoever serves it has the chips
    cores, said = _ask(address, command, limit, library, environment)
    return Finding(
        cores=cores,
        looked=tuple(looked),
        said=said,
        build=library.build(),
        seconds=time.monotonic() - started,
    )


def _ask(
    address: TpuAddress,
    command: Sequence[str],
    limit_s: float,
    library: Library,
    more: Mapping[str, str],
) -> tuple[int, str]:
    """The cores that the child process initialised, and what it said or how it ended."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **more}
    child = subprocess.Popen(
        [*command, json.dumps(asdict(address))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return 0, f"{library.name} gave no answer within {limit_s:g} s"
    finally:
        if child.poll() is None:
            # The whole session: what it has started itself holds the TPU too.
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return 0, f"{library.name} was ended by {name} as it looked; {library.when_ended}"
    try:
        answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return int(answer["cores"]), str(answer["said"])
    except (ValueError, KeyError, IndexError, TypeError):
        return 0, f"the process that looked ended with exit code {child.returncode}"


def look(address: TpuAddress) -> tuple[int, str]:
    """Initialises the TPU at ``address`` in this process, and shuts it down: its cores, in words.

    To be called in a process that may hang or die of it.
    """
    tpu = Tpu(address, TensorFlowEdge())
    try:
        tpu.start()
        cores = tpu.cores()
    except Exception as error:  # whatever a library says of what is not there is the answer
        # The rest of what TensorFlow says is the graph of its own operation.
        said = " ".join(str(error).partition(" used by {{")[0].split())
        return 0, f"{type(error).__name__}: {said[:300]}"
    finally:
        tpu.stop()
    return cores, f"TPU {address} initialised"


def main(arguments: list[str]) -> int:
    """The child process: an address as JSON in, a finding as a line of JSON out."""
    cores, said = look(TpuAddress(**json.loads(arguments[0])))
    print(json.dumps({"cores": cores, "said": said}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
