"""Build the page without a server: a folder of static files, for any host, below any path.

    python web/build.py                     into build/web
    python web/build.py --serve 8000        and serve it on this machine

The page's own files are copied as they are. The network, its classes, temperature and colours, the thresholds of the
detector and the sentences come from ferlib (`settings`), so that nothing is written twice. onnxruntime-web comes from
npm, in the version and with the checksum of package.json. The three large files are packed here and unpacked by the
page, which therefore needs no host that compresses.
"""

import argparse
import base64
import gzip
import hashlib
import inspect
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ferlib.app import messages
from ferlib.app.drawing import examples
from ferlib.app.html import LOOK_HERE
from ferlib.detection import blazeface, crop, faces, quality
from ferlib.errors import UserError
from ferlib.images import MAX_PIXELS
from ferlib.labels import COLOURS
from ferlib.names import display_name
from ferlib.results import VIEW_SIZE
from ferlib.runtime.classifier import OnnxClassifier
from ferlib.runtime.preprocess import GREY_WEIGHTS
from ferlib.runtime.released import WEIGHTS, released_onnx

#: The network of the page: `convcut_ferplus_mirror` in eight bits, a quarter of the download.
MODEL = "ferlib-s"
SOURCE = Path(__file__).parent
OUTPUT = SOURCE.parent / "build" / "web"
COPIED = ("index.html", "style.css", "icon.svg", "manifest.json", "service_worker.js", *sorted(
    path.relative_to(SOURCE).as_posix() for path in (SOURCE / "js").glob("*.js")
))  # fmt: skip
LARGE = "large"  # folder of the files that are packed
ORT = {"js/ort.js": "dist/ort.wasm.bundle.min.mjs", "runtime": "dist/ort-wasm-simd-threaded.wasm"}
EXAMPLES = ("a drawn face, happiness", "a drawn face, surprise", "a drawn face, anger", "a portrait of Grace Hopper",
            "a portrait of Eileen Collins", "a picture of two people")  # fmt: skip
#: The page's own, at the top of the folder it is built into.
PARTS = ("js", "examples", LARGE, "version.js", *(name for name in COPIED if "/" not in name))
EXAMPLE_SIDE = 420  # pixels, at most


def build(output: Path = OUTPUT, patience: float = 120) -> dict[str, int]:
    """Write the page into a folder, in place of a page built before; what else is in it stays: a README, a `.git`.

    Args:
        output: the folder.
        patience: seconds for which npm is waited for.

    Returns:
        Every file's size in bytes, by its name.

    Raises:
        UserError: onnxruntime-web is not to be had, or files in the folder are called as the page's and are none.
    """
    ort = package("onnxruntime-web", patience)
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file, and the page needs a folder")
    if (there := [name for name in PARTS if (output / name).exists()]) and "version.js" not in there:
        raise UserError(f"{output / there[0]} is not of a page built before, and would be overwritten")
    for name in there:
        path = output / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (output / "js").mkdir(parents=True)
    (output / "version.js").touch()  # the mark of a page of ours: one that is not finished may be overwritten too
    for name in COPIED:
        shutil.copyfile(SOURCE / name, output / name)
    (output / "js/ort.js").write_bytes(ort[ORT["js/ort.js"]])
    graphs = {
        "runtime": ort[ORT["runtime"]],
        "detector": (Path(blazeface.__file__).parent / "blazeface.onnx").read_bytes(),
        "classifier": _released(MODEL).read_bytes(),
    }
    large = _large(output / LARGE, graphs)
    data = settings() | {
        "files": large,
        "downloads": {name: (output / name).stat().st_size for name in large.values()},
        "examples": _examples(output / "examples"),
    }
    (output / "js/settings.js").write_text(f"export default {json.dumps(data, separators=(',', ':'))};\n")
    _write_version(output)
    return {path.relative_to(output).as_posix(): path.stat().st_size for path in _files(output)}


def settings() -> dict[str, Any]:
    """What the page needs to know of ferlib, for JSON."""
    classifier = OnnxClassifier(_released(MODEL))
    preprocessing = classifier.preprocess
    if preprocessing.centre_crop or "gradcam" not in classifier.methods:
        raise UserError(f"{MODEL} cuts its input or has no heat map, which the page does not know")
    report = json.loads((WEIGHTS / MODEL / "report.json").read_text())
    return {
        "model": {
            "name": MODEL,
            "classes": classifier.classes,
            "temperature": classifier.temperature,
            "preprocessing": {name: getattr(preprocessing, name) for name in
                              ("input_size", "downscale_to", "grey", "mean", "std")},
            "grey_weights": GREY_WEIGHTS,
            "data": display_name(report["data"]),
            "faces": report["faces"],
            "accuracy": report["metrics"]["accuracy"]["value"],
        },
        "blazeface": {
            "strides": blazeface.STRIDES,
            "smallest": blazeface.SMALLEST,
            "same": blazeface._SAME,
            "threshold": inspect.signature(blazeface.detect).parameters["threshold"].default,
        },
        "faces": {
            **{name: getattr(faces, f"_{name.upper()}") for name in (
                "coarse", "sure", "step", "max_side", "finest", "range", "beside", "margin", "guess", "zooms",
                "third_zoom", "confirmed", "group", "alike", "faint", "in_group", "upright_score", "upright_roll",
                "turned_roll", "overlap")},
        },
        "crop": {
            "max_roll": crop.MAX_ROLL, "square_side": crop._SQUARE_SIDE, "square_shift": crop._SQUARE_SHIFT,
        },
        "quality": {name.lower(): getattr(quality, name) for name in
                    ("SIDE", "WHITE", "DARK", "OVEREXPOSED", "BLURRED", "SMALL", "AVERTED")},
        "warnings": quality.WARNINGS,
        "margins": {name.lower(): getattr(messages, name) for name in ("UNDECIDED", "AHEAD", "WELL_AHEAD")},
        "heat_meaning": messages.METHOD_MEANINGS["gradcam"],
        "hints": {"no_face": LOOK_HERE, "another": "Please try another picture."},
        "colours": COLOURS,
        "turbo": np.load(WEIGHTS.parent / "runtime/turbo.npy", allow_pickle=False).ravel().tolist(),
        "view_size": VIEW_SIZE,
        "max_pixels": MAX_PIXELS,
    }  # fmt: skip


