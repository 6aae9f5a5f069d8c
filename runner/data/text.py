"""Text for language models: bytes, cut into blocks, the end of the text held out."""

from __future__ import annotations

import builtins
import sysconfig
from pathlib import Path

import numpy as np

from runner.data.classes import Array
from runner.data.dataset import TEST_FRACTION, Dataset, Preparation
from runner.data.origin import Origin, fingerprint_of_bytes, fingerprint_of_text
from runner.errors import TaskError

# What is taken out of a folder; a file that is named itself may be of any sort.
_SUFFIXES = (".txt", ".md", ".rst", ".py", ".json", ".csv", ".html", ".c", ".h", ".cpp", ".rs")


def read_text(path: Path) -> bytes:
    """The bytes of a file, or of all text files below a folder in sorted order, none hidden."""
    if path.is_file():
        return path.read_bytes()
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise TaskError(
            f"{path} has neither text files nor images in folders of their classes",
            hint=f"expected {path.name}/<class>/*.png, or text in {' '.join(_SUFFIXES)}",
        )
    return b"\n".join(file.read_bytes() for file in files)


def stdlib(*, bytes: int = 2_000_000) -> builtins.bytes:
    """The first ``bytes`` bytes of the interpreter's own modules, in the order of their names.

    The same for one version of Python. Raises TaskError if there are fewer, or it carries none.
    """
    if not isinstance(bytes, int) or isinstance(bytes, bool) or bytes < 1:
        raise TaskError(f"stdlib: bytes must be a whole number of at least 1, not {bytes!r}")
    parts: list[builtins.bytes] = []
    size = 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        parts.append(file.read_bytes())
        size += len(parts[-1])
        if size >= bytes:
            return b"".join(parts)[:bytes]
    raise TaskError(
        f"this interpreter's own modules have {size} bytes, and {bytes} were asked for",
        hint="ask for fewer bytes",
    )


def from_text(
    text: bytes,
    *,
    block_size: int,
    test_fraction: float | None = None,
    like: Preparation | None = None,
) -> Dataset:
    """Blocks of ``block_size`` bytes that don't overlap, each with the bytes that follow its own.

    The last ``test_fraction`` of the text is held out: blocks drawn from all over would be
    surrounded by what was trained on. See ``load`` for ``like``, and for what is held out without
    ``test_fraction``. Raises TaskError if the text is too short for one block in either part; only
    with a fraction of one, there is none to train on.
    """
    if not isinstance(block_size, int) or isinstance(block_size, bool) or block_size < 1:
        raise TaskError(f"block_size must be a whole number of at least 1, not {block_size!r}")
    if like is not None:
        like.check_task("language")
    samples = fingerprint_of_text(text)
    if test_fraction is None:
        test_fraction = like.fraction(samples) if like else TEST_FRACTION
    cut = len(text) - round(len(text) * test_fraction)
    parts = [_blocks(text[:cut], block_size), _blocks(text[cut:], block_size)]
    for part, blocks in zip(("training", "held-out"), parts, strict=True):
        if not len(blocks[0]) and (part == "held-out" or cut):
            raise TaskError(
                f"the {part} part of a text of {len(text)} bytes is shorter than one block of "
                f"{block_size} bytes and the byte after it",
                hint="give more text, or a smaller block_size",
            )
    (train_inputs, train_targets), (test_inputs, test_targets) = parts
    return Dataset(
        train_inputs=train_inputs,
        train_targets=train_targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
        input_shape=(block_size,),
        classes=tuple(str(value) for value in range(256)),
        task="language",
        preprocessing={"encoding": "bytes"},
        origin=Origin(
            samples=samples,
            train=fingerprint_of_bytes(text[:cut]),
            test=fingerprint_of_bytes(text[cut:]),
            train_samples=len(train_inputs),
            test_samples=len(test_inputs),
            test_fraction=test_fraction,
            train_bytes=cut,
        ),
    )


def _blocks(text: bytes, block_size: int) -> tuple[Array, Array]:
    count = max(0, (len(text) - 1) // block_size)
    if not count:
        none = np.empty((0, block_size), dtype=np.uint8)
        return none, none
    # A bytearray, as tensors made of it need memory that may be written to; both views share it.
    values = np.frombuffer(bytearray(text), dtype=np.uint8)
    shape = (count, block_size)
    size = count * block_size
    return values[:size].reshape(shape), values[1 : size + 1].reshape(shape)
