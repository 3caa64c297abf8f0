"""The inner side of a worker process, see `ferlib.runtime.crew`: it takes tasks from a pipe and answers them.

It loads what its work needs and nothing else, least of all the script that started it.
"""

import os
import pickle
import queue
import signal
import sys
import threading
from typing import IO, Any

from ferlib.errors import UserError

REACHED, DONE, FAILED = "reached", "done", "failed"  # kinds of messages


def serve() -> None:
    """Do the work that standard input brings, with task after task, until that ends: then the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no answer
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()

    def send(kind: str, content: Any) -> None:
        pickle.dump((kind, content), answers)
        answers.flush()

    work = None
    while True:
        try:
            task = _loaded(tasks.get())
            if work is None:  # the first message is the work itself
                work = task
            else:
                send(DONE, work(task, lambda place: send(REACHED, place)))
        except BrokenPipeError:
            os._exit(1)
        except Exception as error:
            send(FAILED, error if _can_be_sent(error) else RuntimeError(repr(error)))
            if work is None:
                os._exit(1)


def _receive(pipe: IO[bytes], tasks: "queue.SimpleQueue[bytes]") -> None:
    """Collect messages; ends the process with the pipe, or where one is too large, whatever is being done."""
    try:
        while True:
            tasks.put(pickle.load(pipe))
    finally:
        os._exit(1)


def _loaded(message: bytes) -> Any:
    try:
        return pickle.loads(message)
    except (AttributeError, ModuleNotFoundError) as error:
        raise UserError(
            f"a worker process cannot find what it was sent ({error}); classes of a script or notebook have to stand "
            "in a module of their own"
        ) from error


def _can_be_sent(error: Exception) -> bool:
    try:
        return isinstance(pickle.loads(pickle.dumps(error)), type(error))
    except Exception:  # whatever an exception's own constructor asks for
        return False
