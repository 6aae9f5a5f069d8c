"""Platforms as a person reads them, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from runner.cli.table import aligned
from runner.report import format as form

if TYPE_CHECKING:
    from runner.edge.estimate import Estimate, Workload
    from runner.edge.platforms import Figure, Platform
    from runner.edge.selection import Need, Verdict

WIDTH = 100
UNVERIFIED = "?"
_UNITS = {"memory_gb": "GB", "memory_gb_per_s": "GB/s", "on_chip_mb": "MB", "watts": "W"}

_ESTIMATE = (
    "~ is an estimate at best (roofline): no inference is faster than its operations at the peak "
    "rate, or its bytes at the memory's. Devices take longer, often several times, and the call "
    "itself takes time too: measure before you buy."
)
_UNKNOWN = "? rests on a figure without a source: 'runner platforms NAME' shows where each is from."


def ranking(verdicts: Sequence[Verdict], work: Workload | None, *, columns: int) -> str:
    """Those that suit in a table, the best first; then the others, each with why not.

    The table has as many columns as there is room for in a terminal of so many.
    """
    good = [each for each in verdicts if each.suits]
    blocks = []
    if work is not None:
        blocks.append(_wrapped(_of_model(work)))
    if good:
        blocks.append("\n".join(_table(good, work, columns)))
    else:
        blocks.append("no platform suits")
    if others := [each for each in verdicts if not each.suits]:
        blocks.append("\n".join(["not suited:", *_reasons(others)]))
    caveats = [(each.name, caveat) for each in good for caveat in each.caveats]
    if caveats:
        lines = aligned([(f"  {name}", text) for name, text in caveats], left=(0, 1))
        blocks.append("\n".join(["not known:", *lines]))
    shown = "\n".join(blocks)
    legend = [text for mark, text in (("~", _ESTIMATE), (UNVERIFIED, _UNKNOWN)) if mark in shown]
    return "\n\n".join([*blocks, *map(_wrapped, legend)])


def _of_model(work: Workload) -> str:
    return (
        f"one inference at batch 1: {form.count(work.operations)} operations, "
        f"{form.count(work.parameters)} parameters, at most {form.count(work.peak_values)} numbers "
        "between layers"
    )


def _table(verdicts: Sequence[Verdict], work: Workload | None, columns: int) -> list[str]:
    if work is not None:
        head = ("platform", "in", "latency", "limit", "energy", "", "rate", "power", "memory")
        rows = [head, *map(_estimated, verdicts)]
        return aligned(rows, left=(0, 1, 3, 5), columns=columns)
    head = ("platform", "device", "at most", "in", "power", "", "memory", "", "takes")
    return aligned([head, *map(_plain, verdicts)], left=(0, 1, 3, 5, 8), columns=columns)


def _plain(verdict: Verdict) -> tuple[str, ...]:
    platform, precision = verdict.platform, verdict.precision
    assert precision is not None  # or it would not suit
    return (
        verdict.name,
        platform.device,
        _marked(platform.tops[precision], form.teraflops(verdict.tops, "OP")),
        precision,
        _figure(platform, "watts"),
        _status(platform),
        _figure(platform, "memory_gb"),
        _figure(platform, "memory_gb_per_s"),
        ", ".join(platform.formats),
    )


def _estimated(verdict: Verdict) -> tuple[str, ...]:
    platform, found = verdict.platform, verdict.estimate
    assert found is not None  # there is a model
    without_watts = [name for name in found.unverified if name != "watts"]
    fast, long = UNVERIFIED * bool(without_watts), UNVERIFIED * bool(found.unverified)
    energy = form.NONE if found.energy_mj is None else f"~{_millijoules(found.energy_mj)}{long}"
    has = f" of {_figure(platform, 'memory_gb')}" if platform.memory_gb else ""
    return (
        verdict.name,
        found.precision,
        f"~{_milliseconds(found.latency_ms)}{fast}",
        found.bound,
        energy,
        _status(platform),
        f"~{form.rate(found.per_s)}{fast}",
        _figure(platform, "watts"),
        f"{form.size(found.memory_mb * 1e6)}{has}",
    )


def _status(platform: Platform) -> str:
    return "" if platform.status == "current" else platform.status


def _reasons(verdicts: Sequence[Verdict]) -> list[str]:
    widest = max(len(each.name) for each in verdicts)
    return [
        click.wrap_text(
            "; ".join(each.why_not),
            width=WIDTH,
            initial_indent=f"  {each.name:<{widest}}  ",
            subsequent_indent=" " * (widest + 4),
        )
        for each in verdicts
    ]


def details(verdict: Verdict) -> str:
    """All there is to know of one platform, each figure with where it comes from."""
    from runner.edge.targets import commands, taken

    platform = verdict.platform
    blocks = [f"{verdict.name}: {platform.title} ({platform.device}, {platform.status})"]
    rows = [
        (f"  {name}", _amount(name, figure), figure.source or "unverified: no source")
        for name, figure in platform.figures().items()
    ]
    width = max(len(name) for name, *_ in rows) + max(len(amount) for _, amount, _ in rows) + 4
    blocks.append(
        "\n".join(
            click.wrap_text(source, WIDTH, f"{line}  ", " " * (width))
            for line, (*_, source) in zip(_padded([row[:2] for row in rows]), rows, strict=True)
        )
    )
    blocks.append(_listed("takes", taken(platform)))
    if platform.compiler is not None:
        compiler = platform.compiler
        version = f" {compiler.version}" if compiler.version else ""
        ending = _ENDINGS[platform.formats[0]]
        blocks.append(
            _listed(
                "compiler",
                [
                    f"{compiler.name}{version}, on {compiler.runs_on}",
                    *commands(platform, f"model.{ending}", is_quantized=True),
                    f"source: {compiler.source or 'unverified'}",
                ],
            )
        )
    if platform.notes:
        blocks.append(_listed("notes", platform.notes))
    if verdict.estimate is not None:
        blocks.append(_listed("for the model, at best (estimated)", _verdict(verdict.estimate)))
    for title, lines in (("not suited", verdict.why_not), ("not known", verdict.caveats)):
        if lines:
            blocks.append(_listed(title, lines))
    return "\n\n".join(blocks)


_ENDINGS = {"onnx": "onnx", "openvino": "xml", "litert": "tflite", "executorch": "pte"}


def _verdict(found: Estimate) -> list[str]:
    lines = [
        f"latency: {_milliseconds(found.latency_ms)} in {found.precision}, for which {found.bound} "
        "is the limit",
        f"arithmetic: {_milliseconds(found.compute_ms)}",
    ]
    if found.memory_ms is not None:
        lines.append(f"memory: {_milliseconds(found.memory_ms)}")
    if found.energy_mj is not None:
        lines.append(f"energy: {_millijoules(found.energy_mj)} an inference")
    if found.unverified:
        lines.append(f"rests on unverified figures: {', '.join(found.unverified)}")
    return lines


def document(verdicts: Sequence[Verdict], need: Need, work: Workload | None) -> dict[str, Any]:
    """The ranking as plain data; latencies and energies are estimates at best."""
    return {
        "schema": 1,
        "need": asdict(need),
        "model": None if work is None else {**asdict(work), "operators": dict(work.operators)},
        "platforms": [
            {
                "name": each.name,
                "suits": each.suits,
                "why_not": list(each.why_not),
                "caveats": list(each.caveats),
                "precision": each.precision,
                "estimate": None
                if each.estimate is None
                else {**asdict(each.estimate), "inferences_per_s": each.estimate.per_s},
                **each.platform.model_dump(mode="json"),
                "unverified": [
                    name
                    for name, figure in each.platform.figures().items()
                    if not figure.is_verified
                ],
            }
            for each in verdicts
        ],
    }


def _figure(platform: Platform, name: str) -> str:
    figure: Figure | None = getattr(platform, name)
    return form.NONE if figure is None else _marked(figure, _amount(name, figure))


def _amount(name: str, figure: Figure) -> str:
    if name.startswith("tops."):
        sparse = " sparse" if getattr(figure, "sparse", False) else ""
        return f"{form.teraflops(figure.value, 'OP')}{sparse}"
    return f"{figure.value:g} {_UNITS[name]}"


def _marked(figure: Figure, text: str) -> str:
    return text if figure.is_verified else text + UNVERIFIED


def _milliseconds(ms: float) -> str:
    return form.milliseconds(ms) if ms >= 1e-3 else f"{form.significant(ms * 1e6)} ns"


def _millijoules(mj: float) -> str:
    for unit, scale in ((" J", 1e3), (" mJ", 1.0), (" µJ", 1e-3)):
        if mj >= scale:
            return form.significant(mj / scale) + unit
    return form.significant(mj * 1e6) + " nJ"


def _padded(rows: Sequence[Sequence[str]]) -> list[str]:
    first = max(len(name) for name, _ in rows)
    second = max(len(amount) for _, amount in rows)
    return [f"{name:<{first}}  {amount:>{second}}" for name, amount in rows]


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(click.wrap_text(line, WIDTH, "  ", "    ") for line in lines)])


def _wrapped(text: str) -> str:
    return click.wrap_text(text, width=WIDTH)
