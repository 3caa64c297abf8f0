"""Small pages inside the notebooks: each builds one `gradio.Blocks`, which `ferlib.app.blocks.inline.show` shows.

Photos that are put into them lie in a folder that goes with the notebook's process.
"""

import atexit
import os
from contextlib import ExitStack

from ferlib.app.cleanup import KEEP_FILES, upload_folder

if "GRADIO_TEMP_DIR" not in os.environ:  # before anything imports Gradio
    _process = ExitStack()
    os.environ["GRADIO_TEMP_DIR"] = str(_process.enter_context(upload_folder(KEEP_FILES)))
    atexit.register(_process.close)
