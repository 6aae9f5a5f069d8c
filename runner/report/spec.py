"""The spec in full, as YAML: what the file says, and every default that applied beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from runner.report.summary import Report, TaskReport

INDENT = "  "
DEFAULT = "  # default"
WIDTH, ANY_WIDTH = 90, 1_000_000


def spec_text(report: Report) -> str:
    """The resolved spec with the values that applied; those that it leaves out are marked.

    Keys stand in the order of the file, what they leave out after them. It is a spec itself, of the
    same job.
    """
    spec = report.spec
    written = spec.get("tasks")
    tasks = written if isinstance(written, Mapping) else {}
    top = {name: value for name, value in spec.items() if name != "tasks"}
    common: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for task in report.tasks:
        said = tasks.get(task.name)
        said = said if isinstance(said, Mapping) else {}
        own[task.name] = _left_out(_params(task), said)
        _add(common, _left_out(_left_out(_common(task), said), top))
    lines = [*_lines(top, common, "")]
    if "tasks" in spec:
        lines += _lines({"tasks": written}, {"tasks": {n: own[n] for n in tasks if n in own}}, "")
    return "\n".join(lines) + "\n"


def _params(task: TaskReport) -> dict[str, Any]:
    """The parameters of the task's kind that are set, its batch sizes as they were derived."""
    sizes = {name: value for name, value in (task.batches or {}).items() if name.endswith("_size")}
    sizes["gradient_accumulation_steps"] = (task.batches or {}).get("gradient_accumulation_steps")
    params = {
        name: sizes.get(name) if value is None else value
        for name, value in task.planned["params"].items()
    }
    return _set(params)


def _common(task: TaskReport) -> dict[str, Any]:
    """What every task may say, as it holds for this one where nobody said it."""
    resources = {"cpus": task.planned["resources"]["cpus"], "accelerators": "cpu"}
    return {"resources": resources, "retry": task.planned["retry"], "seed": task.planned["seed"]}


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without those that stand for nothing."""
    kept = {
        name: _set(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def _left_out(values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that ``said`` does not say."""
    kept = {}
    for name, value in values.items():
        if name not in said:
            kept[name] = value
        elif isinstance(value, Mapping) and isinstance(said[name], Mapping):
            kept[name] = _left_out(value, said[name])
    return _set(kept)


def _add(common: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping):
            _add(common.setdefault(name, {}), value)
        else:
            common[name] = value


def _lines(said: Mapping[str, Any], left_out: Mapping[str, Any], indent: str) -> Iterator[str]:
    """A mapping, a key a line: what is said, then what was left out, with a mark.

    A mapping in it that is of one sort, and short, stands on its key's line.
    """
    for key in dict.fromkeys([*said, *left_out]):
        name = f"{indent}{_key(str(key))}:"
        if key not in left_out:
            line = f"{name} {_flow(said[key], indent)}"
        elif key not in said or said[key] == {}:
            line = f"{name} {_flow(left_out[key])}{DEFAULT}"
        else:  # said in part: only of a mapping can some be left out
            line = ""
        inside = said.get(key, {}), left_out.get(key, {})
        if line and (len(line) <= WIDTH or not all(isinstance(each, Mapping) for each in inside)):
            yield line
        else:
            yield name
            yield from _lines(*inside, indent + INDENT)


def _key(key: str) -> str:
    text = _flow(key)
    return json.dumps(key, ensure_ascii=False) if "\n" in text else text


def _flow(value: Any, indent: str = "") -> str:
    """A value in flow style, on a line where it has none of its own."""
    text = yaml.safe_dump(
        [_plain(value)],
        sort_keys=False,
        default_flow_style=True,
        allow_unicode=True,
        width=ANY_WIDTH,
    )
    return text.rstrip("\n")[1:-1].replace("\n", f"\n{indent}{INDENT}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
