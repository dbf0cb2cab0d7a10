"""Independent jobs on several processes at once: each says how far it is, and ends when nobody waits for it any more.

A pool of the standard library's would go on after Ctrl-C until its jobs are done, and for ever after its parent was killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

Tell = Callable[[str, int, int], None]  # (what, done, total)
Job = Callable[[Tell], Any]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(jobs: Sequence[Job], tell: Tell, processes: int) -> list[Any]:
    """What each job returns, in order. With more than one process jobs and results are pickled; each process takes
    every so-manieth job. The first error of a job ends all and is raised here."""
    if processes < 2:
        return [job(tell) for job in jobs]
    # Not fork, which copies other threads' locks in whatever state they are.
    context = get_context("spawn")
    results: dict[int, Any] = {}
    pipes: list[Connection] = []
    workers: list[Any] = []
    try:
        with _deaf():
            for _ in range(processes):
                here, there = context.Pipe()
                pipes.append(here)
                worker = context.Process(target=_work, args=(there,), daemon=True)
                worker.start()
                workers.append(worker)
                there.close()
        for k, pipe in enumerate(pipes):
            _to(pipe, [(n, jobs[n]) for n in range(k, len(jobs), processes)])
        while len(results) < len(jobs):
            # on Windows a pipe whose process died before it took its jobs does not end: so the processes too
            alive = [worker.sentinel for worker in workers if worker.exitcode is None]
            died = any(worker.exitcode for worker in workers)
            ready = wait([*pipes, *alive], 0 if died else None)
            if died and not ready:
                raise ChildProcessError(_ENDED)
            for pipe in [pipe for pipe in pipes if pipe in ready]:
                kind, *what = _from(pipe)
                if kind == "told":
                    tell(*what)
                elif kind == "failed":
                    raise what[0]
                elif kind == "made":
                    results[what[0]] = what[1]
                else:  # done with its share: from now on its pipe is at its end
                    pipes.remove(pipe)
                    pipe.close()
    finally:
        for pipe in pipes:
            pipe.close()  # what still draws finds out when it next tells, and clears up
        for worker in workers:
            worker.join()
    return [results[n] for n in range(len(jobs))]


_ENDED = (
    "a process that drew was ended from outside; is there enough memory? (a script of your own needs the usual "
    'if __name__ == "__main__":)'
)


def _to(pipe: Connection, what: Any) -> None:
    try:
        pipe.send(what)
    except ConnectionError as error:
        raise ChildProcessError(_ENDED) from error


def _from(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError(_ENDED) from error


class _Left(BaseException):
    """Nobody reads any more. No Exception: a job is not to take it for a failure of its own."""


def _work(pipe: Connection) -> None:
    """One process: jobs come through ``pipe``, and what they tell, return or raise goes back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the processes share the cores already

    def send(*what: Any) -> None:
        try:
            pipe.send(what)
        except ConnectionError as error:
            raise _Left from error

    with suppress(_Left):
        try:
            for n, job in pipe.recv():
                send("made", n, job(lambda *told: send("told", *told)))
            send("done")
        except Exception as error:
            send("failed", _carried(error))


def _carried(error: Exception) -> Exception:
    """The error with its trace as a note, or, where it cannot be pickled and back, another one that says the same."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))  # our own bytes
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(trace)
    return error


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started in here do not hear Ctrl-C: their parent does, and ends them. On POSIX from before their first
    line on; elsewhere the setting is not inherited, and one that is still starting may show a trace."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
