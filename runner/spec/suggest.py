"""The nearest right name for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LENGTH = 100


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a known name is close, else what names there are, else ''."""
    names = [str(candidate) for candidate in known]
    if len(name) > MAX_LENGTH:  # no typing error, and slow to compare
        return ""
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        lowered = {candidate.lower(): candidate for candidate in names}
        close = [lowered[match] for match in get_close_matches(name.lower(), lowered, n=1)]
    if close:
        return f"; did you mean '{close[0]}'?"
    if not names or len(names) > 12:
        return ""
    return "; expected one of " + ", ".join(names)
