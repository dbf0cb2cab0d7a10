"""Independent jobs on several processes at once: each says how far it is, and ends when nobody waits for it any more.

A pool of the standard library's would go on after Ctrl-C until its jobs are done, and for ever after its parent was killed.
"""

from __future__ import annotations

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


def run_jobs(jobs: Sequence[Job], tell: Tell, processes: int) -> list[Any]:
    """What each job returns, in order. With more than one process jobs and results are pickled; each process takes
    every so-manieth job. The first error of a job ends all and is raised here."""
    if processes < 2:
        return [job(tell) for job in jobs]
    # Not fork, which copies other threads' locks in whatever state they are.
    context = get_context("spawn")
    results: dict[int, Any] = {}
    pipes: list[Connection] = []
    workers = []
    try:
        with _deaf():
            for _ in range(processes):
                here, there = context.Pipe()
                pipes.append(here)
                workers.append(context.Process(target=_work, args=(there,), daemon=True))
                workers[-1].start()
                there.close()
        for k, pipe in enumerate(pipes):
            pipe.send([(n, jobs[n]) for n in range(k, len(jobs), processes)])
        while len(results) < len(jobs):
            for pipe in wait(pipes):
                kind, *what = pipe.recv()
                if kind == "told":
                    tell(*what)
                elif kind == "failed":
                    raise what[0]
                elif kind == "made":
                    results[what[0]] = what[1]
                else:  # done with its share: from now on its pipe is at its end
                    pipes.remove(pipe)
                    pipe.close()
    except (EOFError, ConnectionError) as error:
        raise ChildProcessError("a process that drew was ended from outside; is there enough memory?") from error
    finally:
        for pipe in pipes:
            pipe.close()  # what still draws finds out when it next tells, and clears up
        for worker in workers:
            worker.join()
    return [results[n] for n in range(len(jobs))]


def _work(pipe: Connection) -> None:
    """One process: jobs come through ``pipe``, and what they tell, return or raise goes back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the processes share the cores already
    with suppress(EOFError, ConnectionError):
        try:
            for n, job in pipe.recv():
                pipe.send(("made", n, job(lambda *told: pipe.send(("told", *told)))))
            pipe.send(("done",))
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            error.add_note(traceback.format_exc())
            pipe.send(("failed", error))


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started in here do not hear Ctrl-C, not even before their first line: their parent does, and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
