"""A Ray cluster of imitation nodes on this machine, up until standard input ends or it is killed.

    python imitation.py FOLDER

A plain head, one node that declares GPUs and one that declares a TPU; nothing here has either. It
prints one line of JSON when it is up: its address. A line "remove NAME" on standard input ends a
node without a word. A process of its own, since Ray reads most of
its environment when it is imported. Loopback only, its files in FOLDER.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

NODES = {
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


def main(folder: str) -> None:
    os.environ["RAY_TMPDIR"] = folder  # where the head's address is noted, too
    temporary = str(Path(folder) / "ray")
    Path(temporary).mkdir()
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes = {}
    for name, offers in NODES.items():
        more = {} if cluster.head_node else {"include_dashboard": False, "temp_dir": temporary}
        nodes[name] = cluster.add_node(
            wait=False,
            node_name=name,
            node_ip_address="127.0.0.1",
            object_store_memory=80_000_000,
            **offers,
            **more,
        )
    cluster.wait_for_nodes(timeout=60)
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        cluster.remove_node(nodes[line.removeprefix("remove ").strip()], allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    main(sys.argv[1])
