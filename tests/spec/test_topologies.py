"""The table of TPU topologies, against Google's rows and Ray's own table."""

from __future__ import annotations

import pytest
from ray._private.accelerators import tpu as of_ray

from runner.spec.resources import TYPES
from runner.spec.topologies import (
    GENERATIONS,
    chips,
    chips_of_pod_type,
    hosts,
    pod_type,
    slice_sizes,
    with_chips,
)

# Rows of cloud.google.com/tpu/docs/v4, v5e and v5p: topology, chips, hosts, and the cloud's name.
ROWS = [
    ("TPU-V4", "2x2x1", 4, (1,), "v4-8"),
    ("TPU-V4", "2x2x2", 8, (2,), "v4-16"),
    ("TPU-V4", "2x4x4", 32, (8,), "v4-64"),
    ("TPU-V4", "12x16x16", 3072, (768,), "v4-6144"),
    ("TPU-V5P", "2x2x2", 8, (2,), "v5p-16"),
    ("TPU-V5P", "16x16x24", 6144, (1536,), "v5p-12288"),
    ("TPU-V5E", "1x1", 1, (1,), "v5litepod-1"),
    ("TPU-V5E", "2x2", 4, (1,), "v5litepod-4"),
    ("TPU-V5E", "2x4", 8, (1, 2), "v5litepod-8"),
    ("TPU-V5E", "4x4", 16, (4,), "v5litepod-16"),
    ("TPU-V6E", "16x16", 256, (64,), "v6e-256"),
    ("TPU-V3", "4x4", 16, (4,), "v3-32"),
]


@pytest.mark.parametrize(("kind", "topology", "count", "of", "name"), ROWS)
def test_rows_of_google_s_tables(
    kind: str, topology: str, count: int, of: tuple[int, ...], name: str
) -> None:
    generation = GENERATIONS[kind]
    assert topology in generation.topologies
    assert (chips(topology), hosts(generation, topology)) == (count, of)
    assert pod_type(generation, topology) == name
    assert chips_of_pod_type(name) == count


def test_every_type_that_a_spec_can_name_is_in_the_table() -> None:
    assert set(GENERATIONS) == {kind for kind, family in TYPES.items() if family == "tpu"}


@pytest.mark.parametrize("kind", GENERATIONS)
def test_ray_counts_chips_and_hosts_alike(kind: str) -> None:
    generation = GENERATIONS[kind]
    both = of_ray.VALID_TPU_TOPOLOGY[generation.name] & set(generation.topologies)
    assert len(both) >= 4
    for topology in both:
        assert chips(topology) == of_ray.get_num_chips_from_topology(topology)
        per_host = of_ray.get_chips_per_host(topology, generation.name)
        assert chips(topology) // per_host == hosts(generation, topology)[0]
        named = of_ray.infer_tpu_pod_type_from_topology(topology, generation.name)
        assert named == pod_type(generation, topology)
        assert of_ray.get_total_chips_from_accelerator_type(named) == chips_of_pod_type(named)


def test_what_has_so_many_chips_is_as_square_as_can_be() -> None:
    assert with_chips(GENERATIONS["TPU-V4"], 64) == "4x4x4"
    assert with_chips(GENERATIONS["TPU-V4"], 512) == "8x8x8"
    assert with_chips(GENERATIONS["TPU-V4"], 2) is None
    assert slice_sizes("TPU-V5E") == (1, 4, 8, 16, 32, 64, 128, 256)
    assert slice_sizes(None)[0] == 1
    assert chips_of_pod_type("tpu7x-8") == 4  # the newest names begin otherwise


@pytest.mark.parametrize("name", ["v4", "v9-8", "v4-x", "", "2x2x2"])
def test_what_is_no_pod_type_has_no_chips(name: str) -> None:
    assert chips_of_pod_type(name) is None
