"""cluster.yaml → the node types it can start, so that a plan can be made before the cluster is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import Fault, SpecError
from runner.model import Accelerator, Inventory, Node
from runner.spec.document import Document, Path, parse

_FAMILY = {"GPU": "gpu", "TPU": "tpu", "NPU": "npu"}
_TYPE_LABEL = "ray.io/accelerator-type"


def read(source: bytes, *, file: str) -> Inventory:
    """The node types of a Ray cluster-launcher file, each with how many of it may run at once.

    Raises SpecError for what a plan needs and the file lacks or says wrongly. What the launcher
    itself needs beyond that (provider, node_config) is left to it.
    """
    document, faults = parse(source, file=file, environment={})
    data = document.data
    types = data.get("available_node_types") if isinstance(data, dict) else None
    if not isinstance(types, dict) or not types:
        path: Path = ("available_node_types",) if isinstance(data, dict) else ()
        fault = document.place(path).fault(
            "no node types; expected 'available_node_types' with a map of them"
        )
        raise SpecError([*faults, fault])
    limit = data.get("max_workers", 2)
    head = data.get("head_node_type")
    if head not in types:
        faults.append(document.place(("head_node_type",)).fault(
            f"head_node_type is {head!r}; expected one of {', '.join(map(str, types))}"))  # fmt: skip
    nodes = [
        _node(document, name, entry, 1 if name == head else limit, faults)
        for name, entry in types.items()
    ]
    if faults:
        raise SpecError(faults)
    return Inventory(
        source=f"{file} (node types that can be started)",
        nodes=tuple(node for node in nodes if node is not None and node.count_max),
    )


def _node(
    document: Document, name: str, entry: Any, limit: int, faults: list[Fault]
) -> Node | None:
    path: Path = ("available_node_types", name)
    resources = entry.get("resources") if isinstance(entry, dict) else None
    if not isinstance(resources, dict):
        faults.append(document.place(path).fault(
            f"the node type '{name}' has no 'resources'; expected such as {{CPU: 8, GPU: 1}}"))  # fmt: skip
        return None
    amounts: Mapping[str, Any] = resources
    for resource, amount in amounts.items():
        if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
            faults.append(document.place((*path, "resources", resource)).fault(
                f"{resource} is {amount!r}; expected a whole number"))  # fmt: skip
            return None
    labels = entry.get("labels")
    kind = labels.get(_TYPE_LABEL) if isinstance(labels, dict) else None
    maximum = entry.get("max_workers", limit)
    return Node(
        name=name,
        id=None,
        cpus=amounts.get("CPU", 0),
        memory_bytes=amounts.get("memory", _UNSTATED_MEMORY),
        accelerators=tuple(
            Accelerator(family=_FAMILY[resource], type=kind, count=amount)
            for resource, amount in amounts.items()
            if resource in _FAMILY and amount > 0
        ),
        resources={key: value for key, value in amounts.items() if key not in _FAMILY},
        count_max=1 if limit == 1 else min(limit, maximum),
    )


# A node type that does not state its memory is taken to have enough; the cloud knows, we don't.
_UNSTATED_MEMORY = 1 << 62
