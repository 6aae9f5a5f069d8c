"""The words of a resource request: ``H100:8``, ``8GB``, ``90m``."""

from __future__ import annotations

import re

from runner.accelerators import FAMILIES, is_custom
from runner.model import Accelerator
from runner.spec.document import shown
from runner.spec.suggest import did_you_mean
from runner.spec.topologies import TPU_COUNTS, slice_sizes

# What Ray labels nodes with, in its own spelling (ray.util.accelerators), and the family of each.
TYPES: dict[str, str] = {
    **dict.fromkeys(
        (
            "V100", "P100", "P4", "K80", "T4", "A10G", "A10", "L4", "L40S", "A100", "A100-40G",
            "A100-80G", "H100", "H200", "H20", "B200", "B300", "GB200", "GB300", "A30", "RTX4090",
            "AMD-Instinct-MI100", "AMD-Instinct-MI210", "AMD-Instinct-MI250X",
            "AMD-Instinct-MI300X-OAM", "Intel-GPU-Max-1550",
        ),
        "gpu",
    ),
    **dict.fromkeys(
        ("TPU-V2", "TPU-V3", "TPU-V4", "TPU-V5P", "TPU-V5LITEPOD", "TPU-V5E", "TPU-V6E", "TPU-V7X"),
        "tpu",
    ),
    **dict.fromkeys(
        (
            "Ascend310", "Ascend310B", "Ascend310P", "Ascend910", "Ascend910A", "Ascend910B",
            "Ascend910C", "Intel-GAUDI", "Intel-GAUDI2", "Intel-GAUDI3", "aws-neuron-core",
        ),
        "npu",
    ),
}  # fmt: skip

_ACCELERATOR = re.compile(r"([A-Za-z][A-Za-z0-9-]*?)(?::([0-9]{0,6}\.?[0-9]{1,6}))?")
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([KMGT]i?B)")
_NEARLY_MEMORY = re.compile(r"([0-9.]{1,18})\s*([KMGT])(i?)B?", re.IGNORECASE)
_LETTERS = "KMGT"
_BYTES = {
    f"{letter}{binary}B": (1024 if binary else 1000) ** power
    for power, letter in enumerate(_LETTERS, start=1)
    for binary in ("", "i")
}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_accelerator(text: str) -> Accelerator | None:
    """``gpu:0.5``, ``H100:8``, ``TPU-V5E:4``, or ``cpu``, which is None. Raises ValueError."""
    match = _ACCELERATOR.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{shown(text)}' names no accelerator; expected such as gpu:1, H100:8 or cpu"
        )
    name, amount = match.group(1), match.group(2)
    if name.lower() == "cpu":
        if amount is not None:
            raise ValueError("'cpu' takes no count; expected the count of CPUs under 'cpus'")
        return None
    count = float(amount) if amount is not None else 1.0
    spelled = {known.lower(): known for known in TYPES}
    if name.lower() in FAMILIES:
        kind, family = None, name.lower()
    elif name.lower() in spelled:
        kind = spelled[name.lower()]
        family = TYPES[kind]
    elif is_custom(name):
        kind, family = name, "npu"
    else:
        raise ValueError(
            f"'{shown(name)}' is no accelerator that is known here"
            + (did_you_mean(name, [*FAMILIES, "cpu", *TYPES]) or "; expected gpu, tpu, npu or cpu")
        )
    if count <= 0:
        raise ValueError(f"'{shown(text)}' asks for none; leave it out, or ask for cpu")
    if family == "tpu" and count not in TPU_COUNTS and count not in slice_sizes(kind):
        raise ValueError(f"'{shown(text)}': {_chips_beside(count, kind)}")
    if count != int(count) and (count > 1 or family != "gpu"):
        raise ValueError(
            f"'{shown(text)}': only a share of one gpu may be asked for, such as gpu:0.5"
        )
    return Accelerator(family=family, type=kind, count=count)


def _chips_beside(count: float, kind: str | None) -> str:
    """What is said of a number of TPU chips that nothing has."""
    if count < max(TPU_COUNTS):
        return "a worker takes 1, 2, 4 or 8 chips of a TPU host"
    sizes = slice_sizes(kind)
    below = [f"{size}" for size in sizes if size < count][-1:]
    above = [f"{size}" for size in sizes if size > count][:1]
    return f"no slice has so many chips; the nearest that do: {' or '.join([*below, *above])}"


def parse_memory(text: str) -> int:
    """Bytes in ``8GB`` or ``512MiB``. Raises ValueError."""
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        near = _NEARLY_MEMORY.fullmatch(text.strip())
        raise ValueError(
            f"'{shown(text)}' is no amount of memory; "
            + (f"did you mean '{near[1]}{near[2].upper()}{near[3].lower()}B'?" if near else
               "expected such as 512MB, 8GB or 4GiB")
        )  # fmt: skip
    amount = int(float(match.group(1)) * _BYTES[match.group(2)])
    if amount == 0:
        raise ValueError(f"'{shown(text)}' is nothing; leave it out, or ask for more")
    return amount


def memory_text(amount: int, *, up: bool = False) -> str:
    """Bytes as a spec writes them, to three digits or all before the point: down, or rounded up."""
    power = min((len(str(amount)) - 1) // 3, len(_LETTERS))
    unit = 1000**power
    decimals = max(0, 3 - len(str(amount // unit)))
    # In whole numbers: what is rounded down must fit where the amount does.
    step = max(1, unit // 10**decimals)
    rounded = -(-amount // step) * step if up else amount // step * step
    return f"{rounded / unit:.15g}{('', *_LETTERS)[power]}B"


def parse_duration(text: str) -> float:
    """Seconds in ``90s``, ``10m``, ``2h`` or ``1d``. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match.group(1)) == 0:
        raise ValueError(f"'{shown(text)}' is no duration; expected such as 90s, 10m or 2h")
    return float(match.group(1)) * _SECONDS[match.group(2)]
