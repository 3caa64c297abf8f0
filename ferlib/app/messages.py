"""Sentences for visitors, in plain English."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ferlib.detection.quality import WARNINGS
from ferlib.names import display_name
from ferlib.results import CANNOT_SAY, FacePrediction, ImagePrediction

if TYPE_CHECKING:
    from ferlib.evaluation.report_format import Report

UNDECIDED, AHEAD, WELL_AHEAD = 0.1, 0.3, 0.5  # margins between the first and the second class
SMALLEST_PART = 0.005  # of the picture; below, a share for the size says nothing
PARTS = {"other face": "the rest of the face", "outside": "what lies around the face"}  # the others: "the mouth" ...

#: What the colours of an explanation method mean, and what it is called. (ferlib.explain.METHODS)
METHOD_MEANINGS = {
    "gradcam": "Red is where the picture speaks most for the answer, blue where it hardly counts.",
    "gradcam++": "As Grad-CAM, weighing every position by itself, so that several places can be red.",
    "hirescam": "Red is where the features of the picture add most to the answer, position by position.",
    "layercam": "Red is where the features are strong and more of them would speak for the answer.",
    "eigencam": "Red is where the features vary most together; it does not know the answer.",
    "scorecam": "Red is what, shown alone, keeps the answer most probable. No gradients; slow.",
    "gradient": "Red is where changing a pixel a little would change the answer most.",
    "smoothgrad": "The gradient, averaged over noisy copies of the face.",
    "integrated_gradients": "Red is what the answer gains on the way from a grey picture to this face.",
    "attention": "Red is where the model's attention layer looks; it does not know the answer.",
}
METHOD_TITLES = {name: display_name(name) for name in METHOD_MEANINGS} | {"attention": "the model's own attention"}


def percent(probability: float) -> str:
    """0.914 -> "91 %"; what is not quite nothing or everything does not become it by rounding."""
    if 0 < probability < 0.005:
        return "under 1 %"
    if 0.995 < probability < 1:
        return "over 99 %"
    return f"{probability * 100:.0f} %"


def points(difference: float) -> str:
    """0.43 -> "43 percentage points", rounded as `percent` does."""
    number = percent(difference).removesuffix(" %")
    return f"{number} percentage point{'s' * (number not in ('1', 'under 1'))}"


def ranked(face: FacePrediction) -> list[tuple[str, float]]:
    """The classes of a face with their probabilities, the most probable first."""
    return sorted(face.scores.items(), key=lambda item: -item[1])


def is_undecided(face: FacePrediction) -> bool:
    """True if a face is named no expression: two are as good, or its prediction set says too little."""
    return face.margin < UNDECIDED or face.answer == CANNOT_SAY


def shown_as(face: FacePrediction) -> str:
    """A face's first class, or "cannot say": whose colour it has, and what a summary counts it as."""
    return CANNOT_SAY if is_undecided(face) else face.label


def sentence(number: int, face: FacePrediction) -> str:
    """A face's result in one sentence: "Face 1: happiness, 91 %, well ahead of neutral (5 %)." """
    (first, score), (second, runner_up) = ranked(face)[:2]
    if face.margin < UNDECIDED:
        return f"Face {number}: undecided between {first} ({percent(score)}) and {second} ({percent(runner_up)})."
    if is_undecided(face):
        return f"Face {number}: cannot say, {first} ({percent(score)}) before {second} ({percent(runner_up)})."
    distance = "well ahead" if face.margin >= WELL_AHEAD else "ahead" if face.margin >= AHEAD else "somewhat ahead"
    return f"Face {number}: {first}, {percent(score)}, {distance} of {second} ({percent(runner_up)})."


def whole_sentence(number: int, face: FacePrediction) -> str:
    """A face's result in one sentence, and after it one on its prediction set and one for each of its warnings."""
    return " ".join([sentence(number, face), *set_in_words(face), *doubts(face)])


