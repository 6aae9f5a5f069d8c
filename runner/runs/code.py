"""The user's own code, packed for the workers."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

from runner.errors import UsageError

MAX_BYTES = 50_000_000
_LEFT_OUT = {"__pycache__", "node_modules"}
# What tools leave beside a project; further down it may be a package of that name.
_LEFT_OUT_AT_TOP = {"runs", "venv", "build", "dist"}


def pack(workdir: Path) -> bytes:
    """The folder as a zip: its regular files, without what is hidden, caches, environments, runs.

    Raises UsageError if that is over 50 MB: data belongs in storage, not in the code.
    """
    buffer = io.BytesIO()
    total = 0
    largest: tuple[int, Path] | None = None
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in _files(workdir):
            size = file.stat().st_size
            total += size
            largest = max(largest or (size, file), (size, file))
            if total > MAX_BYTES:
                raise UsageError(
                    f"workdir {workdir} holds more than {MAX_BYTES // 10**6} MB to ship "
                    f"(the largest so far: {largest[1].relative_to(workdir)}, "
                    f"{largest[0] / 1e6:.1f} MB)",
                    hint="keep data out of it, or name a smaller folder as 'workdir'",
                )
            entry = zipfile.ZipInfo(file.relative_to(workdir).as_posix())  # no times: same bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _files(workdir: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(workdir):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in _LEFT_OUT
            and not (name in _LEFT_OUT_AT_TOP and Path(root) == workdir)
            and not name.endswith(".egg-info")
            and not (Path(root) / name / "pyvenv.cfg").exists()
        )
        files = (Path(root) / name for name in sorted(names) if not name.startswith("."))
        found += [file for file in files if file.is_file() and not file.is_symlink()]
    return found
