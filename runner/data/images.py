"""Folders of images, one folder a class: ``data/<class>/*.png``, or such folders in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runner.data.classes import Array
from runner.data.dataset import Labelled
from runner.data.extras import need
from runner.errors import TaskError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")

# What people call the folder of training images, and that of held-out ones.
_TRAIN = "train"
_HELD_OUT = ("test", "val", "valid", "validation")

_GREY = ("1", "L")
# Pillow would clip these to 8 bits without a word.
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def image_files(folder: Path) -> list[tuple[str, Path]]:
    """The images in the folders of ``folder``, sorted: (class, file). Hidden files don't count."""
    return [(child.name, file) for child in _folders(folder) for file in _images(child)]


def parts(folder: Path) -> tuple[Path, Path] | None:
    """The folders of training and of held-out images, where ``folder`` has such; None if not.

    That is so if it has a folder ``train`` and one other, called test, val, valid or validation.
    Raises TaskError if it has more than those two, or images lie in them without a class.
    """
    named = {child.name.lower(): child for child in _folders(folder)}
    held_out = [named[name] for name in _HELD_OUT if name in named]
    if _TRAIN not in named or not held_out:
        return None
    if len(named) > 2:
        raise TaskError(
            f"{folder} has the folders {', '.join(sorted(child.name for child in named.values()))}",
            hint=f"expected {_TRAIN} and one of {', '.join(_HELD_OUT)}; or name one of them as the "
            "path, and evaluate on another",
        )
    both = named[_TRAIN], held_out[0]
    for part in both:
        if not image_files(part) and _images(part):
            raise TaskError(f"the images of {part} are without classes", hint=expected(part))
    return both if any(image_files(part) for part in both) else None


def check_layout(folder: Path) -> None:
    """Raises TaskError if images lie in ``folder``, but not each in the folder of its class."""
    if image_files(folder):
        return
    stray = next((file for file in sorted(folder.rglob("*")) if _is_image(file)), None)
    if stray is not None:
        raise TaskError(
            f"the images of {folder} are not in folders of their classes, such as {stray}",
            hint=f"{expected(folder)}; `format: text` takes the text files beside them",
        )


def read_images(folder: Path) -> Labelled:
    """All images, (samples, channels, height, width), values 0 to 255; the folder is the label.

    One channel if every file is grey, else three. Raises TaskError if there are none, one can't be
    read or has more than 8 bits a channel, or one differs in size from the first: images are not
    scaled, as any way to do that would be a decision about the data.
    """
    check_layout(folder)
    files = image_files(folder)
    if not files:
        raise TaskError(f"{folder} has no images", hint=expected(folder))
    return Labelled(
        inputs=_decoded([file for _, file in files]),
        labels=np.array([label for label, _ in files]),
    )


def lie_in(folder: Path) -> bool:
    """Whether there are images in ``folder`` itself, without a class."""
    return folder.is_dir() and bool(_images(folder))


def read_unlabelled(folder: Path) -> Array:
    """As the inputs of ``read_images``: those in ``folder`` itself and in its folders."""
    files = [*_images(folder), *(file for _, file in image_files(folder))]
    if not files:
        raise TaskError(f"{folder} has no images", hint=f"expected {folder.name}/*.png or *.jpg")
    return _decoded(files)


def _decoded(files: Sequence[Path]) -> Array:
    images: list[Array] = []
    for file in files:
        image = decoded(file)
        if images:
            check_size(file, image.shape, files[0], images[0].shape)
        images.append(image)
    return together(images, is_grey=all(image.ndim == 2 for image in images))


def decoded(file: Path) -> Array:
    """An image's values, 0 to 255: (height, width) if it is grey, else (height, width, 3).

    Raises TaskError if it can't be read or has more than 8 bits a channel.
    """
    with _opened(file) as image:
        is_grey = image.mode in _GREY
        return np.asarray(image.convert("L" if is_grey else "RGB"))


def header(file: Path) -> tuple[int, int, bool]:
    """Height, width and whether it is grey, without its pixels. Raises as ``decoded``."""
    with _opened(file) as image:
        return image.height, image.width, image.mode in _GREY


def together(images: Sequence[Array], *, is_grey: bool) -> Array:
    """Decoded images of one size as (samples, channels, height, width), in three channels or one.

    A grey file among coloured ones is the same picture with three equal channels.
    """
    if is_grey:
        return np.stack(images)[:, np.newaxis]
    coloured = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]
    return np.moveaxis(np.stack(coloured), -1, 1)


def check_size(file: Path, shape: tuple[int, ...], first: Path, wanted: tuple[int, ...]) -> None:
    """Raises TaskError unless an image has the height and width of the first."""
    if shape[:2] != wanted[:2]:
        raise TaskError(
            f"{file} is {shape[1]}x{shape[0]} pixels, {first} is {wanted[1]}x{wanted[0]}",
            hint="scale all images to one size",
        )


@contextmanager
def _opened(file: Path) -> Iterator[Image]:
    need("PIL", package="pillow", extra="files", what="a folder of images")
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode in _DEEP_MODES:
                raise TaskError(
                    f"{file} has more than 8 bits a channel (mode {image.mode})",
                    hint="convert the images to 8 bits, or read them in a data factory",
                )
            yield image
    except (UnidentifiedImageError, OSError) as error:
        raise TaskError(f"{file} can't be read as an image: {error}") from error


def _folders(folder: Path) -> list[Path]:
    return [
        child
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    ]


def _images(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if _is_image(file)]


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def expected(folder: Path) -> str:
    """What a folder of images should hold, in words."""
    return f"expected one folder a class: {folder.name}/<class>/*.png or *.jpg"
