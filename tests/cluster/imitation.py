"""A Ray cluster of imitation nodes on this machine, up until standard input ends or it is killed.

    python imitation.py FOLDER devices|slices|npus

"devices" is a plain head, one node that declares GPUs and one that declares a TPU; "slices" a host
with the eight chips of a v5e-8, and two v4-16 slices of two hosts each; "npus" a plain head, a node
with Gaudis, and one with a device that Ray does not know. Nothing here has any. It prints one line
of JSON when it is up: its address. A line "remove NAME" on standard input ends a node without a
word. A process of its own, since Ray reads most of its environment when it is imported. Loopback
only, its files in FOLDER.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

DEVICES: dict[str, dict[str, Any]] = {
    "plain": {"num_cpus": 2, "memory": 2_000_000_000},
    "with-gpus": {
        "num_cpus": 2,
        "num_gpus": 2,
        "memory": 3_000_000_000,
        "labels": {"ray.io/accelerator-type": "L4"},
    },
    "with-tpus": {
        "num_cpus": 2,
        "memory": 4_000_000_000,
        "resources": {"TPU": 4.0, "TPU-v6e-4-head": 1.0},
        "labels": {"ray.io/accelerator-type": "TPU-V6E"},
    },
}


def host(name: str, worker: int, pod_type: str, topology: str, chips: int) -> dict[str, Any]:
    """A node with what GKE and Google's metadata server tell the hosts of a slice."""
    about = {
        "TPU_NAME": name,
        "TPU_WORKER_ID": str(worker),
        "TPU_ACCELERATOR_TYPE": pod_type,
        "TPU_TOPOLOGY": topology,
    }
    return {"num_cpus": 1, "memory": 2_000_000_000, "resources": {"TPU": chips}, "about": about}


SLICES = {
    "five": host("small", 0, "v5litepod-8", "2x4", 8),
    "a-0": host("slice-a", 0, "v4-16", "2x2x2", 4),
    "a-1": host("slice-a", 1, "v4-16", "2x2x2", 4),
    "b-0": host("slice-b", 0, "v4-16", "2x2x2", 4),
    "b-1": host("slice-b", 1, "v4-16", "2x2x2", 4),
}


NPUS: dict[str, dict[str, Any]] = {
    "plain": {"num_cpus": 1, "memory": 2_000_000_000},
    "gaudi": {
        "num_cpus": 1,
        "memory": 2_000_000_000,
        "resources": {"HPU": 2.0},
        "labels": {"ray.io/accelerator-type": "Intel-GAUDI2"},
    },
    "board": {"num_cpus": 1, "memory": 2_000_000_000, "resources": {"npu-coral": 1.0}},
}


def main(folder: str, which: str) -> None:
    os.environ["RAY_TMPDIR"] = folder  # where the head's address is noted, too
    temporary = str(Path(folder) / "ray")
    Path(temporary).mkdir()
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = {}
    for name, offers in {"devices": DEVICES, "slices": SLICES, "npus": NPUS}[which].items():
        more = {} if cluster.head_node else {"include_dashboard": False, "temp_dir": temporary}
        about = offers.pop("about", {})
        os.environ |= about  # where Ray looks, and what the node's workers are started with
        nodes[name] = cluster.add_node(
            wait=False,
            node_name=name,
            node_ip_address="127.0.0.1",
            object_store_memory=80_000_000,
            **offers,
            **more,
        )
        for variable in about:
            del os.environ[variable]
    cluster.wait_for_nodes(timeout=60)
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[line.removeprefix("remove ").strip()], allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    main(*sys.argv[1:])
