"""Whether a task can be divided among so many workers: widths, nodes, batches, stages."""

from __future__ import annotations

from runner.errors import TaskError
from runner.kinds.parallelism import resolve_widths
from runner.kinds.training import TrainingParams, batch_sizes
from runner.model import Resources, Widths

# What a spec that names a built-in model can know of how it is made.
_HAVE_TENSOR_PLAN = ("vit", "gpt")
_STAGES_PER_WORKER = {"interleaved-1f1b": 2, "zero-bubble": 2}


def divide(params: TrainingParams, num_workers: int) -> Widths:
    """The mesh of ``num_workers`` ranks, on which the batches come out even.

    Its strategy is that of a model of which a copy fits into a device. Raises ValueError where the
    training can't be divided so; the message ends with what would do.
    """
    widths = resolve_widths(params.parallelism, num_workers, copy_fits=True)
    _, micro, windows = batch_sizes(params, widths.dp)
    if widths.pp > 1:
        _check_microbatches(params, widths, micro, windows)
    return widths


def batches_within(params: TrainingParams, dp: int, max_rows: int | None) -> tuple[int, int, int]:
    """As ``batch_sizes``, with at most ``max_rows`` samples in a forward pass.

    The global batch stays as it is: smaller portions are accumulated. In a pipeline a forward pass
    sees a micro-batch. Raises TaskError where the pipeline's schedule takes none so small.
    """
    whole, micro, windows = batch_sizes(params, dp)
    pieces = params.parallelism.microbatches if params.parallelism.pp > 1 else 1
    rows = micro // pieces
    if max_rows is None or rows <= max_rows:
        return whole, micro, windows
    widths = Widths(pp=params.parallelism.pp, dp_replicate=dp)
    for fewer in (n for n in range(max_rows, 0, -1) if rows * windows % n == 0):
        smaller = whole, fewer * pieces, whole // (dp * fewer * pieces)
        try:
            if widths.pp > 1:
                _check_microbatches(params, widths, *smaller[1:])
        except ValueError as error:
            if fewer == 1:
                raise TaskError(
                    f"{rows} samples at once were too many for the devices' memory, and fewer "
                    f"don't go with the pipeline: {error}",
                    hint="take another pp_schedule, or activation_checkpointing: true",
                ) from error
        else:
            break
    return smaller


def check(params: TrainingParams | None, num_workers: int, num_nodes: int | None) -> None:
    """Raises ValueError where so many workers can't share a task, or lie on so many nodes.

    ``params`` is None for a task that does not train: its workers do the same side by side.
    """
    if num_nodes is not None:
        tp = 1 if params is None else params.parallelism.tp
        _check_nodes(num_workers, num_nodes, tp)
    if params is not None:
        divide(params, num_workers)


def is_divisible(params: TrainingParams | None, num_workers: int, num_nodes: int | None) -> bool:
    """Whether ``check`` finds nothing wrong."""
    try:
        check(params, num_workers, num_nodes)
    except ValueError:
        return False
    return True


def usable_counts(params: TrainingParams | None, resources: Resources) -> list[int]:
    """The numbers of workers with which the task can run, the largest first."""
    least = resources.min_workers or resources.num_workers
    return [
        count
        for count in range(resources.num_workers, least - 1, -1)
        if is_divisible(params, count, resources.num_nodes)
    ]


def faults(params: TrainingParams | None, resources: Resources) -> list[str]:
    """What keeps the task from being divided among the workers it asks for, each with why."""
    found = [] if params is None else _faults_of_model(params)
    most, least = resources.num_workers, resources.min_workers
    if least is None:
        try:
            check(params, most, resources.num_nodes)
        except ValueError as error:
            found.append(str(error))
        return found
    if params is not None:
        if params.global_batch_size is None:
            found.append(
                f"num_workers from {least} to {most} keeps one global batch, however many there "
                "are; expected global_batch_size"
            )
        for count in dict.fromkeys((least, most)):
            try:
                resolve_widths(params.parallelism, count, copy_fits=True)
            except ValueError as error:
                return [*found, f"num_workers from {least} to {most}: {error}"]
    if not usable_counts(params, resources):
        try:
            check(params, most, resources.num_nodes)
        except ValueError as error:
            found.append(f"no num_workers from {least} to {most} will do; with {most}, {error}")
    return found