def summary(faces: Sequence[FacePrediction]) -> str:
    """ "52 faces: 31 happiness, 20 neutral, 1 cannot say." """
    if len(faces) == 1:
        return "One face found."
    counts = Counter(map(shown_as, faces))
    order = sorted(counts, key=lambda name: (name == CANNOT_SAY, -counts[name]))
    return f"{len(faces)} faces: {', '.join(f'{counts[name]} {name}' for name in order)}."


def set_in_words(face: FacePrediction) -> list[str]:
    """A sentence on the face's prediction set, where it has one: "At 90 % coverage: sadness or neutral." """
    if face.prediction_set is None or face.coverage is None:
        return []
    answer = face.answer
    if answer == CANNOT_SAY and face.prediction_set:
        answer += f", it could be {', '.join(face.prediction_set[:-1])} or {face.prediction_set[-1]}"
    return [f"At {percent(face.coverage)} coverage: {answer}."]


def doubts(face: FacePrediction) -> list[str]:
    """A sentence for each of a face's warnings."""
    return [WARNINGS[name] for name in face.warnings]


def where_it_looked(face: FacePrediction) -> str | None:
    """ "Looked at most, for its size: the mouth, 48 % of the heat map on 12 % of the picture."; None without landmarks.

    For its size, because any map has its largest share on the largest part, the cheeks and the forehead.
    """
    seen = {part: (share, area) for part, (share, area) in (face.parts or {}).items() if area >= SMALLEST_PART}
    if not seen:
        return None
    part, (share, area) = max(seen.items(), key=lambda item: item[1][0] / item[1][1])
    name = PARTS.get(part, f"the {part}")
    return f"Looked at most, for its size: {name}, {percent(share)} of the heat map on {percent(area)} of the picture."


def agreement(faces: Sequence[FacePrediction], names: Sequence[str]) -> str:
    """Two models on one face: "Both say fear.", or "Standard is undecided, IVSA says disgust." """
    said = ["" if is_undecided(face) else face.label for face in faces]
    if said[0] == said[1]:
        return f"Both say {said[0]}." if said[0] else "Both are undecided."
    if all(said):
        return f"They disagree: {' and '.join(said)}."
    words = (f"{name} {f'says {label}' if label else 'is undecided'}" for name, label in zip(names, said, strict=True))
    return f"{', '.join(words)}."


def in_brief(title: str, report: "Report") -> list[str]:
    """Five lines on a released model, from its report on test faces (Markdown)."""
    values = {name: metric["value"] for name, metric in report["metrics"].items()}
    accuracy = report["metrics"]["accuracy"]
    recalls = {name: row["recall"] for name, row in report["per_class"].items()}
    best, worst = max(recalls, key=recalls.__getitem__), min(recalls, key=recalls.__getitem__)
    calibration = (
        f"Its probabilities are {values['ece'] * 100:.1f} percentage points off on average (calibration error)."
        if "ece" in values
        else "How far off its probabilities are was not measured since it was calibrated last."
    )
    return [
        f"**{title}** knows {len(recalls)} expressions and looks at one face at a time.",
        f"It is right for **{percent(values['accuracy'])}** of {report['faces']:,} test faces of "
        f"{display_name(report['data'])} that it was not trained on "
        f"({percent(accuracy['low'])} to {percent(accuracy['high'])} with 95 % confidence).",
        f"Each expression counting alike it is {percent(values['balanced_accuracy'])}: best at {best} "
        f"({percent(recalls[best])} found), worst at {worst} ({percent(recalls[worst])}).",
        calibration,
        "Not for judging people: an expression in a picture is not a feeling, and the model errs. "
        "Whether it errs more for some groups of people was not measured; such models are known to.",
    ]


def as_data(result: ImagePrediction) -> dict:
    """A result for programs: `ImagePrediction.to_dict`, and of every face a sentence and where the model looked."""
    data = result.to_dict()
    for number, (entry, face) in enumerate(zip(data["faces"], result.faces, strict=True), start=1):
        entry["sentence"] = whole_sentence(number, face)
        parts = face.parts or {}
        entry["looked_at"] = {part: fraction for part, (fraction, _) in parts.items()} or None
    return data
