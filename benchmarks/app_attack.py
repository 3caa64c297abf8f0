"""The app under attack: what a client can read, write, have fetched and hold, on a server of its own.

    env -u OMP_NUM_THREADS python benchmarks/app_attack.py --out results/app_attack.json

Starts `python app.py` at a free port of this machine and tries it over the loopback, as anybody could who reaches it.

use: somebody sends a photo a second, of fifty sizes in turns, for --minutes.
doors: every function of the page that takes a picture, by every way to call it (by its name, by its number, through the
    queue), as a program and with the page's own `Origin` forged, is told to read what was never sent: a photo elsewhere
    on the disk (absolute, relative, by a link that lies in the upload folder), devices, /proc, a web address, each with
    and without Gradio's mark of a file; and /file= and /proxy= as well. "read" counts answers with anything of them.
names: requests in whose `Host` another name stands, as after DNS rebinding.
queue: so many requests at once whose answers nobody fetches.
bombs: PNG files that unfold to 52 megapixels, all at once, while somebody sends a small photo again and again.
memory: the server's resident memory (/proc), before and after each, and the most it ever was; its growth over all.
"""

import argparse
import asyncio
import http.server
import io
import json
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from statistics import median

import httpx
from app_load import PATIENCE, Server, ask, serve
from machine import machine, typed_command
from photo_files import portraits
from PIL import Image

MARK = {"meta": {"_type": "gradio.FileData"}}
TAKEN = re.compile(r'"(box|x0|scores|published)\\?"|class=\\?"(face|companies)\\?"|\bPATH=|root:x:')
WORDS = {"Explanation": "gradcam", "model": "convcut_ferplus", "Model": "convcut_ferplus", "other": "ivsa_fer2013"}
BOMB = 7_210, 7_210  # just below the limit of 52 megapixels
NAMES = "evil.example", "127.0.0.1.evil.example", "10.1.2.3", "localhost.evil.example:7860"


