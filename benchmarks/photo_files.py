"""Real photos as files, for the benchmarks of the app: facial_expressions, and portraits in the public domain."""

from pathlib import Path

from PIL import Image

from ferlib.data.facial_expressions import read_legend
from ferlib.data.registry import dataset_folder


def facial_expressions(count: int, seed: int = 0) -> list[Path]:
    """So many photos of facial_expressions, drawn at random. The set was in no way used for training."""
    folder = dataset_folder("facial_expressions")
    return [folder / "images" / name for name in read_legend(folder).sample(count, random_state=seed)["file"]]


def portraits(folder: Path) -> list[Path]:
    """Grace Hopper (US Navy, from matplotlib) and Eileen Collins (NASA, from scikit-image), written into a folder."""
    from matplotlib.cbook import get_sample_data
    from skimage.data import astronaut

    hopper, collins = folder / "grace_hopper.jpg", folder / "eileen_collins.jpg"
    hopper.write_bytes(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)).read_bytes())
    Image.fromarray(astronaut()).save(collins, quality=95)
    return [hopper, collins]
