"""What the page without a server costs, and that it says what Python says, in a real Chromium.

    python benchmarks/web_page.py --out results/web.json

First load: bytes of all answers of a plain server that compresses nothing, from an empty browser until the page is
ready and works offline. A face: its crop through the classifier with its heat map; a photo: a file of 512 x 512 pixels
to answers; a frame: one of the webcam that is searched finely. All on one thread, of `RUNS` after as many to warm up,
with the processor time of the page's process beside the median, as it hardly depends on what else the machine does. The
webcam is Chromium's fake device, which plays a portrait that moves, 640 x 480. The difference is the largest of any
probability, over the faces of `write_pictures`.
"""

import argparse
import base64
import json
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import numpy as np
from machine import machine
from photo_files import portraits
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from ferlib.app import messages
from ferlib.images import read_image
from ferlib.labels import SYNTHETIC
from ferlib.predict import Predictor
from ferlib.results import FacePrediction
from ferlib.synthetic.render import sample_face
from ferlib.utils.packages import chromium as installed_chromium

sys.path.append(str(Path(__file__).parents[1]))  # for web/
from web.build import MODEL, build, serve

RUNS = 25
SECONDS = 10  # for which the webcam runs
COLUMNS, ROWS = 5, 4  # of a sheet of faces
FLAGS = "--no-sandbox", "--disable-gpu", "--disable-background-networking"
CAMERA = "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"
PREDICT = """async (file) => {
  const { predictor } = await import("./js/app.js");
  const { answer } = await import("./js/messages.js");
  const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
  const faces = await predictor.predict(new Blob([bytes]), { views: false });
  return faces.map((face) => ({ ...face, sentence: answer(1, face) }));
}"""
COUNT_ANSWERS = """async (seconds) => {
  const { webcam } = await import("./js/app.js");
  const before = webcam.answers;
  await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  return webcam.answers - before;
}"""
OPEN_CLASSIFIER = """async () => {
  const { env, InferenceSession, Tensor } = await import("./js/ort.js");
  const { download } = await import("./js/download.js");
  const { classify } = await import("./js/classifier.js");
  const { files } = (await import("./js/settings.js")).default;
  const bytes = await download([files.runtime, files.classifier], () => {});
  Object.assign(env.wasm, { numThreads: 1, wasmBinary: bytes[files.runtime] });
  const session = await InferenceSession.create(new Uint8Array(bytes[files.classifier]));
  const run = (input, dims) => session.run({ image: new Tensor("float32", input, dims) });
  const crop = { width: 200, height: 200, data: new Uint8ClampedArray(160000).map((_, i) => (i * 7) % 251) };
  window.work = () => classify(run, crop);
}"""
OPEN_PHOTO = """async (file) => {
  const { predictor } = await import("./js/app.js");
  const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
  window.work = () => predictor.predict(new Blob([bytes]));
}"""
OPEN_FRAME = """async (file) => {
  const { predictor } = await import("./js/app.js");
  const { OPTIONS } = await import("./js/webcam.js");
  const bytes = Uint8Array.from(atob(file), (character) => character.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes]), { resizeWidth: 480, resizeHeight: 360 });
  window.work = async () => predictor.predict(await createImageBitmap(picture), OPTIONS);
}"""
TIME = """async (runs) => {
  const times = [];
  for (let i = 0; i < runs; i++) {
    const began = performance.now();
    await window.work();
    times.push(performance.now() - began);
  }
  return times;
}"""


