"""The page without a server: its settings are ferlib's, and in a real Chromium it says what Python says."""

import ast
import gzip
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from picture_files import crowd
from PIL import Image

from ferlib.errors import UserError
from ferlib.labels import COLOURS
from ferlib.predict import Predictor
from ferlib.runtime.preprocess import softmax
from web.build import COPIED, MODEL, ORT, SOURCE, build, main, package, settings

ROOT = Path(__file__).parents[1]
TIMEOUT = 60_000  # ms; machines may be busy
PATIENCE = 20  # seconds for npm
GENERATED = {"js/settings.js", "js/ort.js", "version.js"}
LARGE = {"runtime", "detector", "classifier"}


def read(name: str) -> str:
    return (SOURCE / name).read_text(encoding="utf-8")


def test_the_settings_are_those_of_the_library():
    known = json.loads(json.dumps(settings()))
    predictor = Predictor.load(MODEL)
    assert known["model"]["classes"] == list(predictor.classes)
    assert known["colours"] == COLOURS
    logits = np.array([[2.0, 0.5, -1.0]], np.float32)
    expected = softmax(logits, predictor.classifier.temperature)
    powers = np.exp(logits / known["model"]["temperature"])
    assert powers / powers.sum() == pytest.approx(expected, abs=1e-6)
    assert len(known["turbo"]) == 3 * 256 and known["turbo"][:3] == [48, 18, 59]


def test_every_setting_that_the_scripts_read_is_there():
    known = settings() | {"files": dict.fromkeys(LARGE), "downloads": {}, "examples": []}
    open_ended = ("colours", "warnings", "downloads", "turbo")  # read by keys that are not names
    read_of_all = 0
    for path in (SOURCE / "js").glob("*.js"):
        text = path.read_text(encoding="utf-8").replace("/settings.js", "")
        pairs = re.findall(r"\bsettings\.(\w+)(?:\.(\w+))?", text)
        pairs += [(path.stem, name) for name in re.findall(r"\blimits\.(\w+)", text)]
        for names, part in re.findall(r"const \{([^}]*)\} = settings\.(\w+);", text):
            pairs += [(part, name.split(":")[0].strip()) for name in names.split(",")]
        read_of_all += len(pairs)
        for part, name in pairs:
            assert part in known, (path.name, part)
            assert not name or part in open_ended or name in known[part], (path.name, part, name)
    assert read_of_all > 40


