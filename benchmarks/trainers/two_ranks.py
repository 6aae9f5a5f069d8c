"""A gpt on two ranks beside one: python -m trainers.two_ranks

Two processes of one thread each, DDP over gloo on this machine, which should have two free cores.
"""

from __future__ import annotations

import statistics

from trainers.cases import CASES
from trainers.serving import Answer, Request, trainers

ROUNDS = 15
CASE = "gpt"


def main() -> None:
    batch = CASES[CASE].batch
    entries = {
        f"1 rank, batch {batch}": ("runner", batch),
        f"2 ranks, batch {batch}": ("gang", batch),
        f"2 ranks, batch {2 * batch}": ("gang", 2 * batch),
    }
    answers: dict[str, list[Answer]] = {name: [] for name in entries}
    with trainers({"runner": 1, "gang": 2}) as started:
        for _ in range(ROUNDS):
            for name, (trainer, size) in entries.items():
                answers[name].append(started[trainer].train(Request(case=CASE, batch=size)))
    print(f"Medians of {ROUNDS} rounds; the best round is the one that was disturbed least.\n")
    print("| gpt | CPU ms/step and rank | ms/step | best | samples/s | best | to 1 rank | best |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    alone, *_ = answers.values()
    best_alone = max(answer.samples_per_s for answer in alone)
    for name, given in answers.items():
        rates = [answer.samples_per_s for answer in given]
        walls_ms = [1e3 * answer.wall_s for answer in given]
        cpu_ms = 1e3 * statistics.median(answer.cpu_s for answer in given)
        ratio = statistics.median(
            ours.samples_per_s / theirs.samples_per_s
            for ours, theirs in zip(given, alone, strict=True)
        )
        cells = [
            name,
            f"{cpu_ms:.1f}",
            f"{statistics.median(walls_ms):.1f}",
            f"{min(walls_ms):.1f}",
        ]
        cells += [f"{statistics.median(rates):.0f}", f"{max(rates):.0f}"]
        print(f"| {' | '.join(cells)} | {ratio:.2f}x | {max(rates) / best_alone:.2f}x |")


if __name__ == "__main__":
    main()
