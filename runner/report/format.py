"""Numbers for people: three significant digits, one unit a measure, and a dash for what is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

NONE = "\u2013"  # an en dash
TIMES = "\u00d7"
MINUS = "\u2212"


def significant(value: float, digits: int = 3) -> str:
    """``value`` to that many significant digits, never with an exponent."""
    if value == 0:
        return "0"
    shown = f"{value:.{digits - 1}e}"
    decimals = digits - 1 - int(shown.partition("e")[2])
    return f"{Decimal(shown):.{max(0, decimals)}f}"


def percent(fraction: float | None) -> str:
    """0.9583 → 95.8 %."""
    return NONE if _absent(fraction) else f"{fraction:.1%}".replace("%", " %")


def cosine(value: float | None) -> str:
    """0.99943 → 0.9994."""
    return NONE if _absent(value) else f"{value:.4f}"


def count(number: float | None) -> str:
    """17226 → 17.2 k; 1.8e6 → 1.80 M; 7.2e9 → 7.20 B, as the field counts parameters."""
    return _scaled(number, (("", 1.0), (" k", 1e3), (" M", 1e6), (" B", 1e9)), exact_below=1e3)


def rate(per_second: float | None) -> str:
    """24100 → 24.1 k/s."""
    text = _scaled(per_second, ((" ", 1.0), (" k", 1e3), (" M", 1e6)))
    return text if text == NONE else f"{text}/s"


def megabytes(size_mb: float | None) -> str:
    """1.2204 → 1.22 MB, with 1 MB = 1e6 bytes; from a thousand on, GB."""
    return _scaled(size_mb, ((" MB", 1.0), (" GB", 1e3)))


def size(size_bytes: float | None) -> str:
    """12345 → 12.3 kB, in powers of a thousand."""
    units = ((" B", 1.0), (" kB", 1e3), (" MB", 1e6), (" GB", 1e9))
    return _scaled(size_bytes, units, exact_below=1e3)


def teraflops(rate: float | None, operations: str = "FLOP") -> str:
    """0.9181 → 918 GFLOP/s, 790.2 → 790 TFLOP/s."""
    units = (("M", 1e-6), ("G", 1e-3), ("T", 1.0), ("P", 1e3))
    return _scaled(rate, tuple((f" {prefix}{operations}/s", scale) for prefix, scale in units))


def gigabytes_per_s(rate: float | None) -> str:
    """27.85 → 27.9 GB/s, with 1 GB = 1e9 bytes; from a thousand on, TB/s."""
    return _scaled(rate, ((" MB/s", 1e-3), (" GB/s", 1.0), (" TB/s", 1e3)))


def millijoules(mj: float | None) -> str:
    """3.14159 → 3.14 mJ; from a thousand on, joules."""
    return _scaled(mj, ((" mJ", 1.0), (" J", 1e3)))


def milliseconds(ms: float | None) -> str:
    """0.0412 → 0.0412 ms; from ten thousand on, seconds."""
    if ms is not None and ms >= 10_000:
        return duration(ms / 1000)
    return _scaled(ms, ((" ms", 1.0),))


def loss(value: float | None) -> str:
    """0.14234 → 0.1423; to four decimals, so that a column of losses lines up."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else significant(value)


def plain(value: float | None) -> str:
    """A number of a kind unknown here: whole ones whole, others to four digits."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u2009")
    if not 1e-6 <= abs(value) < 1e15:
        return f"{value:.3e}"
    text = significant(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float | None) -> str:
    """0.0412 → 41 ms; 5.13 → 5.1 s; 125 → 2 min 5 s; 3725 → 1 h 2 min."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if 0 < seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def at_work(seconds: float | None, resumed: int) -> str:
    """How long a run was at work, and how often it was resumed: '5.1 s, resumed twice'."""
    often = {1: "once", 2: "twice"}.get(resumed, f"{resumed} times")
    return f"{duration(seconds)}, resumed {often}" if resumed else duration(seconds)


def at_once(rows: int) -> str:
    """How many samples a forward pass sees: '16 samples at once'."""
    return f"{rows} sample{'' if rows == 1 else 's'} at once"


def moment(at_s: float | None) -> str:
    """A Unix time as people write it: 2026-11-22 15:45:01 UTC."""
    if at_s is None:
        return NONE
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def factor(ratio: float) -> str:
    """2.314 → 2.3x, 18.24 → 18.2x, 125.3 → 125x; with a real multiplication sign."""
    return f"{ratio:.{1 if ratio < 99.95 else 0}f}{TIMES}"


def change(ratio: float | None, more: str, less: str, same: str = "same") -> str:
    """A ratio in words: 2.3 → '2.3x faster', 0.5 → '2.0x slower', near enough 1 → 'same'."""
    if ratio is None or not math.isfinite(ratio) or ratio <= 0:
        return NONE
    word, ratio = (more, ratio) if ratio >= 1 else (less, 1 / ratio)
    return same if ratio < 1.05 else f"{factor(ratio)} {word}"


def points(fraction: float | None) -> str:
    """How much accuracy rose, in percentage points: -0.0061 → minus 0.6 points."""
    if fraction is None or not math.isfinite(fraction):
        return NONE
    rounded = round(fraction * 100, 1)
    if rounded == 0:
        return "same"
    return f"{'+' if rounded > 0 else MINUS}{abs(rounded):.1f} points"


def difference(value: float | None) -> str:
    """A signed difference: 0.0123 → +0.0123."""
    if value is None or not math.isfinite(value):
        return NONE
    sign = "+" if value > 0 else MINUS if value < 0 else "±"
    return f"{sign}{significant(abs(value))}"


METRIC_FORMATS: dict[str, Callable[[float | None], str]] = {
    "accuracy": percent,
    "loss": loss,
    "parameters": count,
    "zeros": count,
    "multiply_adds": count,
    "samples_per_s": rate,
    "mfu": percent,
    "size_ratio": lambda value: change(value, "smaller", "larger"),
    "gzip_ratio": lambda value: change(value, "smaller", "larger"),
    "speedup": lambda value: change(value, "faster", "slower"),
    "accuracy_drop": lambda value: points(None if value is None else -value),
}

UNIT_FORMATS = (
    ("_tflops", teraflops),
    ("_tops", lambda value: teraflops(value, "OP")),
    ("_gb_per_s", gigabytes_per_s),
    ("_per_s", plain),
    ("_gb", lambda value: megabytes(None if value is None else value * 1e3)),
    ("_mb", megabytes),
    ("_ms", milliseconds),
    ("_s", duration),
    ("_bytes", size),
)


def metric(name: str, value: float | None) -> str:
    """The value of a metric in the unit that its name ends in."""
    last = name.rsplit("/", 1)[-1]
    if last in METRIC_FORMATS:
        return METRIC_FORMATS[last](value)
    for ending, form in UNIT_FORMATS:
        if last.endswith(ending):
            return form(value)
    return plain(value)


def _absent(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _scaled(
    value: float | None, units: tuple[tuple[str, float], ...], exact_below: float = 0.0
) -> str:
    """Three significant digits in the largest unit that leaves at least one before the point."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) < exact_below and value == int(value):
        return f"{int(value)}{units[0][0]}"
    rounded = abs(float(f"{value:.2e}"))
    unit, scale = next((each for each in reversed(units) if rounded >= each[1]), units[0])
    return f"{significant(value / scale)}{unit}"