@contextmanager
def listener(photo: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server with a photo: its address, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(photo.read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/photo.jpg", asked
    finally:
        running.shutdown()
        running.server_close()


def lures(secret: Path, link: Path, address: str) -> dict[str, dict]:
    """What a picture is said to be, by a name for the report."""
    paths = {
        "absolute path": str(secret),
        "relative path": f"{link.parent}/../../../../../../../../..{secret}",
        "link out of the folder": str(link),
        "/dev/zero": "/dev/zero",
        "/proc/self/environ": "/proc/self/environ",
        "/etc/passwd": "/etc/passwd",
        "URL as path": address,
    }
    plain = {name: {"path": path, "orig_name": "photo.jpg"} for name, path in paths.items()}
    marked = {f"{name}, marked": picture | MARK for name, picture in plain.items()}
    return plain | marked | {"URL": {"url": address}, "URL, marked": {"path": "x.jpg", "url": address} | MARK}


def functions(client: httpx.Client) -> list[dict]:
    """The page's functions that take a picture: number, name, and the kind and label of every input."""
    config = client.get("config").json()
    parts = {part["id"]: part for part in config["components"]}
    found = []
    for one in config["dependencies"]:
        inputs = [(parts[number]["type"], parts[number]["props"].get("label")) for number in one["inputs"]]
        if {"image", "file"} & {kind for kind, _ in inputs}:
            found.append({"number": one["id"], "name": one["api_name"], "inputs": inputs})
    return found


def call(client: httpx.Client, function: dict, picture: dict, way: str, own: bool, session: str) -> tuple[int, str]:
    """The status and everything that is told."""
    given = {"image": picture, "file": [picture]}
    data = [given.get(kind, WORDS.get(label, "")) for kind, label in function["inputs"]]
    headers = {"Origin": str(client.base_url).rstrip("/")} if own else {}
    body = {"data": data, "session_hash": session, "fn_index": function["number"]}
    if way == "run by name":
        body, path = {"data": data}, f"gradio_api/run/{function['name']}"
    elif way == "run by number":
        path = "gradio_api/run/predict"
    elif way == "call by name":
        body, path = {"data": data}, f"gradio_api/call/{function['name']}"
    else:
        path = "gradio_api/queue/join"
    answer = client.post(path, json=body, headers=headers)
    if answer.status_code != 200 or way.startswith("run"):
        return answer.status_code, answer.text
    event = answer.json()["event_id"]
    stream = f"{path}/{event}" if way.startswith("call") else f"gradio_api/queue/data?session_hash={session}"
    said = ""
    with client.stream("GET", stream) as lines:
        for line in lines.iter_lines():
            said += line
            done = "process_completed" in line or "process_streaming" in line
            if done or (line.startswith("data: ") and re.search("event: (complete|generating|error)", said)):
                break
    return 200, said


def scaled(photo: Path) -> list[Path]:
    """Fifty copies, 200 to 1,180 pixels wide, beside the photo."""
    copies = [photo.with_name(f"{width}.jpg") for width in range(200, 1200, 20)]
    with Image.open(photo) as image:
        for copy in copies:
            width = int(copy.stem)
            image.resize((width, round(width * image.height / image.width))).save(copy)
    return copies


async def use(server: Server, photos: Sequence[Path], minutes: float) -> dict:
    """A photo a second, over and over; requests, errors, and the memory after each twelfth of the time."""
    began, answers, resident = time.monotonic(), [], list[float]()
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        for photo in cycle(photos):
            asked = time.monotonic()
            if asked - began >= 5 * minutes * (len(resident) + 1):
                resident.append(server.memory()["resident, MB"])
            if asked - began >= 60 * minutes:
                break
            answers.append(await ask(client, photo))
            await asyncio.sleep(max(0.0, 1 - (time.monotonic() - asked)))
    return {
        "minutes": minutes,
        "requests": len(answers),
        "errors": sum(bool(answer.error) for answer in answers),
        "median, s": round(median(answer.seconds for answer in answers), 3),
        "resident after each twelfth, MB": resident,
    }


def try_doors(server: Server, secret: Path) -> dict:
    """Have every function read what was never sent."""
    (folder,) = server.folder.glob("ferlib-app-*")
    link = folder / "link.jpg"
    link.symlink_to(secret)
    before, number, taken = set(server.files()), 0, []
    statuses: Counter[int] = Counter()
    with listener(secret) as (address, fetched), httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        for function in functions(client):
            for name, picture in lures(secret, link, address).items():
                for way in ("run by name", "run by number", "call by name", "queue by number"):
                    for own in (False, True):
                        status, said = call(client, function, picture, way, own, f"s{number}")
                        number, statuses[status] = number + 1, statuses[status] + 1
                        if TAKEN.search(said):
                            taken.append(f"{function['name']}, {way}: {name}")
        for path in (secret, link, "/proc/self/environ", "/etc/passwd", address):
            for door in ("file=", "proxy=", "file/"):
                answer = client.get(f"gradio_api/{door}{path}")
                number, statuses[answer.status_code] = number + 1, statuses[answer.status_code] + 1
                if answer.status_code == 200:
                    taken.append(f"{door}{path}")
        return {
            "requests": number,
            "answers by status": {str(status): count for status, count in sorted(statuses.items())},
            "read": len(taken),
            "first read": taken[:10],
            "written": len(set(server.files()) - before - {link}),
            "fetched": len(fetched),
        }


def try_names(server: Server) -> dict:
    """Ask for everything by names that are not the server's."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        statuses = Counter(
            client.request(method, path, headers=headers, json={"data": [None, "", ""]}).status_code
            for name in NAMES
            for headers in ({"Host": name}, {"X-Forwarded-Host": name})
            for method, path in (("GET", ""), ("GET", "config"), ("POST", "gradio_api/run/predict"), ("GET", "health"))
        )
    return {"requests": statuses.total(), "answers by status": {str(key): count for key, count in statuses.items()}}


async def fill_queue(server: Server, photo: Path, number: int) -> dict:
    """So many requests, half of them for the API and half as the page's own, whose answers nobody fetches."""
    before = server.memory()
    statuses: Counter[int] = Counter()
    origin = {"Origin": server.url.rstrip("/")}
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as page:
        show = next(one for one in functions(page) if one["name"] == "show")
        (path,) = page.post("gradio_api/upload", files={"files": (photo.name, photo.read_bytes())}).json()
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:

        async def join(i: int) -> None:
            picture = {"path": path} | MARK
            if i % 2:
                answer = await client.post("gradio_api/call/predict", json={"data": [picture, "", ""]})
            else:
                data = [picture, "convcut_ferplus", "gradcam", ""]
                body = {"data": data, "fn_index": show["number"], "session_hash": f"q{i}"}
                answer = await client.post("gradio_api/queue/join", json=body, headers=origin)
            statuses[answer.status_code] += 1

        began = time.perf_counter()
        limit = asyncio.Semaphore(100)

        async def bounded(i: int) -> None:
            async with limit:
                await join(i)

        await asyncio.gather(*(bounded(i) for i in range(number)))
        joined = time.perf_counter() - began
        answer = await ask(client, photo)
        while not (answer.data and answer.data["faces"]):  # until it is somebody's turn again
            await asyncio.sleep(0.5)
            answer = await ask(client, photo)
    return {
        "requests": number,
        "answers by status": {str(key): count for key, count in sorted(statuses.items())},
        "seconds until all were answered": round(joined, 1),
        "seconds until the next visitor has his faces": round(time.perf_counter() - began, 1),
        "memory before": before,
        "memory after": await settled(server),
    }


async def drop_bombs(server: Server, photo: Path, number: int) -> dict:
    """Pictures that unfold, all at once; a visitor with a small photo meanwhile."""
    packed = io.BytesIO()
    Image.new("RGB", BOMB, (90, 140, 200)).save(packed, "PNG", compress_level=9)
    before, peak = server.memory(), 0.0
    waits: list[float] = []
    answers: Counter[str] = Counter()
    done = asyncio.Event()
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as client:

        async def bomb(i: int) -> None:
            sent = await client.post("gradio_api/upload", files={"files": (f"{i}.png", packed.getvalue())})
            while sent.status_code == 503:
                await asyncio.sleep(0.5)
                sent = await client.post("gradio_api/upload", files={"files": (f"{i}.png", packed.getvalue())})
            body = {"data": [{"path": sent.json()[0]} | MARK, "", ""]}
            answers[(await client.post("gradio_api/run/predict", json=body)).json()["data"][0]["error"]] += 1

        async def visit() -> None:
            while not done.is_set():
                waits.append((await ask(client, photo)).seconds)

        async def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, server.memory()["resident, MB"])
                await asyncio.sleep(0.05)

        others = [asyncio.create_task(visit()), asyncio.create_task(watch())]
        began = time.perf_counter()
        await asyncio.gather(*(bomb(i) for i in range(number)))
        taken = time.perf_counter() - began
        done.set()
        await asyncio.gather(*others)
    after = await settled(server)
    return {
        "pictures": number,
        "bytes of each": len(packed.getvalue()),
        "megapixels of each": round(BOMB[0] * BOMB[1] / 1e6, 1),
        "answers": dict(answers),
        "seconds until all were answered": round(taken, 1),
        "visitor's answers meanwhile": len(waits),
        "visitor's wait, median and longest, s": [round(median(waits), 2), round(max(waits), 2)],
        "memory before": before,
        "most resident meanwhile, MB": peak,
        "memory after": after,
        "growth, MB": round(after["resident, MB"] - before["resident, MB"], 1),
    }


async def settled(server: Server) -> dict[str, float]:
    """The server's memory once it is busy no more."""
    used = -1.0
    while (now := server.cpu_seconds()) > used + 0.5:
        used = now
        await asyncio.sleep(2)
    return server.memory()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of use, before the attacks")
    parser.add_argument("--queued", type=int, default=2000)
    parser.add_argument("--bombs", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    report: dict = {"command": typed_command()} | machine()
    with tempfile.TemporaryDirectory() as folder:
        photo, secret = portraits(Path(folder))
        with serve() as server:
            asyncio.run(_warm(server, photo))
            report["memory at the start"] = server.memory()
            for name, result in (
                ("use", lambda: asyncio.run(use(server, scaled(photo), options.minutes))),
                ("doors", lambda: try_doors(server, secret)),
                ("names", lambda: try_names(server)),
                ("queue", lambda: asyncio.run(fill_queue(server, photo, options.queued))),
                ("bombs", lambda: asyncio.run(drop_bombs(server, photo, options.bombs))),
            ):
                report[name] = result()
                print(name, json.dumps(report[name], indent=1), flush=True)
            report["memory at the end"] = server.memory()
            growth = report["memory at the end"]["resident, MB"] - report["memory at the start"]["resident, MB"]
            report["growth, MB"] = round(growth, 1)
            report["exit code after Ctrl-C"] = server.end()
    options.out.write_text(json.dumps(report, indent=1) + "\n")


async def _warm(server: Server, photo: Path) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        for _ in range(20):
            await ask(client, photo)


if __name__ == "__main__":
    main()
