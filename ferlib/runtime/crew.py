"""Processes that do tasks side by side and survive each other: a killed one costs its task, which can be asked again.

They are started afresh, not forked, with one thread each for computing, and end when the process that started them
does, however that ends.
"""

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from ferlib.errors import RunError, UserError
from ferlib.runtime.worker import DONE, FAILED

_AHEAD = 2  # tasks a worker that are given out, or done, before their turn

Task = TypeVar("Task")
Answer = TypeVar("Answer")


class Work(Protocol):
    """Does a task, and may call `report` with anything to say how far it is. It is pickled to get into a worker."""

    def __call__(self, task: Any, report: Callable[[Any], None], /) -> Any: ...


class WorkerDied(RunError):
    """A worker process ended in the middle of a task.

    Attributes:
        reached: what it reported last; None: nothing.
    """

    def __init__(self, reached: Any, code: int):
        super().__init__(f"a worker process ended ({f'signal {-code}' if code < 0 else f'exit code {code}'})")
        self.reached = reached


class Worker:
    """A process for one task at a time, started when it is first asked, and again when it has died.

    Args:
        work: pickled.
    """

    def __init__(self, work: bytes):
        self._work, self._closed, self._changing = work, False, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, task: Any, report: Callable[[Any], None] | None = None) -> Any:
        """The answer to a task.

        Args:
            task: anything that can be pickled.
            report: called with what the work reports.

        Raises:
            WorkerDied: the process ended; the next call starts another.
            Exception: of the work.
        """
        message = pickle.dumps(task)
        process = self._process or self._start()
        reached = None
        while True:
            try:
                if message:
                    _send(process, message)
                    message = b""
                kind, content = pickle.load(process.stdout)  # type: ignore[arg-type]  # PIPE makes one
            except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:  # ValueError: a closed pipe
                self._process = None
                _end(process)
                raise WorkerDied(reached, process.returncode) from error
            if kind == DONE:
                return content
            if kind == FAILED:
                raise content
            reached = content
            if report:
                report(content)

    def _start(self) -> "subprocess.Popen[bytes]":
        # as this process finds modules, so does that one
        code = f"import sys; sys.path[:] = {sys.path!r}; from ferlib.runtime.worker import serve; serve()"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        with self._changing:
            if self._closed:
                raise RunError("the worker is closed")
            process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment)
            self._process = process
        with suppress(OSError):  # where it has ended at once, the task finds out
            _send(process, self._work)
        return process

    @property
    def pid(self) -> int | None:
        """Number of the process; None while there is none."""
        process = self._process
        return process.pid if process else None

    def close(self) -> None:
        """End the process, whatever it is doing, for good."""
        with self._changing:
            self._closed = True
            if self._process:
                _end(self._process)


def _send(process: "subprocess.Popen[bytes]", message: bytes) -> None:
    assert process.stdin
    pickle.dump(message, process.stdin)
    process.stdin.flush()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            pipe.close()  # type: ignore[union-attr]  # PIPE makes one


class Crew:
    """Workers for one kind of work.

        with Crew(work, 2) as crew:
            for answer in crew.map(tasks):
                ...

    Args:
        work: can be pickled.
        workers: processes.
    """

    def __init__(self, work: Work, workers: int):
        if workers < 1:
            raise UserError(f"there must be at least one worker, not {workers}")
        try:
            pickled = pickle.dumps(work)
        except Exception as error:
            raise UserError(f"this cannot be sent to worker processes ({error})") from error
        self.workers = tuple(Worker(pickled) for _ in range(workers))

    def map(self, tasks: Iterable[Task], ask: Callable[[Worker, Task], Answer] = Worker.ask) -> Iterator[Answer]:
        """The answers to tasks, in their order; tasks are taken as they are needed.

        Args:
            tasks: any number.
            ask: puts a task to a worker, in a thread of this process; may ask again where a worker died.
        """
        idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            idle.put(worker)

        def do(task: Task) -> Answer:
            worker = idle.get()
            try:
                return ask(worker, task)
            finally:
                idle.put(worker)

        pending: deque[Future[Answer]] = deque()
        threads = ThreadPoolExecutor(len(self.workers), "ferlib-crew")
        try:
            for task in tasks:
                pending.append(threads.submit(do, task))
                if len(pending) >= _AHEAD * len(self.workers):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:  # also of a caller who has seen enough: nothing goes on behind his back
            threads.shutdown(wait=False, cancel_futures=True)
            self.close()
            raise
        finally:
            threads.shutdown()

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()
