"""What this machine would offer as a cluster of its own: the same that Ray would then say of it."""

from __future__ import annotations

import pytest
from ray._private.accelerators.npu import NPUAcceleratorManager
from ray._private.accelerators.tpu import TPUAcceleratorManager

from runner.cluster import machine
from runner.model import Accelerator, TpuSlice


def test_a_tpu_vm_says_of_which_slice_it_is_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    # What GKE puts into a host's environment; its devices are the one thing that is not here.
    monkeypatch.setattr(TPUAcceleratorManager, "get_current_node_num_accelerators", lambda: 4)
    about = {
        "TPU_NAME": "mine",
        "TPU_WORKER_ID": "1",
        "TPU_ACCELERATOR_TYPE": "v4-16",
        "TPU_TOPOLOGY": "2x2x2",
    }
    for name, value in about.items():
        monkeypatch.setenv(name, value)
    (node,) = machine.inventory().nodes
    assert node.accelerators == (Accelerator(family="tpu", type="TPU-V4", count=4),)
    assert node.tpu_slice == TpuSlice(name="mine", topology="2x2x2", pod_type="v4-16", worker_id=1)


def test_an_npu_of_huawei_or_intel_is_seen_as_ray_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NPUAcceleratorManager, "get_current_node_num_accelerators", lambda: 8)
    monkeypatch.setattr(
        NPUAcceleratorManager, "get_current_node_accelerator_type", lambda: "Ascend910B3"
    )
    (node,) = machine.inventory().nodes
    assert node.accelerators == (
        Accelerator(family="npu", type="Ascend910B3", count=8, resource="NPU"),
    )


def test_labels_that_say_nothing_of_a_slice_make_none() -> None:
    assert machine.tpu_slice({"ray.io/accelerator-type": "TPU-V4"}) is None
    odd = machine.tpu_slice({"ray.io/tpu-topology": "2x2", "ray.io/tpu-worker-id": "first"})
    assert odd == TpuSlice(topology="2x2")