def test_the_page_asks_no_other_host():
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', read("index.html"))
    rules = dict(rule.split(maxsplit=1) for rule in policy[1].split("; "))
    assert rules["default-src"] == rules["connect-src"] == "'self'"
    assert "unsafe-inline" not in policy[1] and "'unsafe-eval'" not in policy[1]
    for name in (*COPIED, "package.json"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", read(name)), name


def test_every_file_that_the_page_names_is_there():
    there = {*COPIED, *GENERATED}
    named = set(re.findall(r'(?:href|src)="([^"]+)"', read("index.html")))
    named |= {icon["src"] for icon in json.loads(read("manifest.json"))["icons"]}
    named |= set(re.findall(r'importScripts\("([^"]+)"\)', read("service_worker.js")))
    for name in COPIED:
        if name.startswith("js/"):
            named |= {f"js/{other}" for other in re.findall(r'(?:from|new URL\()\s*"\.?/?([\w]+\.js)"', read(name))}
    assert {"js/app.js", "js/worker.js", "style.css", "version.js"} <= named
    assert named <= there
    assert all((SOURCE / name).is_file() for name in COPIED)


def test_ids_that_the_scripts_look_for_are_in_the_page():
    ids = re.findall(r'\bid="([\w-]+)"', read("index.html"))
    assert len(ids) == len(set(ids))
    for name in COPIED:
        assert set(re.findall(r'byId\("([\w-]+)"\)', read(name))) <= set(ids), name


def test_the_builder_needs_nothing_of_the_lab():
    names = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(read("build.py")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import web.build; print('torch' in sys.modules)"
    assert "torch" not in names
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_what_npm_gives_must_be_what_was_pinned(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\nwhile [ "$1" != --pack-destination ]; do shift; done\necho other > "$2/other.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError, match="another checksum"):
        package("onnxruntime-web")
    npm.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="comes with npm"):
        package("onnxruntime-web")


def test_what_else_is_in_the_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("web.build.package", lambda *_: dict.fromkeys(ORT.values(), b"of onnxruntime-web"))
    others = [tmp_path / "README.md", tmp_path / ".git" / "HEAD"]
    (tmp_path / ".git").mkdir()
    for path in others:
        path.write_text("years of work")
    build(tmp_path)
    (tmp_path / "js" / "former.js").write_text("of an earlier build")
    assert not {"README.md", ".git/HEAD", "js/former.js"} & build(tmp_path).keys()
    assert all(path.read_text() == "years of work" for path in others)
    assert "README" not in (tmp_path / "version.js").read_text()


def test_a_large_file_is_named_by_its_content(tmp_path, monkeypatch):
    """A page that is left from another build does not find the network of this one."""
    names = []
    for runtime in (b"of onnxruntime-web", b"of a later one"):
        monkeypatch.setattr("web.build.package", lambda *_, given=runtime: dict.fromkeys(ORT.values(), given))
        names.append({name for name in build(tmp_path) if name.startswith("large/")})
    before, after = names
    assert len(before) == len(after) == len(LARGE) and len(before & after) == 2
    known = json.loads((tmp_path / "js/settings.js").read_text()[len("export default ") : -2])
    assert set(known["files"].values()) == known["downloads"].keys() == after
    kept = json.loads((tmp_path / "version.js").read_text()[20:-3])
    assert set(kept["LARGE"]) == after and not after & set(kept["FILES"])


def test_files_of_something_else_are_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr("web.build.package", lambda *_: {})
    (tmp_path / "index.html").write_text("years of work")
    with pytest.raises(UserError, match="would be overwritten"):
        build(tmp_path)
    with pytest.raises(UserError, match="needs a folder"):
        build(tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text() == "years of work"


@pytest.mark.parametrize("port", [0, 99_999])
def test_a_port_that_cannot_be_had_is_said_before_anything_is_built(tmp_path, capsys, port):
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(SystemExit, match="1"):
        main(["--out", str(tmp_path / "page"), "--serve", str(port or taken.getsockname()[1])])
    assert "try another --serve" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_an_interrupted_build_does_not_stand_in_the_way_of_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("web.build.package", lambda *_: dict.fromkeys(ORT.values(), b"of onnxruntime-web"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("web.build.settings", interrupt)
        build(tmp_path / "page")
    assert {*COPIED, *GENERATED} <= build(tmp_path / "page").keys()
    assert {path.name.split("-")[0] for path in (tmp_path / "page" / "large").iterdir()} == LARGE
    version = (tmp_path / "page" / "version.js").read_text()
    assert '"js/app.js"' in version and '"version.js"' not in version


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_worker_that_does_not_load_leaves_no_question_open():
    """What is asked before that, and what is asked after."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    script = f"""
        globalThis.ImageBitmap = class {{}};
        let worker;
        globalThis.Worker = class extends EventTarget {{
          constructor() {{ super(); worker = this; }}
          postMessage() {{}}
        }};
        const {{ Predictor }} = await import("{(SOURCE / "js/predictor.js").as_uri()}");
        const predictor = new Predictor(Promise.resolve(), () => {{}});
        const told = (question) => question.catch((error) => console.log(error.message));
        const asked = [told(predictor.ready), told(predictor.predict({{}}))];
        await new Promise(setImmediate);
        worker.dispatchEvent(new Event("error"));
        await Promise.all([...asked, told(predictor.predict({{}}))]);
    """
    told = subprocess.run(
        [node, "--input-type=module", "--eval", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.stdout.splitlines() == ["This browser cannot run the page's module."] * 3, told


# ---------------------------------------------------------------- in a real browser


@pytest.fixture(scope="module")
def bench():
    """The benchmark's helpers: pictures, server, browser."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import web_page
    return web_page


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "below" / "a path"
    try:
        return folder, build(folder, PATIENCE)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def site(built, bench):
    """The page's address, which is not the top of its host, and the sizes of all answers so far."""
    with bench.served(built[0].parents[1]) as (url, sent):
        yield f"{url}below/a%20path/", sent


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, bench):
    folder = tmp_path_factory.mktemp("pictures")
    return folder, bench.write_pictures(folder)


@pytest.fixture(scope="module")
def browser(bench, pictures, astronaut):
    folder, _ = pictures
    bench.write_film(folder / "film.mjpeg", astronaut)
    try:
        with bench.chromium(folder / "film.mjpeg") as browser:
            yield browser
    except FileNotFoundError as error:
        pytest.skip(str(error))


class Visit:
    """A browser's window on the page, with all that it asked for and complained of."""

    def __init__(self, browser, url: str, **options):
        self.url, self.cost = url, 0
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(TIMEOUT)
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.heard)
        self.page.goto(url)
        self.page.wait_for_selector("body.ready")

    def heard(self, said) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    def close(self) -> None:
        width = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        self.context.close()
        assert not self.errors
        assert width <= 0
        host = self.url.split("/below")[0]
        assert self.asked and all(one.startswith((host, "blob:")) for one in self.asked)


def until(page, question: str) -> None:
    """Wait until a script's promise holds true; Playwright's `wait_for_function` takes the promise itself for true."""
    end = time.monotonic() + TIMEOUT / 1000
    while not page.evaluate(question):
        assert time.monotonic() < end, question
        page.wait_for_timeout(200)


@pytest.fixture(scope="module")
def first(browser, site):
    """The first visit, with what it cost."""
    before = len(site[1])
    visit = Visit(browser, site[0])
    visit.page.wait_for_timeout(500)
    visit.cost = sum(site[1][before:])
    yield visit
    visit.close()


@pytest.mark.browser
def test_the_first_load_is_small_and_no_file_comes_twice(first, built):
    assert first.cost <= 8_000_000
    assert first.cost <= 1.05 * sum(built[1].values())


@pytest.mark.browser
def test_the_page_says_what_python_says_of_200_faces(first, bench, pictures):
    predictor = Predictor.load(MODEL)
    rows = []
    for file in pictures[1]:
        faces, said = predictor.predict(file).faces, bench.answers(first.page, file)
        assert len(said) == len(faces), file.name
        rows += bench.compare(said, faces)
    same, differences, words = zip(*rows, strict=True)
    assert sum(same) >= max(200, len(rows) - 2)  # a coordinate may lie between two pixels
    assert max(np.array(differences)[list(same)]) <= 0.002
    assert sum(words) >= sum(same)


@pytest.mark.browser
def test_faces_are_numbered_as_one_reads_and_lead_to_their_cards_and_back(first, portrait, tmp_path):
    page = first.page
    picture = crowd(portrait, columns=3, rows=2)
    Image.fromarray(picture).save(tmp_path / "six.png")
    page.locator("#file").set_input_files(tmp_path / "six.png")
    page.wait_for_selector("#face-6")
    places = [box.bounding_box() for box in page.locator(".box").all()]
    left, top = np.array([(place["x"], place["y"]) for place in places]).reshape(2, 3, 2).transpose(2, 0, 1)
    assert (np.diff(left, axis=1) > 50).all() and (top[1] - top[0] > 50).all()  # two rows of three
    assert page.locator("#status").inner_text() == "6 faces: 6 neutral."
    page.locator(".box").nth(4).click()
    assert page.locator("details[open]").evaluate_all("all => all.map(one => one.id)") == ["face-5"]
    assert page.evaluate("document.activeElement.parentElement.id") == "face-5"
    page.keyboard.press("Tab")  # the slider of the heat map
    heat = page.locator("#face-5 .heat")
    page.keyboard.press("End")
    assert heat.evaluate("one => getComputedStyle(one).opacity") == "1"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # show this face in the picture
    assert {"box", "chosen"} <= set(page.evaluate("document.activeElement.className").split())
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Face 5: neutral")
    shown = page.locator("#face-5 .layers canvas").first.evaluate(
        "one => one.getContext('2d').getImageData(112, 112, 1, 1).data[3]"
    )
    assert shown == 255


@pytest.mark.browser
def test_bad_files_get_a_sentence_and_the_next_one_works(first, tmp_path):
    page = first.page
    (tmp_path / "notes.txt").write_text("This is no picture.\n")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    expected = {
        "notes.txt": "notes.txt is not a picture that this browser can read.",
        "empty.jpg": "empty.jpg is empty: it holds 0 bytes.",
        "phone.heic": "phone.heic is a HEIC photo, which this browser cannot read.",
        "meadow.png": "No face was found in the picture.",
    }
    for name, sentence in expected.items():
        page.locator("#file").set_input_files(tmp_path / name)
        page.locator("#problem", has_text=sentence).wait_for()
        assert page.locator(".card").count() == 0
        page.locator("#examples button").first.click()
        page.wait_for_selector("#face-1")
        assert page.locator("#problem").is_hidden()


@pytest.mark.browser
def test_a_dropped_and_a_pasted_picture_are_answered(first, pictures):
    page = first.page
    for event, place in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.locator("#examples button").first.click()
        page.wait_for_selector("#face-1")
        page.evaluate(
            """async ([event, place]) => {
              const picture = await (await fetch("examples/6.jpg")).blob();
              const data = new DataTransfer();
              data.items.add(new File([picture], "two.jpg", { type: "image/jpeg" }));
              const options = { bubbles: true, cancelable: true, [place]: data };
              const kind = event === "drop" ? DragEvent : ClipboardEvent;
              window.dispatchEvent(new kind(event, options));
            }""",
            [event, place],
        )
        page.wait_for_selector("#face-2")
        assert page.locator("#face-3").count() == 0


@pytest.mark.browser
def test_neither_page_nor_worker_can_ask_another_host(first, site):
    other = site[0].replace("127.0.0.1", "localhost")  # another host by name
    ask = "url => fetch(url, { mode: 'no-cors' }).then(() => 'answered', () => 'refused')"
    assert first.page.evaluate(ask, site[0]) == "answered"
    assert first.page.evaluate(ask, other) == "refused"
    (worker,) = first.page.workers
    assert worker.evaluate(ask, site[0]) == "answered"
    assert worker.evaluate(ask, other) == "refused"
    assert all("Content Security Policy" in error or "Failed to fetch" in error for error in first.errors)
    first.errors.clear()  # these were wanted
    first.asked[:] = [one for one in first.asked if not one.startswith(other.split("/below")[0])]


@pytest.mark.browser
def test_a_webcam_is_answered_and_stops_with_the_tab(first):
    page = first.page
    page.locator("#use-webcam").click()
    page.wait_for_selector("#live-boxes .box")
    page.locator("#live-status", has_text="Face 1: happiness.").wait_for(state="attached")
    assert page.locator("#live-boxes .over tr").count() == 3
    assert page.locator("#live-cards tr").count() == 8
    track = page.locator("#video").evaluate_handle("video => video.srcObject.getTracks()[0]")
    assert track.evaluate("one => one.readyState") == "live"
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
          delete document.hidden;
        }"""
    )
    assert track.evaluate("one => one.readyState") == "ended"
    page.locator("#live-problem", has_text="while the page was hidden").wait_for()
    page.locator("#live-start").click()
    assert page.evaluate("document.activeElement.id") == "use-webcam"  # what had the focus is hidden
    page.wait_for_selector("#live-boxes .box")
    page.locator("#look-closer").click()  # the moment becomes a photo
    page.wait_for_selector("#face-1")
    assert page.evaluate("document.activeElement.id") == "use-webcam"
    assert page.locator("#video").evaluate("video => video.srcObject === null")


@pytest.mark.browser
def test_a_frame_that_cannot_be_judged_is_no_fault_of_the_cameras(first):
    page = first.page
    page.evaluate(
        """async () => {
          const { predictor } = await import("./js/app.js");
          predictor.predict = () => Promise.reject(new Error("no memory"));
          window.mend = () => delete predictor.predict;
        }"""
    )
    page.locator("#use-webcam").click()
    page.locator("#live-problem", has_text="The camera's picture could not be judged (no memory).").wait_for()
    page.evaluate("() => window.mend()")
    page.locator("#live-start").click()
    page.wait_for_selector("#live-boxes .box")
    page.locator("#use-webcam").click()


@pytest.mark.browser
def test_a_camera_that_is_allowed_after_a_stop_is_let_go(first):
    page = first.page
    page.evaluate(
        """() => {
          const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
          media.getUserMedia = async (wanted) => {
            delete media.getUserMedia;
            const stream = await ask(wanted);
            await new Promise((allow) => { window.allow = allow; });
            window.late = stream;
            return stream;
          };
        }"""
    )
    page.locator("#use-webcam").click()
    page.wait_for_function("() => window.allow")
    page.locator("#use-webcam").click()
    page.evaluate("() => window.allow()")
    page.wait_for_function("() => window.late?.getTracks()[0].readyState === 'ended'")
    assert page.locator("#video").evaluate("video => video.srcObject === null")


@pytest.mark.browser
def test_a_camera_that_is_allowed_while_the_page_is_hidden_stays_off(first):
    page = first.page
    page.evaluate(
        """() => {
          const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
          media.getUserMedia = async (wanted) => {
            delete media.getUserMedia;
            window.unseen = await ask(wanted);
            Object.defineProperty(document, "hidden", { value: true, configurable: true });
            return window.unseen;
          };
        }"""
    )
    page.locator("#use-webcam").click()
    page.locator("#live-problem", has_text="while the page was hidden").wait_for()
    assert page.evaluate("() => window.unseen.getTracks()[0].readyState") == "ended"
    page.evaluate("() => delete document.hidden")
    page.locator("#use-webcam").click()


@pytest.mark.browser
def test_an_example_that_comes_late_does_not_take_the_place_of_a_photo(first, pictures):
    page = first.page
    page.evaluate(
        """() => {
          const get = window.fetch;
          window.fetch = async (address) => {
            window.fetch = get;
            await new Promise((go) => { window.go = go; });
            return get(address);
          };
        }"""
    )
    page.locator("#examples button").last.click()  # two people
    page.locator("#file").set_input_files(pictures[1][1])
    page.wait_for_selector("#face-1")
    page.evaluate("async () => { window.go(); await new Promise((go) => setTimeout(go, 500)); }")
    assert page.locator("#picture").get_attribute("alt") == f"Your picture, {pictures[1][1].name}"
    assert page.locator(".card").count() == 1

    page.evaluate(
        """() => {
          const get = window.fetch;
          window.fetch = () => { window.fetch = get; return Promise.reject(new TypeError("no network")); };
        }"""
    )
    page.locator("#examples button").last.click()
    page.locator("#problem", has_text="no network").wait_for()


@pytest.mark.browser
def test_a_later_build_takes_the_place_of_what_the_browser_keeps(browser, built, bench, tmp_path):
    """On a host that has its files kept for a day."""
    shutil.copytree(built[0], tmp_path / "page")
    (classifier,) = (tmp_path / "page" / "large").glob("classifier-*")
    version = tmp_path / "page" / "version.js"
    network = gzip.decompress(classifier.read_bytes())
    kept = """async (end, file) => {
      const name = (await caches.keys()).find((name) => name.endsWith(end));
      const answer = name && await (await caches.open(name)).match(file);
      return answer ? (await answer.arrayBuffer()).byteLength : 0;
    }"""
    asked = f"({kept})('a later one', 'large/{classifier.name}')"
    with bench.served(tmp_path / "page", {"Cache-Control": "max-age=86400"}) as (url, _):
        context = browser.new_context()
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("body.ready")
        classifier.write_bytes(gzip.compress(network, 1))
        text = version.read_text()
        version.write_text(text.replace(json.loads(text[20:-3])["VERSION"], "a later one"))
        page.reload()
        until(page, f"{asked}.then((bytes) => bytes === {classifier.stat().st_size})")
        page.evaluate(
            """async () => {
              await (await navigator.serviceWorker.getRegistration()).unregister();
              for (const name of await caches.keys()) await caches.delete(name);
            }"""
        )
        classifier.write_bytes(gzip.compress(network, 2))
        page.reload()
        until(page, f"{asked}.then((bytes) => bytes === {classifier.stat().st_size})")
        context.close()


@pytest.mark.browser
def test_the_page_works_without_a_network_after_the_first_load(first, bench, pictures, site):
    context = first.context
    kept = first.page.evaluate(
        "caches.keys().then(names => Promise.all(names.map(n => caches.open(n).then(c => c.keys()))))"
    )
    assert len(kept) == 1
    context.set_offline(True)
    before = len(site[1])
    try:
        page = context.new_page()
        page.goto(first.url)
        page.wait_for_selector("body.ready")
        assert len(bench.answers(page, pictures[1][1])) == 1
        page.close()
    finally:
        context.set_offline(False)
    assert len(site[1]) == before


@pytest.mark.browser
def test_it_says_that_it_works_without_a_network_only_where_it_does(first, browser, site):
    first.page.locator("#offline", has_text="the page now works without a network").wait_for()
    visit = Visit(browser, site[0], service_workers="block")  # as at an address without https
    visit.page.wait_for_timeout(1000)
    assert "without a network" not in visit.page.locator("footer").inner_text()
    visit.close()


@pytest.mark.browser
def test_a_page_whose_network_was_replaced_says_so(browser, built, bench, tmp_path):
    shutil.copytree(built[0], tmp_path / "page")
    (classifier,) = (tmp_path / "page" / "large").glob("classifier-*")
    classifier.rename(classifier.with_name("classifier-0123456789ab.gzip"))
    with bench.served(tmp_path / "page") as (url, _):
        page = browser.new_page()
        page.goto(url)
        page.locator("#loading-text", has_text=f"{classifier.name} could not be loaded (404)").wait_for(timeout=TIMEOUT)
        page.close()


@pytest.mark.browser
def test_a_file_that_could_not_be_kept_at_first_is_kept_later(first):
    """A service worker that is installed slowly sees none of the large files come."""
    page = first.page
    lost = page.evaluate(
        """async () => {
          const cache = await caches.open((await caches.keys())[0]);
          const [file] = (await cache.keys()).filter(({ url }) => url.includes("large/classifier"));
          await cache.delete(file);
          return file.url;
        }"""
    )
    assert not page.evaluate("url => caches.match(url).then(Boolean)", lost)
    page.evaluate("import('./js/offline.js').then(({ keepTheRest }) => keepTheRest())")
    until(page, f"caches.match('{lost}').then(Boolean)")


@pytest.mark.browser
def test_the_page_can_be_used_while_the_service_worker_is_awaited(browser, site, pictures):
    context = browser.new_context()
    context.add_init_script(
        "navigator.serviceWorker.register = () => new Promise((go) => { window.go = () => go({}); });"
    )
    page = context.new_page()
    page.goto(site[0])
    page.wait_for_function("() => window.go && document.querySelectorAll('#examples button').length")
    page.locator("#file").set_input_files(pictures[1][1])
    page.wait_for_function("() => !document.querySelector('#photo').hidden")
    assert not page.evaluate("document.body.classList.contains('ready')")
    page.evaluate("navigator.serviceWorker.dispatchEvent(new Event('controllerchange')); window.go();")
    page.wait_for_selector("body.ready")
    page.wait_for_function("() => document.querySelector('#photo').innerText.includes('Face 1')")
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(browser, site, tmp_path, portrait, scheme, width):
    try:
        axe = package("axe-core", PATIENCE)["axe.min.js"].decode()
    except UserError as error:
        pytest.skip(str(error))
    Image.fromarray(crowd(portrait, columns=3, rows=2)).save(tmp_path / "six.png")
    (tmp_path / "notes.txt").write_text("This is no picture.\n")
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme, "reduced_motion": "reduce"}
    visit = Visit(browser, site[0], bypass_csp=True, **options)
    page = visit.page
    page.evaluate(axe)

    def serious() -> list[str]:
        found = page.evaluate("axe.run()")["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]

    assert not serious()
    page.locator("#file").set_input_files(tmp_path / "six.png")
    page.wait_for_selector("#face-6")
    page.locator(".box").nth(1).click()
    assert not serious()
    page.locator("#file").set_input_files(tmp_path / "notes.txt")
    page.wait_for_selector("#problem:not([hidden])")
    assert not serious()
    page.locator("#use-webcam").click()
    page.wait_for_selector("#live-boxes .box")
    assert not serious()
    visit.close()
