"""``target``: the platform that a file is made for, one of runner's or the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

from pydantic import Field, WithJsonSchema, field_validator

from runner.builtin import PlatformName
from runner.parameters import Parameters

if TYPE_CHECKING:
    from runner.edge.platforms import Platform

NAMES: tuple[str, ...] = get_args(PlatformName)


class OwnPlatform(Parameters):
    """A platform out of a file of the user's, as a plan has it: with all that the file says of it.

    A spec names the file, which is read where the spec is checked; so workers and a run that is
    resumed need it no more.
    """

    name: str = Field(description="as the spec names it: FILE, or FILE:NAME")
    described: dict[str, Any] = Field(description="what the file says, as runner.edge has it")

    @field_validator("described")
    @classmethod
    def _is_one(cls, described: dict[str, Any]) -> dict[str, Any]:
        _described(described)
        return described

    def __str__(self) -> str:
        return self.name


FILE = WithJsonSchema({"title": "FILE", "type": "string", "pattern": r"[./]"})
Target: TypeAlias = PlatformName | Annotated[OwnPlatform, FILE]
"""In a spec a name, or the path of a file, with :NAME where that describes several."""


def platform_of(target: Target | None) -> Platform | None:
    """The target with all that is known of it; None where there is none."""
    if isinstance(target, OwnPlatform):
        return _described(target.described)
    from runner.edge import targets

    return None if target is None else targets.find(target)


def platform_in(params: Any) -> Platform | None:
    """The target that a task's parameters have, as its spec has them; None for none or a fault."""
    target = params.get("target")
    if isinstance(target, dict):
        return platform_of(OwnPlatform.model_validate(target))
    return platform_of(target) if target in NAMES else None


def _described(values: dict[str, Any]) -> Platform:
    from runner.edge.platforms import Platform

    return Platform.model_validate(values)
