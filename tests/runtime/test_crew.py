"""Worker processes: in order, in parallel, killed, refused, and gone with their parent."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import worker_tasks

from ferlib.errors import UserError
from ferlib.runtime.crew import Crew, Worker, WorkerDied


def wait_for(condition, seconds: float = 30) -> None:
    """Return as soon as it is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.02)


def test_answers_come_in_order_from_several_processes():
    reported = []

    def ask(worker: Worker, task: int) -> tuple[int, int]:
        return worker.ask(task, reported.append)

    with Crew(worker_tasks.square, 2) as crew:
        answers = list(crew.map(range(40), ask))
        processes = {worker.pid for worker in crew.workers}
    assert [square for square, _ in answers] == [n * n for n in range(40)]
    assert {pid for _, pid in answers} <= processes and os.getpid() not in processes
    assert sorted(reported) == list(range(40))
    assert not any(psutil.pid_exists(pid) for pid in processes)


def test_tasks_are_taken_as_they_are_needed():
    taken = []
    tasks = (taken.append(n) or n for n in range(1000))
    with Crew(worker_tasks.square, 1) as crew:
        answers = crew.map(tasks)
        assert next(answers)[0] == 0 and len(taken) < 5
        answers.close()


def test_an_error_of_the_work_is_raised_here():
    with Crew(worker_tasks.square, 1) as crew, pytest.raises(FileNotFoundError, match="-1 is negative"):
        list(crew.map([3, -1, 4]))
    with Crew(worker_tasks.square, 1) as crew:
        (worker,) = crew.workers
        with pytest.raises(FileNotFoundError):
            worker.ask(-2)
        assert worker.ask(3)[0] == 9  # the process is alive


def test_a_killed_worker_says_how_far_it_was_and_comes_again(tmp_path):
    with Crew(worker_tasks.fall, 1) as crew:
        (worker,) = crew.workers
        task = str(tmp_path / "fallen")
        with pytest.raises(WorkerDied, match="signal 9") as death:
            worker.ask(task)
        assert death.value.reached == f"before {task}"
        assert worker.ask(task) == "survived"


def test_a_worker_imports_no_more_than_its_work():
    code = (
        "import ferlib.runtime.crew as c\nimport worker_tasks\n"
        "print(*c.Crew(worker_tasks.modules, 1).workers[0].ask(None))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert "worker_tasks" in modules and not {"torch", "pandas", "gradio", "PIL.ImageQt"} & modules


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(UserError, match="cannot be sent"):
        Crew(lambda task, report: task, 1)
    with pytest.raises(UserError, match="at least one worker"):
        Crew(worker_tasks.square, 0)


def test_a_class_of_a_script_is_refused_in_a_sentence():
    code = "import ferlib.runtime.crew as c\ndef work(task, report): return task\nc.Crew(work, 1).workers[0].ask(1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "in a module of their own" in done.stderr.splitlines()[-1]


def test_workers_end_with_their_parent(tmp_path):
    """Even in the middle of a task, and though the parent is killed."""
    code = (
        "import ferlib.runtime.crew as c, worker_tasks\n"
        "def say(pid): print(f'{pid}\\n', end='', flush=True)\n"  # whole: both threads may at once
        "with c.Crew(worker_tasks.sleep, 2) as crew:\n"
        "    list(crew.map([600, 600], lambda worker, task: worker.ask(task, lambda _: say(worker.pid))))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(psutil.pid_exists(pid) for pid in workers)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    parent.stdout.close()


def test_a_reader_who_has_seen_enough_ends_the_workers():
    with Crew(worker_tasks.sleep, 2) as crew:
        answers = crew.map([0, 600, 600, 600])
        next(answers)
        processes = [worker.pid for worker in crew.workers if worker.pid]
        began = time.monotonic()
        answers.close()
        assert time.monotonic() - began < 10
        assert processes and not any(psutil.pid_exists(pid) for pid in processes)