def count_stages(params: TrainingParams) -> int:
    """How many stages the model is cut into: one for each of pp, or two under some schedules."""
    chosen = params.parallelism
    return chosen.pp * _STAGES_PER_WORKER.get(chosen.pp_schedule, 1)


def _check_nodes(num_workers: int, num_nodes: int, tp: int) -> None:
    if num_workers % num_nodes:
        below, above = _multiples_beside(num_workers, num_nodes)
        raise ValueError(
            f"num_workers {num_workers} is not divisible by num_nodes {num_nodes}; "
            f"the nearest that is: {f'{below} or ' if below else ''}{above}"
        )
    if num_workers // num_nodes % tp:
        raise ValueError(
            f"num_nodes {num_nodes} leaves {num_workers // num_nodes} workers on a node, where "
            f"those that divide a layer, tp {tp}, lie together; expected fewer nodes, or "
            f"num_workers {num_nodes * tp} or a multiple of it"
        )


def _check_microbatches(params: TrainingParams, widths: Widths, micro: int, windows: int) -> None:
    pieces, schedule = params.parallelism.microbatches, params.parallelism.pp_schedule
    if micro % pieces:
        raise ValueError(
            f"microbatches {pieces} does not divide per_device_batch_size {micro}; "
            f"the nearest that does: {_divisors_beside(pieces, micro)}"
        )
    in_window, stages = pieces * windows, count_stages(params)
    if in_window < stages and schedule != "gpipe":
        raise ValueError(
            f"pp {widths.pp} under {schedule} keeps {stages} stages busy, each with a micro-batch "
            f"of its own, and a step has microbatches {pieces} x {windows} accumulated; "
            f"expected microbatches of at least {-(-stages // windows)}"
        )
    if stages > widths.pp and in_window % max(1, in_window // widths.pp):
        below, above = _multiples_beside(in_window, widths.pp)
        raise ValueError(
            f"microbatches {pieces} x {windows} accumulated = {in_window} can't be sent in equal "
            f"rounds through pp {widths.pp} under {schedule}; the nearest that can: "
            f"{below} or {above}"
        )


def _faults_of_model(params: TrainingParams) -> list[str]:
    """What a built-in model, or the cuts that are named, say against the widths."""
    chosen, name, args = params.parallelism, params.model.name, params.model.args
    found = []
    if chosen.tp > 1 and chosen.tp_plan is None and name is not None:
        heads = args.get("heads", 4)
        if name not in _HAVE_TENSOR_PLAN:
            found.append(
                f"tp {chosen.tp}: nothing says how to divide the layers of {name}; expected "
                f"tp_plan, or the model {' or '.join(_HAVE_TENSOR_PLAN)}"
            )
        elif heads % chosen.tp:
            found.append(
                f"tp {chosen.tp} does not divide the {heads} heads of {name}; "
                f"the nearest that does: {_divisors_beside(chosen.tp, heads)}"
            )
    if chosen.pp > 1:
        if name == "gpt" and args.get("tied", True):
            found.append(
                f"pp {chosen.pp}: the first and the last stage of gpt would share the matrix that "
                "is tied; expected tied: false among its args"
            )
        stages = count_stages(params)
        if chosen.pp_split and len(chosen.pp_split) != stages - 1:
            found.append(
                f"pp_split names {len(chosen.pp_split)} cuts, and pp {chosen.pp} with "
                f"{chosen.pp_schedule} makes {stages} stages; expected {stages - 1}"
            )
    return found


def _multiples_beside(number: int, of: int) -> tuple[int, int]:
    """The multiples of ``of`` below and above a number that is none."""
    below = number - number % of
    return below, below + of


def _divisors_beside(number: int, of: int) -> str:
    """The divisors of ``of`` next to a number that is none, in words."""
    below = max(n for n in range(1, min(number, of) + 1) if of % n == 0)
    above = next((n for n in range(number, of + 1) if of % n == 0), None)
    return f"{below}" if above is None else f"{below} or {above}"
