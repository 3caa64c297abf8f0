"""The answers for programs, every field explained: they make the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, Field

from ferlib.detection.quality import WARNINGS

Probability = Annotated[float, Field(ge=0, le=1)]
MEANINGS = "; ".join(f"`{name}`: {meaning}" for name, meaning in WARNINGS.items())


class FaceAnswer(BaseModel):
    """One face and what the model says about it."""

    number: int = Field(description="From 1, in the order of the faces.", examples=[1])
    box: tuple[int, int, int, int] = Field(
        description="The square x0, y0, x1, y1 that the model saw, in pixels of the upright photo; may stick out.",
        examples=[[167, 77, 375, 285]],
    )
    label: str = Field(description="The most probable class.", examples=["happiness"])
    margin: Probability = Field(description="How far it is ahead of the second class: small means undecided.")
    scores: dict[str, Probability] = Field(
        description="The probability of every class, the most probable first; their sum is 1.",
        examples=[{"happiness": 0.9, "neutral": 0.1}],
    )
    warnings: list[Annotated[str, Field(json_schema_extra={"enum": [*WARNINGS]})]] = Field(
        description=f"What makes the answer doubtful. {MEANINGS}"
    )
    coverage: Probability | None = Field(
        None, description="How often sets like `prediction_set` hold the true class; null: the model has none."
    )
    prediction_set: list[str] | None = Field(
        None, description="Classes that the face may have, the most probable first.", examples=[["sadness", "neutral"]]
    )
    answer: str | None = Field(
        None,
        description="The set in words: a class, two, or `cannot say` where it has more or none.",
        examples=["sadness or neutral"],
    )
    sentence: str = Field(
        description="All this in English.", examples=["Face 1: happiness, 90 %, well ahead of neutral (10 %)."]
    )
    looked_at: dict[str, Probability] | None = Field(
        None, description="The part of the heat map on each part of the face; null without `explain` or landmarks."
    )
    overlay: str | None = Field(
        None, description="The heat map over the face, 224 × 224 pixels, as a data URL (JPEG); null without `explain`."
    )


class PhotoAnswer(BaseModel):
    """The faces of a photo."""

    image: str = Field(description="The photo's name, as far as it was given.", examples=["photo.jpg"])
    model: str = Field(description="The model that answered.", examples=["convcut_ferplus"])
    size: tuple[int, int] = Field(description="Width and height of the upright photo in pixels.", examples=[[512, 600]])
    error: str | None = Field(description="Null, or why there are no faces.", examples=[None])
    faces: list[FaceAnswer] = Field(description="In reading order, rows first; empty where none was found.")


class Interval(BaseModel):
    """A figure with its 95 % interval."""

    value: float = Field(description="The figure.", examples=[0.88])
    low: float = Field(description="The lower end of its 95 % interval.", examples=[0.87])
    high: float = Field(description="The upper end.", examples=[0.89])


class ModelAnswer(BaseModel):
    """A model to choose."""

    name: str = Field(description="What it is asked for by.", examples=["convcut_ferplus"])
    classes: list[str] = Field(description="Expressions it tells apart, in the order of its output.")
    methods: list[str] = Field(description="Ways in which it can explain an answer: for `explain`.")
    coverages: list[float] = Field(description="Coverages of its prediction sets: for `coverage`.")
    test: dict[str, Interval] | None = Field(
        description="Figures on the test faces of its data set; null where they were not measured."
    )
