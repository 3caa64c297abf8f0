"""What tests ask of any figure."""

import json

import plotly.graph_objects as go


def written(figure: go.Figure) -> dict:
    """The figure as a browser gets it."""
    return json.loads(figure.to_json())


def titles(figure: go.Figure) -> list[str]:
    """The texts of its annotations, subplot titles among them."""
    return [note.text for note in figure.layout.annotations]
