"""What a step costs in each loop: python -m trainers.loop_cost

One thread each, in turns, in several generations of fresh processes, as one process of the same
program is a little faster than another. All against the best loop that one writes by hand.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.util import find_spec

from trainers.cases import CASES
from trainers.serving import Answer, Request, Trainer, trainers

GENERATIONS = 3
ROUNDS = {"mlp": 8, "convnet": 6, "gpt": 6}
COMPARED_STEPS = 20
# Adam's first steps have the size of the learning rate however small a gradient is, and so magnify
# the last bits in which two layouts of a convolution differ.
TOLERANCE = {"mlp": 1e-5, "convnet": 1e-2, "gpt": 1e-5}
PEERS = {"lightning": "lightning", "accelerate": "accelerate", "ray-train": "ray.train"}
BY_HAND = ("hand-written", False)
OURS = ("runner", False)
Loop = tuple[str, bool]
NAMES: dict[Loop, str] = {
    ("tutorial", False): "the tutorial's loop",
    ("lightning", False): "Lightning",
    ("lightning", True): "Lightning, tuned",
    ("accelerate", False): "Accelerate",
    ("accelerate", True): "Accelerate, tuned",
    ("ray-train", False): "Ray Train",
    ("ray-train", True): "Ray Train, tuned",
    BY_HAND: "the best loop by hand",
    OURS: "**runner**",
}


def check_losses(
    case: str, started: dict[str, Trainer], loops: Sequence[Loop]
) -> dict[Loop, float]:
    """The largest relative difference of each loop's losses from those of the best by hand."""
    losses = {
        (name, is_tuned): started[name]
        .train(Request(case=case, batch=CASES[case].batch, is_tuned=is_tuned, steps=COMPARED_STEPS))
        .losses
        for name, is_tuned in loops
    }
    differences = {}
    for loop, ours in losses.items():
        pairs = zip(ours, losses[BY_HAND], strict=True)
        differences[loop] = max(abs(a - b) / b for a, b in pairs)
        assert len(ours) == COMPARED_STEPS, (case, loop, len(ours))
        assert differences[loop] < TOLERANCE[case], (case, loop, differences[loop])
    return differences


def table(case: str, differences: dict[Loop, float], answers: dict[Loop, list[Answer]]) -> None:
    """Prints one case: medians, and the medians of the ratios within each round."""
    print(f"\n{CASES[case].title}\n")
    print("| loop | CPU ms/step | to the best by hand | samples/s | losses differ by |")
    print("|---|---:|---:|---:|---:|")
    for loop, given in answers.items():
        cpu_ms = 1e3 * statistics.median(answer.cpu_s for answer in given)
        rate = statistics.median(answer.samples_per_s for answer in given)
        pairs = zip(given, answers[BY_HAND], strict=True)
        ratio = statistics.median(ours.cpu_s / theirs.cpu_s for ours, theirs in pairs)
        cells = [NAMES[loop], f"{cpu_ms:.3f}", f"{ratio:.3f}x", f"{rate:,.0f}"]
        print(f"| {' | '.join(cells)} | {differences[loop]:.0e} |", flush=True)


def main() -> None:
    absent = [name for name, module in PEERS.items() if find_spec(module) is None]
    for name in absent:
        print(f"{name} is not installed, and left out: pip install runner[benchmarks]")
    loops = [loop for loop in NAMES if loop[0] not in absent]
    answers: dict[str, dict[Loop, list[Answer]]] = {
        case: {loop: [] for loop in loops} for case in CASES
    }
    for generation in range(GENERATIONS):
        with trainers({name: 1 for name, _ in loops}) as started:
            if generation == 0:
                differences = {case: check_losses(case, started, loops) for case in CASES}
            for case, rounds in ROUNDS.items():
                for turn in range(rounds):
                    # Each is first, second and last in its turn.
                    for name, is_tuned in loops[turn % len(loops) :] + loops[: turn % len(loops)]:
                        request = Request(case=case, batch=CASES[case].batch, is_tuned=is_tuned)
                        answers[case][name, is_tuned].append(started[name].train(request))
    counts = ", ".join(f"{GENERATIONS * count} ({case})" for case, count in ROUNDS.items())
    print(f"Medians of {counts} rounds, in {GENERATIONS} generations of processes.")
    for case in CASES:
        table(case, differences[case], answers[case])


if __name__ == "__main__":
    main()
