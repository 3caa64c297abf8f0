"""A peer at work: its environment, its process, and its answers, kept so that a run can go on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
from known_peers import Peer

from ferlib.errors import RunError

WORKERS = Path(__file__).with_name("peer_workers")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
WARM_UP = 5  # faces
SAME = 1e-3  # probabilities of one model for one face, on any machine


def environment(peer: Peer, folder: Path) -> list[str]:
    """Install a peer into `folder`, unless it is there; the command that runs its worker there."""
    folder = folder.absolute()
    specification = f"{peer.name}@{peer.version}" if peer.npm else f"{peer.name}=={peer.version}"
    wanted = "\n".join((specification, *peer.needs))
    installed, python = folder / "installed.txt", folder / "env" / "bin" / "python"
    if not installed.exists() or installed.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        if peer.npm:
            (folder / "package.json").write_text("{}")
            commands = [["npm", "install", "--no-audit", "--no-fund", "--save-exact", specification, *peer.needs]]
        elif peer.needs:
            commands = [[*pip, *peer.needs], [*pip, "--no-deps", specification]]
        else:
            commands = [[*pip, specification]]
        if not peer.npm:
            commands.insert(0, [sys.executable, "-m", "venv", "--clear", "env"])
        for command in commands:
            subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
        installed.write_text(wanted)
    return ["node" if peer.npm else str(python), str(WORKERS / peer.worker)]


class Worker:
    """A program of `peer_workers/` in its own process, one thread; see `peer_workers/serve.py` for the protocol.

    Args:
        command: that starts it.
        faces: grey ones of 48x48 pixels, a byte a pixel.
        folder: that it runs in; what it complains about goes into worker.log there.
        weights: file of weights, where it needs one.

    Attributes:
        hello: what it says about itself.
    """

    def __init__(self, command: Sequence[str], faces: bytes, folder: Path, weights: Path | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.log, file = folder / "worker.log", folder / "faces.bin"
        file.write_bytes(faces)
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, str(file.resolve()), *([str(weights.resolve())] if weights else [])],
                cwd=folder,
                env=os.environ | ONE_THREAD,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.hello: dict[str, Any] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def ask(self, rows: Iterable[int]) -> tuple[np.ndarray, float]:
        """Probabilities (B, classes) of these faces, given to the model together, and the seconds it computed."""
        assert self._process.stdin
        print(json.dumps([int(row) for row in rows]), file=self._process.stdin, flush=True)
        answer = self._answer()
        return np.array(answer["probabilities"]), answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RunError(f"the worker ended with {self._process.wait()}; {self.log} says why")
        return json.loads(line)


def answers(worker: Worker, rows: Mapping[int, int], kept: Path) -> dict[int, list[float]]:
    """Probabilities of faces, one at a time; those in the file `kept` are not asked for again.

    But for one of them: where the worker says something else of it, the file is another model's, and is begun anew.

    Args:
        worker: that is asked.
        rows: names of the faces, which go into the file, and their positions among the worker's faces.
        kept: a line of JSON for every answer.
    """
    lines = kept.read_text().splitlines() if kept.exists() else []
    found: dict[int, list[float]] = dict(map(json.loads, lines))
    known = next((row for row in rows if row in found), None)
    if known is not None:
        told = worker.ask([rows[known]])[0][0]
        if len(told) != len(found[known]) or not np.allclose(told, found[known], atol=SAME):
            found = {}
            kept.unlink()
    with kept.open("a") as file:
        for row in rows:
            if row not in found:
                found[row] = worker.ask([rows[row]])[0][0].tolist()
                print(json.dumps([row, found[row]]), file=file, flush=True)
    return {row: found[row] for row in rows}


def milliseconds(worker: Worker, places: Sequence[int]) -> float:
    """Median processor time of a face, asked for alone, from the grey face to the probabilities."""
    for place in places[:WARM_UP]:
        worker.ask([place])
    return 1000 * median(worker.ask([place])[1] for place in places)
