"""Where in the file a task's resources are written."""

from __future__ import annotations

from runner.spec.document import Document, Path, Place


def asked_for(document: Document, name: str, *inner: str | int) -> Place:
    """Where a task's resources say something: in the task, or in what holds for all."""
    own: Path = ("tasks", name, "resources", *inner[:1])
    path = own if own in document.values else ("resources", *inner[:1])
    deeper = (*path, *inner[1:])
    return document.place(deeper if deeper in document.values else path)
