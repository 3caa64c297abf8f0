"""What a photo and the page cost, beside another checkout: seconds, memory, size of the environment.

    python benchmarks/runtime.py --before ../ferlib-0.1.0 --after ../ferlib-demo --out results/runtime.json

Both checkouts need their environment in .venv (`make demo` in the new one, `make test` in the old); the script itself
runs in a third, with the lab, whose environment would be the wrong one to weigh. A photo: the
command `ferlib predict` on a public portrait, as a process of its own, without and with Grad-CAM. The page: seconds
from its start until it answers, and until its models are loaded, and its resident memory then. Both in turns, medians
of --runs.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from machine import machine, typed_command
from photo_files import portraits

from ferlib.utils.commit import commit

STARTER = """
import os, sys, time
began = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
assert status == 0
print(time.perf_counter() - began, usage.ru_maxrss)
"""
PHOTO = {"a photo": [], "a photo with Grad-CAM": ["--explain", "gradcam", "--out", "OUT"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--before", type=Path, required=True, metavar="DIR", help="the other checkout")
    parser.add_argument("--after", type=Path, required=True, metavar="DIR", help="the new checkout")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    trees = {"before": options.before.resolve(), "after": options.after.resolve()}
    found: dict[str, dict] = {name: {} for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        photo = portraits(Path(folder))[0]
        for what, more in PHOTO.items():
            words = ["predict", str(photo), *(folder if word == "OUT" else word for word in more)]
            runs = in_turns(trees, partial(photo_once, words=words), options.runs)
            for name, values in runs.items():
                found[name][what] = summary(values)
    for name, values in in_turns(trees, page_once, options.runs).items():
        found[name]["the page"] = summary(values)
    for name, tree in trees.items():
        size = sum(file.lstat().st_size for file in (tree / ".venv").resolve().rglob("*") if not file.is_symlink())
        found[name]["environment_MB"] = round(size / 1e6)
    report = {"command": typed_command(), "commit": commit(), "machine": machine(), "runs": options.runs, **found}
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def in_turns(trees: dict[str, Path], measure: Callable[[Path], dict], runs: int) -> dict[str, list[dict]]:
    """`measure` of every tree, one after the other, `runs` times after one that does not count."""
    values: dict[str, list[dict]] = {name: [] for name in trees}
    for turn in range(runs + 1):
        for name, tree in trees.items():
            value = measure(tree)
            if turn:
                values[name].append(value)
    return values


def summary(values: list[dict]) -> dict:
    """Medians, and all values, of every measure."""
    return {
        key: {"median": statistics.median(v[key] for v in values), "all": [v[key] for v in values]} for key in values[0]
    }


def environment(tree: Path) -> dict[str, str]:
    """This process's, but that modules come from the tree and are kept compiled, as Python does unless told not to."""
    left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in left_out} | {"PYTHONPATH": str(tree)}


def photo_once(tree: Path, words: list[str]) -> dict:
    """Seconds and peak memory of one command, a process of its own.

    It is started by a small one: the peak of a process counts that of the one it was forked from.
    """
    command = [str(tree / ".venv/bin/python"), "-m", "ferlib", *words]
    small = [sys.executable, "-S", "-c", STARTER, *command]
    done = subprocess.run(small, cwd=tree, env=environment(tree), capture_output=True, text=True, check=True)
    seconds, kilobytes = done.stdout.split()[-2:]
    return {"seconds": round(float(seconds), 3), "MB": round(int(kilobytes) / 1024, 1)}


def page_once(tree: Path) -> dict:
    """Seconds until the page opens, until its models are loaded, and its memory then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    command = [str(tree / ".venv/bin/python"), "app.py", "--port", str(port)]
    page = subprocess.Popen(command, cwd=tree, env=environment(tree), stdout=subprocess.DEVNULL)
    try:
        opened = wait_for(f"http://127.0.0.1:{port}/", lambda body: True, page) - began
        loaded = wait_for(f"http://127.0.0.1:{port}/health", lambda body: b'"ok"' in body, page) - began
        time.sleep(1)
        status = Path(f"/proc/{page.pid}/status").read_text()
        memory = int(status.split("VmRSS:")[1].split()[0]) / 1024
    finally:
        page.send_signal(signal.SIGINT)
        page.wait(60)
    return {"opens_seconds": round(opened, 2), "loaded_seconds": round(loaded, 2), "MB": round(memory)}


def wait_for(url: str, is_right: Callable[[bytes], bool], page: subprocess.Popen) -> float:
    """The time at which an address first answers as it should."""
    for _ in range(3000):
        assert page.poll() is None, "the page ended"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if is_right(answer.read()):
                    return time.perf_counter()
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError("the page did not start in a minute")


if __name__ == "__main__":
    main()
