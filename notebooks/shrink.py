"""Reduce the bytes of the pictures in notebooks: `python notebooks/shrink.py FILE ...`

A chart has few colours and stays a PNG, of 256 of them. Faces and heat maps have many, and steps would show where 256
have to do: they become JPEGs.
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from PIL import Image

COLOURS = 256
MANY = 10_000  # colours of a picture that has faces in it; smooth edges of letters and lines come to some thousands
QUALITY = 80  # of a JPEG


def shrunk(png: str) -> tuple[str, str]:
    """MIME type and base64 of a smaller picture for a PNG in base64, or of the PNG itself where that is no gain."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as opened:
        picture = opened.convert("RGB")
    buffer = io.BytesIO()
    if picture.getcolors(MANY) is None:
        kind = "image/jpeg"
        picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    else:
        kind = "image/png"
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    small = base64.b64encode(buffer.getvalue()).decode()
    return (kind, small) if len(small) < len(png) else ("image/png", png)


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                if "image/png" in output.get("data", {}):
                    kind, small = shrunk(output["data"].pop("image/png"))
                    output["data"][kind] = small
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
