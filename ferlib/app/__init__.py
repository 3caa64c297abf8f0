"""The page in the browser: its layout, the gate before it, and the service that judges photos."""

import os

from ferlib.app.gradio_import import without_stubs

# before anything imports Gradio: nothing here talks to another machine
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Gradio sums up its last 10,000 requests after each one, for a page of figures that is switched off here
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"

without_stubs()