class Counting(SimpleHTTPRequestHandler):
    """Serves files and counts the bytes; `sent` is shared by all requests to one server."""

    def __init__(self, *arguments: Any, sent: list[int], headers_too: Mapping[str, str], **settings: Any):
        self.sent, self.headers_too = sent, headers_too
        super().__init__(*arguments, **settings)

    def end_headers(self) -> None:
        """Add the headers of this server."""
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        super().end_headers()

    def copyfile(self, source: Any, outputfile: BinaryIO) -> None:  # type: ignore[override]
        """Send a file, and count it."""
        data = source.read()
        self.sent.append(len(data))
        outputfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, headers: Mapping[str, str] | None = None) -> Iterator[tuple[str, list[int]]]:
    """Serve a folder, with further headers; its address, and the sizes of all answers so far."""
    sent: list[int] = []
    server = serve(folder, 0, partial(Counting, directory=str(folder), sent=sent, headers_too=headers or {}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def chromium(camera: Path | None = None) -> Iterator[Browser]:
    """A Chromium, whose camera plays a file; one without a face where there is none.

    Raises:
        FileNotFoundError: none is installed.
    """
    path = installed_chromium()
    if path is None:
        raise FileNotFoundError("no Chromium is installed")
    film = [f"--use-file-for-fake-video-capture={camera}"] if camera else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *CAMERA, *film])
        yield browser
        browser.close()


