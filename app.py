"""The browser demo: a photo in, every face in it boxed, numbered and explained.

    python app.py                 then open http://127.0.0.1:7860
    python app.py --model runs/mine/best --port 8000

The same as `ferlib app`; the page is in `ferlib/app/page.py`.
"""

import sys
from collections.abc import Sequence

from ferlib import cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C; returns the exit code."""
    return cli.main(["app", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
