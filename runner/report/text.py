"""Text from outside (names, errors, node names) made safe to show: one place for every format."""

from __future__ import annotations

import re
import unicodedata

# Terminal control sequences: CSI (colours, cursor), OSC (titles, links), and lone escapes.
CONTROL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    """``text`` without terminal control sequences; any other character that can't be shown is �.

    That is: controls but newline and tab, lone surrogates, and what reverses the direction of
    writing or is invisible (Unicode categories Cc, Cf, Cs, Co, Cn), save the joiners of emoji.
    """
    text = CONTROL_SEQUENCE.sub("", text).replace("\r\n", "\n")
    return "".join(each if _shown(each) else "\ufffd" for each in text)


def one_line(text: str, limit: int | None = None) -> str:
    """``text`` on one line, blanks folded; longer than ``limit`` characters, its end cut off."""
    line = " ".join(printable(text).split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def width(text: str) -> int:
    """How many terminal cells ``text`` takes: a wide character two, a combining one none."""
    cells = 0
    for each in text:
        if not unicodedata.combining(each) and each != "\u200d":
            cells += 2 if unicodedata.east_asian_width(each) in "WF" else 1
    return cells


def _shown(character: str) -> bool:
    if character in KEPT or character in "\u200c\u200d":
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
