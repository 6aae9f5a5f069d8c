"""A user's file of platforms → what it describes, or every fault at file:line:column."""

from __future__ import annotations

import json

from pydantic import ValidationError

from runner.edge.platforms import PlatformFile, Platforms
from runner.errors import SpecError
from runner.spec.faults import translate
from runner.spec.parse import parse


def read(source: bytes, *, file: str) -> Platforms:
    """The platforms that a file describes, by name; ``file`` is its name, for messages.

    Raises SpecError with every fault that was found.
    """
    document, faults = parse(source, file=file, environment=None)
    if not isinstance(document.data, dict):
        fault = document.place(()).fault(
            "no platforms; expected 'platforms' with a map of them, such as {platforms: {mine: "
            "{title: ..., device: npu, ...}}}"
        )
        raise SpecError([*faults, fault])
    try:
        found = PlatformFile.model_validate_json(json.dumps(document.data, default=str))
    except ValidationError as error:
        raise SpecError([*faults, *translate(error, document, (), PlatformFile)]) from None
    if faults:
        raise SpecError(faults)
    return found.platforms
