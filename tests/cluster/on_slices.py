"""Carries out a job on the cluster that RAY_ADDRESS names, a line of JSON for each record.

    python on_slices.py WORKDIR STORAGE TASK=DEVICES[@TOPOLOGY] ...

Each task trains on data that WORKDIR/gate.py makes as soon as it finds the file WORKDIR/TASK.open.
What is asked of the nodes is a TPU; as there is none, they compute on their CPUs.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from threading import Event

from runner.cluster.address import resolve
from runner.model import Job, Resources, Task
from runner.plan import place
from runner.runs.request import Request
from runner.runs.submission import carry_out, open_run, target
from runner.spec.resources import parse_accelerator
from runner.worker.wire import record_to_json


def asked(words: str, workdir: str) -> Task:
    name, _, devices = words.partition("=")
    device, _, topology = devices.partition("@")
    return Task(
        name=name,
        kind="train",
        params={
            "model": {"name": "mlp", "args": {"hidden": [4]}},
            "data": {"factory": "gate:data", "args": {"folder": workdir, "name": name}},
            "max_steps": 1,
            "global_batch_size": 8,
        },
        resources=Resources(accelerators=(parse_accelerator(device),), topology=topology or None),
    )


def main(workdir: str, storage: str, *tasks: str) -> None:
    job = Job(
        name="slices",
        tasks=tuple(asked(words, workdir) for words in tasks),
        spec={},
        file="job.yaml",
        workdir=workdir,
    )
    with target(resolve(None, os.environ)) as where:
        plan = place(job, where.inventory)
        computed = tuple(
            replace(each, placement=replace(each.placement, device="cpu")) for each in plan.tasks
        )
        request = Request(
            job=job,
            storage=storage,
            submitted_at_s=time.time(),
            secrets={},
            plan=replace(plan, tasks=computed),
        )
        carry_out(
            open_run(request, where),
            where,
            submitted_at_s=request.submitted_at_s,
            environment={},
            observe=lambda record: print(record_to_json(record), flush=True),
            cancelled=Event(),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
