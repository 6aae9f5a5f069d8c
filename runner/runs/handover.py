"""Hand a job to the resident driver of the warm cluster, and follow its run from its folder."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from threading import Event

from runner.errors import ClusterError, RecordsError
from runner.model import Record, TaskStatus
from runner.runs.folder import RECORDS, RunFolder
from runner.runs.request import Request, folder_of, read_answer, request_to_json
from runner.worker.wire import record_from_json


def hand_over(
    path: str,
    request: Request,
    begin: Callable[[RunFolder], Callable[[Record], None]],
    cancelled: Event,
) -> tuple[RunFolder, TaskStatus]:
    """Have the driver that listens at ``path`` carry the request out; the run and how it ended.

    ``begin`` is called with the run's folder and returns what gets its records as they come.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise ClusterError(
                f"the driver of the local cluster does not answer: {error.strerror}",
                hint="'runner up' starts it anew",
            ) from None
        connection.sendall(request_to_json(request))
        answers = connection.makefile("rb")
        answer = read_answer(answers.readline())
        folder = folder_of(answer)
        following = _Following(folder, begin(folder), int(answer["recorded"]))
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            asked = False
            while not selector.select(folder.look_s):
                following.look()
                if cancelled.is_set() and not asked and folder.is_there():
                    asked = True
                    folder.request_cancel()
        following.look()
        line = answers.readline()
        if not line:
            raise ClusterError(
                f"the driver of the local cluster ended during {folder.run}",
                hint="the run is lost; 'runner up' starts the driver anew",
            )
        status: TaskStatus = read_answer(line)["status"]  # type: ignore[assignment]
        return folder, status


class _Following:
    """Passes a run's records on as its driver writes them, from ``offset`` on."""

    def __init__(self, folder: RunFolder, observe: Callable[[Record], None], offset: int) -> None:
        self.folder = folder
        self.observe = observe
        self.offset = offset

    def look(self) -> None:
        """Pass on the whole lines that have come since the last look.

        Raises RecordsError for one that is no record, and has the run cancelled.
        """
        data = self.folder.read(RECORDS, self.offset)
        if data is None:
            return  # the driver sees that, too, and tells
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            try:
                record = record_from_json(line)
            except (ValueError, TypeError) as error:
                self.folder.request_cancel()
                raise RecordsError(
                    f"{self.folder.path / RECORDS} holds a line that is no record: {error}",
                    hint="something else than runner changed the file; the run, which nobody "
                    "could follow, is cancelled",
                ) from None
            self.observe(record)
