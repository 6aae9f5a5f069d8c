"""Folders of images, one folder a class: ``data/<class>/*.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runner.errors import TaskError
from runner.torchlib.data.dataset import Array, Labelled
from runner.torchlib.data.extras import need

SUFFIXES = (".png", ".jpg", ".jpeg")

# Pillow would clip these to 8 bits without a word.
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def image_files(folder: Path) -> list[tuple[str, Path]]:
    """The images in the folders of ``folder``, sorted: (class, file). Hidden files don't count."""
    return [
        (child.name, file)
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
        for file in sorted(child.iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def read_images(folder: Path) -> Labelled:
    """All images, (samples, channels, height, width), values 0 to 255; the folder is the label.

    One channel if every file is grey, else three. Raises TaskError if there are none, one can't be
    read or has more than 8 bits a channel, or one differs in size from the first: images are not
    scaled, as any way to do that would be a decision about the data.
    """
    need("PIL", package="pillow", extra="files", what="a folder of images")
    from PIL import Image, UnidentifiedImageError

    files = image_files(folder)
    if not files:
        raise TaskError(
            f"{folder} has no images",
            hint="put them into one folder a class: <class>/*.png or *.jpg",
        )
    images: list[Array] = []
    size: tuple[int, int] | None = None
    for _, file in files:
        try:
            with Image.open(file) as image:
                if image.mode in _DEEP_MODES:
                    raise TaskError(
                        f"{file} has more than 8 bits a channel (mode {image.mode})",
                        hint="convert the images to 8 bits, or read them in a data factory",
                    )
                grey = image.mode in ("1", "L")
                size = image.size if size is None else size
                if image.size != size:
                    raise TaskError(
                        f"{file} is {image.width}x{image.height} pixels, "
                        f"{files[0][1]} is {size[0]}x{size[1]}",
                        hint="scale all images to one size",
                    )
                images.append(np.asarray(image.convert("L" if grey else "RGB")))
        except (UnidentifiedImageError, OSError) as error:
            raise TaskError(f"{file} can't be read as an image: {error}") from error
    labels = np.array([label for label, _ in files])
    if all(image.ndim == 2 for image in images):
        return Labelled(inputs=np.stack(images)[:, np.newaxis], labels=labels)
    # A grey file among coloured ones is the same picture with three equal channels.
    coloured = [image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in images]
    return Labelled(inputs=np.moveaxis(np.stack(coloured), -1, 1), labels=labels)
