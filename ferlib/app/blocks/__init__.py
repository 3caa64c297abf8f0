"""Small pages inside the notebooks: each builds one `gradio.Blocks`, which `ferlib.app.blocks.inline.show` shows."""
