"""cluster.yaml → the node types it can start, so that a plan can be made before the cluster is."""

from __future__ import annotations

from typing import Any

from runner.accelerators import accelerators_of, family_of
from runner.errors import Fault, SpecError
from runner.model import Inventory, Node, TpuSlice
from runner.plan.offers import UNSTATED_MEMORY
from runner.spec.document import Document, Path, shown
from runner.spec.parse import parse
from runner.spec.suggest import did_you_mean

_TYPE_LABEL = "ray.io/accelerator-type"
_TOPOLOGY_LABEL = "ray.io/tpu-topology"

# What Ray's launcher starts at most, workers of all types together, where the file does not say.
_DEFAULT_MAX_WORKERS = 2


def read(source: bytes, *, file: str) -> Inventory:
    """The node types of a Ray cluster-launcher file, each with how many of it may run at once.

    Raises SpecError for what a plan needs and the file lacks or says wrongly. What the launcher
    itself needs beyond that (provider, node_config) is left to it.
    """
    document, faults = parse(source, file=file, environment=None)
    data = document.data
    types = data.get("available_node_types") if isinstance(data, dict) else None
    if not isinstance(types, dict) or not types:
        path: Path = ("available_node_types",) if isinstance(data, dict) else ()
        fault = document.place(path).fault(
            "no node types; expected 'available_node_types' with a map of them"
        )
        raise SpecError([*faults, fault])
    head = data.get("head_node_type")
    if not isinstance(head, str) or head not in types:
        hint = did_you_mean(head, types) if isinstance(head, str) else ""
        said = "missing" if head is None else shown(head)
        faults.append(
            document.place(("head_node_type",)).fault(
                f"head_node_type is {said}"
                + (hint or f"; expected one of {shown(', '.join(types))}")
            )
        )
    limit = _count(document, ("max_workers",), data, _DEFAULT_MAX_WORKERS, faults)
    nodes = []
    for name, entry in types.items():
        node = _node(document, name, entry, limit, is_head=name == head, faults=faults)
        nodes += [node] if node is not None and node.count_max else []
    if faults:
        raise SpecError(faults)
    return Inventory(source=f"{file} (node types that can be started)", nodes=tuple(nodes))


def _node(
    document: Document, name: str, entry: Any, limit: int, *, is_head: bool, faults: list[Fault]
) -> Node | None:
    path: Path = ("available_node_types", name)
    resources = entry.get("resources") if isinstance(entry, dict) else None
    if not isinstance(resources, dict):
        faults.append(
            document.place((*path, "resources"), key=True).fault(
                f"the node type '{shown(name)}' has no map of 'resources'; expected such as "
                "{CPU: 8, GPU: 1}"
            )
        )
        return None
    amounts = {
        resource: _count(document, (*path, "resources", resource), resources, 0, faults)
        for resource in resources
    }
    labels = entry.get("labels")
    kind = labels.get(_TYPE_LABEL) if isinstance(labels, dict) else None
    if kind is not None and not isinstance(kind, str):
        faults.append(
            document.place((*path, "labels", _TYPE_LABEL)).fault(
                f"{_TYPE_LABEL} is not text; expected such as L4"
            )
        )
        return None
    # Of the head's type none but the head itself is started, where the file does not say.
    default = 0 if is_head else limit
    workers = _count(document, (*path, "max_workers"), entry, default, faults)
    return Node(
        name=name,
        id=None,
        cpus=amounts.get("CPU", 0),
        memory_bytes=amounts.get("memory", UNSTATED_MEMORY),
        accelerators=accelerators_of(amounts, kind),
        resources={key: value for key, value in amounts.items() if family_of(key) is None},
        # max_workers does not count the head itself.
        count_max=min(limit, workers) + (1 if is_head else 0),
        tpu_slice=_tpu_slice(entry, labels if isinstance(labels, dict) else {}),
    )


def _tpu_slice(entry: dict[str, Any], labels: dict[str, Any]) -> TpuSlice | None:
    """The TPU slice that a node of this type is, or is a host of, as its labels or Google's own
    words for it say; None where neither does.
    """
    config = entry.get("node_config")
    config = config if isinstance(config, dict) else {}
    chosen = config.get("acceleratorConfig")
    chosen = chosen if isinstance(chosen, dict) else {}
    topology = labels.get(_TOPOLOGY_LABEL) or chosen.get("topology")
    pod_type = config.get("acceleratorType")
    if not isinstance(topology, str):
        topology = None
    if not isinstance(pod_type, str):
        pod_type = None
    return TpuSlice(topology=topology, pod_type=pod_type) if topology or pod_type else None


def _count(
    document: Document, path: Path, holder: dict[str, Any], default: int, faults: list[Fault]
) -> int:
    """The whole number at ``path``, the last name of which is a key of ``holder``."""
    amount = holder.get(str(path[-1]), default)
    if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
        return amount
    faults.append(
        document.place(path).fault(
            f"{shown(path[-1])} is {shown(amount)}; expected a whole number, 0 or more"
        )
    )
    return default