def package(name: str, patience: float = 120) -> dict[str, bytes]:
    """The files of an npm package in the version of package.json, by their paths; npm's cache serves it offline.

    Raises:
        UserError: there is no npm, it did not get the package in time, or what came is not what was asked for.
    """
    pinned = json.loads((SOURCE / "package.json").read_text())
    version = (pinned["dependencies"] | pinned["devDependencies"])[name]
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"{name}@{version}", "--silent", "--prefer-offline", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=patience, cwd=folder)
        except FileNotFoundError as error:
            raise UserError("the page needs onnxruntime-web, which comes with npm, not installed here") from error
        except (subprocess.SubprocessError, OSError) as error:
            raise UserError(f"npm could not get {name} {version}; is there a network?") from error
        data = next(Path(folder).glob("*.tgz")).read_bytes()
    if "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode() != pinned["integrity"][name]:
        raise UserError(f"what npm got as {name} {version} has another checksum than web/package.json says")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        contents = ((member.name.partition("/")[2], archive.extractfile(member)) for member in members)
        return {path: file.read() for path, file in contents if file}


def serve(folder: Path, port: int, handler: Callable[..., BaseHTTPRequestHandler] | None = None) -> ThreadingHTTPServer:
    """A server of a folder's files on this machine, not yet started; port 0 takes a free one.

    Raises:
        UserError: the port is taken, or there is none of this number.
    """
    try:
        handler = handler or partial(SimpleHTTPRequestHandler, directory=str(folder))
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot serve at 127.0.0.1, port {port}: {reason}; try another --serve") from error


def _released(name: str) -> Path:
    file = released_onnx(name)
    if file is None:
        raise UserError(f"the model {name} has no model.onnx")
    return file


def _large(folder: Path, graphs: dict[str, bytes]) -> dict[str, str]:
    """Write the large files, packed; their names by their kinds, with a digest: a page finds no other build's."""
    folder.mkdir()
    names = {kind: f"{kind}-{hashlib.sha256(graph).hexdigest()[:12]}.gzip" for kind, graph in graphs.items()}
    for kind, name in names.items():
        (folder / name).write_bytes(gzip.compress(graphs[kind], mtime=0))
    return {kind: f"{folder.name}/{name}" for kind, name in names.items()}


def _examples(folder: Path) -> list[dict[str, str]]:
    """Write the pictures to click; where each is, and a name for it."""
    folder.mkdir()
    written = []
    for number, title in enumerate((title for title in EXAMPLES if title in examples()), start=1):
        picture = Image.fromarray(examples()[title])
        picture.thumbnail((2 * EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.LANCZOS)
        picture.save(folder / f"{number}.jpg", quality=82, optimize=True)
        written.append({"file": f"examples/{number}.jpg", "title": title})
    return written


def _files(output: Path) -> list[Path]:
    """The files of the page in a folder that may hold others too, sorted."""
    found = (path for name in PARTS for path in [output / name, *(output / name).rglob("*")])
    return sorted(path for path in found if path.is_file())


def _write_version(output: Path) -> None:
    """Write version.js: what the service worker keeps, and a version that changes with any of the files."""
    paths = [path for path in _files(output) if path.name not in ("service_worker.js", "version.js")]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(output).as_posix().encode() + path.read_bytes())
    names = [path.relative_to(output).as_posix() for path in paths]
    large = [name for name in names if name.startswith(f"{LARGE}/")]
    small = ["./" if name == "index.html" else name for name in names if name not in large]
    values = {"VERSION": digest.hexdigest()[:12], "FILES": small, "LARGE": large}
    (output / "version.js").write_text(f"Object.assign(self, {json.dumps(values)});\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, tell the size, and serve if asked to."""
    parser = argparse.ArgumentParser(description="Build the page without a server.")
    parser.add_argument("--out", type=Path, default=OUTPUT, help="folder to build into (default: build/web)")
    parser.add_argument("--serve", type=int, metavar="PORT", help="serve it on 127.0.0.1")
    given = parser.parse_args(arguments)
    try:
        server = None if given.serve is None else serve(given.out, given.serve)
        sizes = build(given.out)
    except UserError as error:
        parser.exit(1, f"{error}\n")
    print(f"{given.out}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    if server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            server.server_close()


if __name__ == "__main__":
    main()