def write_pictures(folder: Path) -> list[Path]:
    """Write pictures with more than 200 faces: synthetic ones in several sizes, two portraits in sizes and turns."""
    rng = np.random.default_rng(0)
    files = portraits(folder)
    hopper, collins = (Image.fromarray(read_image(file)) for file in files)
    heads = hopper.crop((110, 30, 430, 350)), collins.crop((130, 20, 320, 210))

    def save(name: str, picture: Image.Image, **settings: Any) -> None:
        files.append(folder / name)
        picture.save(files[-1], **settings)

    save("on_its_side.png", collins.transpose(Image.Transpose.ROTATE_90))
    save("on_its_head.png", collins.transpose(Image.Transpose.ROTATE_180))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    save("lying.jpg", hopper.transpose(Image.Transpose.ROTATE_90), exif=exif, quality=95)
    save("large.png", collins.resize((2100, 2100)), compress_level=1)
    save("small.png", hopper.resize((90, 105)))
    drawn = [Image.fromarray(sample_face(name, rng, 220, clean=True).pixels) for name in (*SYNTHETIC, *SYNTHETIC)]
    for number, side in enumerate((110, 125, 140, 155, 170, 185)):
        chosen = [drawn[int(i)].rotate(rng.uniform(-8, 8)) for i in rng.integers(len(drawn), size=COLUMNS * ROWS)]
        save(f"drawn{number}.png", _sheet(chosen, side))
    for number, side in enumerate((120, 140, 160, 180, 200)):
        turned = [heads[int(i)].rotate(rng.uniform(-35, 35)) for i in rng.integers(2, size=COLUMNS * ROWS)]
        save(f"turned{number}.png", _sheet(turned, side))
    group = Image.new("RGB", (2000, 1400), (150, 150, 150))
    people = hopper.crop((0, 0, 512, 512)), collins.crop((100, 0, 356, 256))
    for number in range(12):
        person = people[number % 2].resize((84, 84), Image.Resampling.LANCZOS)
        group.paste(person, (100 + 470 * (number % 4), 100 + 420 * (number // 4)))
    save("a_group_on_its_side.png", group.transpose(Image.Transpose.ROTATE_90), compress_level=1)
    return files


def _sheet(faces: Sequence[Image.Image], side: int) -> Image.Image:
    sheet = Image.new("RGB", (COLUMNS * side, ROWS * side))
    for place, face in enumerate(faces):
        corner = place % COLUMNS * side, place // COLUMNS * side
        sheet.paste(face.resize((side, side), Image.Resampling.BICUBIC), corner)
    return sheet


def write_film(file: Path, portrait: np.ndarray) -> None:
    """Write a film for the fake camera: a portrait (H, W, 3) uint8 that moves there and back, 640 x 480."""
    head = _head(portrait)
    with file.open("wb") as film:
        for step in (*range(20), *range(20, 0, -1)):
            _frame(head, 60 + 2 * step).save(film, "JPEG", quality=90)


def _head(portrait: np.ndarray) -> Image.Image:
    """Head and shoulders of Eileen Collins, as a webcam sees one, 480 x 480."""
    return Image.fromarray(portrait).crop((95, 10, 345, 260)).resize((480, 480))


def _frame(head: Image.Image, left: int) -> Image.Image:
    frame = Image.new("RGB", (640, 480), (90, 120, 110))
    frame.paste(head, (left, 0))
    return frame


def answers(page: Page, file: Path) -> list[dict]:
    """What the page says of a picture: box, scores, warnings and sentence (as face 1) of every face."""
    return page.evaluate(PREDICT, _text(file))


def compare(said: Sequence[dict], faces: Sequence[FacePrediction]) -> list[tuple[bool, float, bool]]:
    """For each of Python's faces and the page's nearest: same box, largest difference of a probability, same words."""
    rows = []
    for face in faces:
        other = min(said, key=lambda one: float(np.abs(np.subtract(one["box"], face.box)).max()))
        difference = float(np.abs(np.subtract(other["scores"], list(face.scores.values()))).max())
        words = other["sentence"] == messages.sentence(1, face)
        rows.append((tuple(other["box"]) == face.box, difference, words and tuple(other["warnings"]) == face.warnings))
    return rows


def _text(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _processor_seconds(browser: Browser) -> float:
    """Processor time that the pages' processes have taken so far."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return sum(process["cpuTime"] for process in processes if process["type"] == "renderer")


def measure(folder: Path) -> dict[str, Any]:
    """All of it, in a folder for the page and its pictures."""
    sizes = build(folder / "page")
    (folder / "pictures").mkdir()
    files = write_pictures(folder / "pictures")
    portrait = read_image(files[1])
    write_film(folder / "film.mjpeg", portrait)
    _frame(_head(portrait), 80).save(folder / "frame.jpg", quality=90)
    with served(folder / "page") as (url, sent), chromium(folder / "film.mjpeg") as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        asked: list[str] = []
        page.context.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("body.ready")
        page.wait_for_timeout(1000)
        first_load = sum(sent)

        def timed(opening: str, argument: str | None = None) -> dict[str, float]:
            page.evaluate(opening, argument)
            page.evaluate(TIME, RUNS)  # the browser compiles what runs often, in threads of its own
            page.wait_for_timeout(3000)
            before = _processor_seconds(browser)
            times = page.evaluate(TIME, RUNS)
            taken = 1000 * (_processor_seconds(browser) - before) / RUNS
            return {"median": round(median(times), 1), "fastest": round(min(times), 1), "processor": round(taken, 1)}

        milliseconds = {
            "a face": timed(OPEN_CLASSIFIER),
            "a photo": timed(OPEN_PHOTO, _text(files[1])),
            "a frame, searched finely": timed(OPEN_FRAME, _text(folder / "frame.jpg")),
        }
        page.locator("#use-webcam").click()
        page.wait_for_selector("#live-boxes .box")
        answered = page.evaluate(COUNT_ANSWERS, SECONDS)
        page.locator("#use-webcam").click()
        predictor = Predictor.load(MODEL)
        rows = [row for file in files for row in compare(answers(page, file), predictor.predict(file).faces)]
        others = sum(not address.startswith((url, "blob:", "data:")) for address in asked)
        version = browser.version
    same, differences, words = zip(*rows, strict=True)
    return {
        "chromium": version,
        "files": len(sizes),
        "first load, bytes": first_load,
        "requests to other hosts": others,
        "runs": RUNS,
        "milliseconds": milliseconds,
        "webcam, answers a second": round(answered / SECONDS, 1),
        "faces": len(rows),
        "boxes the same": sum(same),
        "words the same": sum(words),
        "largest difference of a probability": float(f"{max(differences):.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    command = f"python benchmarks/web_page.py --out {given.out}"
    given.out.write_text(json.dumps({"command": command, **machine(), **found}, indent=1) + "\n")
    print(given.out.read_text())


if __name__ == "__main__":
    main()
