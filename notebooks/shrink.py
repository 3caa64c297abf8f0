"""Reduce the pictures in notebooks to 256 colours, to a third of their bytes: `python notebooks/shrink.py FILE ...`"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

COLOURS = 256


def shrunk(png: str) -> str:
    """A PNG in base64 with fewer colours, or as it was where that is no gain."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        buffer = io.BytesIO()
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    small = base64.b64encode(buffer.getvalue()).decode()
    return small if len(small) < len(png) else png


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = shrunk(output["data"]["image/png"])
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
