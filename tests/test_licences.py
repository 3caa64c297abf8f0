"""Nothing in the package or in what it depends on is for non-commercial use only."""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
FREE = r"MIT|BSD|Apache|ISC|MPL|Mozilla|PSF|Python Software Foundation|Zlib|CC0"
COPYLEFT = r"\bA?GPL|Affero|GNU General Public"
RESTRICTED = r"non-?\s?commercial|\bBY-NC\b|\bNC-SA\b|(research|academic|educational|personal)( use| purposes)? only"
WEIGHTS = (
    *(".dat", ".onnx", ".pth", ".pt", ".tflite", ".h5", ".safetensors", ".caffemodel", ".pb", ".bin", ".ckpt"),
    *(".npz", ".pkl", ".keras", ".task"),
)
#: Whose licence is none of `FREE`, and why it may be there.
OTHERS = {
    "codespell": "GPL-2.0: a tool of developers, run and not imported",
    "cuda-toolkit": "an empty package that names NVIDIA's",
    "docutils": "public domain and BSD; the GPL is of its Emacs mode alone, which is not installed",
    **dict.fromkeys(
        ("cublas", "cuda-cupti", "cuda-nvrtc", "cuda-runtime", "cudnn-cu13", "cufft", "cufile", "curand", "cusolver",
         "cusparse", "cusparselt-cu13", "nccl-cu13", "nvjitlink", "nvshmem-cu13"),
        "NVIDIA's libraries, which PyTorch brings along on Linux: proprietary, free of charge, for work too",
    ),
}  # fmt: skip
#: Files of a megabyte and more that may be weights of a model, and are not.
DATA = {"onnx": "arrays of its tests", "scikit-image": "a map of depths", "scipy": "tables of its tests"}


def asked_for() -> list[str]:
    """The requirements of the package with all its extras, and those of the requirements files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [line for lines in (project["dependencies"], *project["optional-dependencies"].values()) for line in lines]
    for half in ("-app", ""):
        lines = (ROOT / f"requirements{half}.txt").read_text().splitlines()
        found += [line.split("#")[0].strip() for line in lines if re.match(r"\w[\w.-]*==", line)]
    return found


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """What is installed of some requirements, and of theirs, and so on."""
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    left = [(Requirement(line), frozenset({""})) for line in requirements]
    while left:
        one, extras = left.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        key = (name, frozenset(one.extras))
        if name == "ferlib" or key in found:
            continue
        if one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            continue  # not of this half, or not of this system
        left += [(Requirement(line), frozenset({"", *one.extras})) for line in found[key].requires or []]
    return {name: own for (name, _), own in found.items()}


def problems(name: str, own: Distribution) -> list[str]:
    """What speaks against a distribution: its licence, or weights whose licence nobody has looked at."""
    said = {
        key: own.metadata.get_all(key) or [""] for key in ("License-Expression", "License", "Summary", "Classifier")
    }
    classifiers = [line for line in said["Classifier"] if line.startswith("License")]
    stated = [*said["License-Expression"], said["License"][0][:200], *classifiers]
    words, found = " | ".join(stated), []
    if re.search(RESTRICTED, " | ".join([*stated, *said["Summary"]]), re.IGNORECASE):
        found.append(f"{name} is for some uses only: {words}")
    known = name in OTHERS or name.removeprefix("nvidia-") in OTHERS
    if not known and (re.search(COPYLEFT, words) or not re.search(FREE, words + _licence_file(own))):
        found.append(f"{name} has a licence that is not on the list: {words}")
    for file in own.files or []:
        if name in DATA or file.suffix not in WEIGHTS:
            continue
        path = Path(str(file.locate()))
        if path.is_file() and path.stat().st_size >= 1e6:
            found.append(f"{name} brings {file}, which may be the weights of a model; under which licence are they?")
    return found


def _licence_file(own: Distribution) -> str:
    """The beginning of the licence's text, where a distribution has one."""
    files = [file for file in own.files or [] if re.match(r"(licen[cs]e|copying)", file.name, re.IGNORECASE)]
    return files[0].read_text()[:300] if files else ""


def test_no_dependency_is_for_some_uses_only():
    installed = closure(asked_for())
    assert {"numpy", "onnxruntime", "gradio", "torch", "pillow"} <= installed.keys() and len(installed) > 100
    found = [line for name, own in installed.items() for line in problems(name, own)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("metadata", "file", "said"),
    [
        ("License: MIT", "net.py", None),
        ("License: CC BY-NC 4.0", "net.py", "for some uses only"),
        ("License-Expression: AGPL-3.0-or-later", "net.py", "not on the list"),
        ("License: MIT\nSummary: Faces, for research use only", "net.py", "for some uses only"),
        ("License: CC0-1.0", "shape_predictor_68_face_landmarks.dat", "under which licence"),  # as its package says
        ("Summary: Nothing is said", "net.py", "not on the list"),
    ],
)
def test_a_dependency_of_another_kind_would_be_found(tmp_path, metadata, file, said):
    info = tmp_path / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n{metadata}\n")
    (tmp_path / file).write_bytes(bytes(1_000_000))
    (info / "RECORD").write_text(f"{file},,\n")
    found = problems("thing", PathDistribution(info))
    assert any(said in line for line in found) if said else not found, found


def test_every_shipped_model_has_a_card_with_a_free_licence():
    models = [path for path in ROOT.glob("ferlib/**/*") if path.suffix in WEIGHTS]
    assert len(models) > 8
    for path in models:
        card = (path.parent / "README.md").read_text()
        licence = re.match(r"---\n(?:.*\n)*?license: (\S+)\n(?:.*\n)*?---\n", card)
        assert licence and licence[1] == "apache-2.0", f"the card beside {path.relative_to(ROOT)} names no free licence"
