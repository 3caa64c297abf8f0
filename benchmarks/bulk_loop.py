"""The plain loop beside bulk prediction, a line of JSON a photo: `python benchmarks/bulk_loop.py FOLDER`"""

import json
import sys
import tempfile
from pathlib import Path

from ferlib.predict import Predictor
from ferlib.utils.files import find_pictures


def main(folder: Path) -> None:
    predictor = Predictor.load()
    with tempfile.TemporaryFile("w") as file:
        for path in find_pictures(folder):
            file.write(json.dumps(predictor.predict(path).to_dict()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
