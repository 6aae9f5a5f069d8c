"""Training beside its peers. Run: python benchmarks/training.py [--only PART,PART]

Parts: loop (what a step costs in the tutorial's loop, the best by hand, Lightning, Accelerate, Ray
Train and runner), ranks (gpt on two ranks and on one), first-step (how soon two ranks train, beside
Ray Train), accumulation (the last, shorter window), memory (of a worker). Each runs in processes of
its own. Peers: pip install -c constraints.txt -e .[benchmarks]
"""

from __future__ import annotations

from parts import run

PARTS = {
    "loop": ("What a step costs", "trainers.loop_cost"),
    "ranks": ("Two ranks", "trainers.two_ranks"),
    "first-step": ("To the first step", "trainers.first_step"),
    "accumulation": ("Gradient accumulation", "trainers.accumulation"),
    "memory": ("Memory", "trainers.memory"),
}


PACKAGES = ("torch", "ray", "lightning", "accelerate")

if __name__ == "__main__":
    run(__doc__ or "", PARTS, PACKAGES)
