"""plan.json: what is read is what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placing import inventory, node

from runner.errors import RecordsError
from runner.model import (
    Batches,
    Job,
    Placement,
    Plan,
    PlannedTask,
    Resources,
    Retry,
    Task,
)
from runner.plan import place
from runner.plan.saved import from_json, to_json
from runner.spec import load
from runner.spec.resources import parse_accelerator

JOBS = sorted((Path(__file__).parent.parent.parent / "jobs").glob("*.yaml"))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MAPS = st.dictionaries(TEXT, JSON, max_size=4)
COUNT = st.integers(1, 10**9)
RESOURCES = st.builds(
    Resources,
    cpus=NUMBER,
    memory_bytes=st.none() | COUNT,
    accelerators=st.lists(
        st.sampled_from(["cpu", "gpu:0.5", "H100:8", "TPU-V5E:4"]).map(parse_accelerator),
        min_size=1,
        max_size=3,
    ).map(tuple),
    num_workers=COUNT,
    min_workers=st.none() | COUNT,
    num_nodes=st.none() | COUNT,
)
TASKS = st.builds(
    Task,
    name=TEXT,
    kind=TEXT,
    params=MAPS,
    resources=RESOURCES,
    depends_on=st.lists(TEXT, max_size=2).map(tuple),
    retry=st.builds(Retry, max_restarts=COUNT),
    timeout_s=st.none() | NUMBER,
    env=st.dictionaries(TEXT, TEXT, max_size=2),
    secrets=st.lists(TEXT, max_size=2).map(tuple),
    seed=COUNT,
)
PLACEMENTS = st.builds(
    Placement,
    device=TEXT,
    nodes=st.lists(TEXT, max_size=2).map(tuple),
    node_ids=st.lists(TEXT, max_size=2).map(tuple),
    demand=st.dictionaries(TEXT, NUMBER | COUNT, max_size=3),
    reason=TEXT,
    bundles=st.lists(COUNT, min_size=1, max_size=3).map(tuple),
    is_spread=st.booleans(),
)
PLANNED = st.builds(
    PlannedTask,
    task=TASKS,
    placement=PLACEMENTS,
    batches=st.none()
    | st.builds(
        Batches,
        **{**dict.fromkeys(Batches.__dataclass_fields__, COUNT), "is_auto": st.booleans()},
    ),
    wave=COUNT,
    parallelism=TEXT,
)
PLANS = st.builds(
    Plan,
    job=st.builds(
        Job,
        name=TEXT,
        tasks=st.lists(TASKS, max_size=2).map(tuple),
        spec=MAPS,
        file=TEXT,
        overrides=st.lists(TEXT, max_size=2).map(tuple),
        workdir=st.none() | TEXT,
    ),
    cluster=TEXT,
    tasks=st.lists(PLANNED, max_size=2).map(tuple),
)


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(PLANS)
def test_any_plan_is_read_as_it_was_written(plan: Plan) -> None:
    assert from_json(to_json(plan), file="plan.json") == plan


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_the_plan_of_every_job_is_read_as_it_was_written(file: Path) -> None:
    job = load(file.read_bytes(), file=str(file), environment={}, folder=file.parent)
    plan = place(job, inventory(node("n", "gpu/L4:1", cpus=4)))
    text = to_json(plan)
    assert from_json(text.encode(), file="plan.json") == plan
    assert json.loads(text)["tasks"][0]["task"]["name"] == job.tasks[0].name
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "plan.json is not a plan: the file: Invalid JSON"),
        ("{}", "plan.json is not a plan: job: Field required"),
        ("[1]", "plan.json is not a plan: the file: "),
    ],
)
def test_what_is_no_plan_is_said_to_be_none(text: str, message: str) -> None:
    with pytest.raises(RecordsError) as caught:
        from_json(text, file="plan.json")
    assert caught.value.message.startswith(message)
