"""Logs for TensorBoard: losses, measures, learning rate, speed and previews, as a training goes on.

Written record by record in the training's own thread and synced each time: a writer with a queue and a thread of its own would wait
for ever once a full disk had ended that thread. A folder that cannot be written to ends the log, and no training.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from livepaste.errors import TrainingError

logger = logging.getLogger(__name__)
APART = 1.05  # a picture comes no sooner than at so many times the step of the last: their number grows with the logarithm of the steps


class EventLog:
    """One run's file in a folder of event files. Nothing is written before the first note."""

    def __init__(self, folder: Path) -> None:
        """Raises TrainingError where the library is missing."""
        try:
            import tensorboardX
            from tensorboardX.proto import event_pb2, summary_pb2
        except ImportError as error:
            raise TrainingError(
                f"--tensorboard needs tensorboardX, which cannot be imported ({error}); pip install tensorboardX"
            ) from error
        self._library, self._events, self._summaries = tensorboardX, event_pb2, summary_pb2
        self._folder = folder
        self._writer: Any = None
        self._pictured = 0  # the step of the last picture
        self._over = False  # nothing is written any more

    def note(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers of a step, by names like ``loss/mae``: what stands before the stroke is how they are grouped."""
        values = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(self._events.Event(step=step, summary=self._summaries.Summary(value=values)))

    def picture(self, step: int, jpeg: bytes, size_wh: tuple[int, int]) -> None:
        """A preview, unless there was one just before."""
        if self._pictured and step < APART * self._pictured:
            return
        self._pictured = step
        image = self._summaries.Summary.Image(
            width=size_wh[0], height=size_wh[1], colorspace=3, encoded_image_string=jpeg
        )
        value = self._summaries.Summary.Value(tag="preview", image=image)
        self._write(self._events.Event(step=step, summary=self._summaries.Summary(value=[value])))

    def cut(self, step: int) -> None:
        """What was logged of later steps is not shown any more: a run begins after ``step``, or has rolled back to it."""
        self._pictured = min(self._pictured, max(0, step))
        if self._writer is None and not any(self._folder.glob("*.tfevents.*")):
            return
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(self._events.Event(step=step + 1, session_log=start))

    def close(self) -> None:
        """Close the file, if there is one."""
        self._over = True
        if self._writer is not None:
            with suppress(OSError):  # it was said when it was written
                self._writer.close()

    def _write(self, *events: Any) -> None:
        if self._over:
            return
        try:
            if self._writer is None:
                self._writer = self._library.RecordWriter(str(self._new_file()))
                events = (self._events.Event(file_version="brain.Event:2"), *events)
            for event in events:
                event.wall_time = time.time()
                self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            # half a record may stand there, after which nothing in that file can be read
            logger.warning("%s cannot be written (%s); training goes on without", self._folder, error.strerror or error)
            self.close()

    def _new_file(self) -> Path:
        """Read in the order of their names: time first, and of one second the later one last. Not the machine's name, which is usual."""
        self._folder.mkdir(parents=True, exist_ok=True)
        count = sum(1 for _ in self._folder.glob("*.tfevents.*"))
        return self._folder / f"events.out.tfevents.{int(time.time()):010d}.{count:06d}"
