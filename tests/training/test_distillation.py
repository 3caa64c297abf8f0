"""Targets with a teacher's answers in them."""

import shutil
from pathlib import Path

import pytest
import torch

from ferlib.data.dataset import DataError
from ferlib.errors import UserError
from ferlib.models.registry import build_model, create_model, load_model
from ferlib.predict import Predictor
from ferlib.training import distillation
from ferlib.training.distillation import distillation_targets, teacher_answers
from ferlib.training.loop import fit
from ferlib.training.recipes import RECIPES


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, synthetic_faces):
    """Folders of two models with weights of their own."""
    folders = [tmp_path_factory.mktemp("teacher") for _ in range(2)]
    settings = {"classes": synthetic_faces.classes, "grey": True, "downscale_to": 48, "input_size": 64, "width": 16}
    for folder in folders:
        create_model("convcut", backbone="test_convnext", keep_stages=2, **settings).save_pretrained(str(folder))
    return folders


@pytest.fixture(scope="module")
def teacher(teachers):
    return teachers[0]


def test_the_answers_for_a_face_and_its_mirror_image_are_mixed_into_the_labels(teacher, synthetic_faces):
    part = synthetic_faces.split("validation")
    mixed = distillation_targets(part.labels(), part, teacher, 0.25)
    predictor = Predictor.load(teacher)
    faces = [face[0].numpy() for face in part.pixels]
    answers = sum(predictor.classify(pixels)[0] for pixels in (faces, [face[:, ::-1].copy() for face in faces])) / 2
    for row, label, answer in zip(mixed, part.labels(), torch.from_numpy(answers), strict=True):
        expected = 0.25 * answer
        expected[label] += 0.75
        assert row.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_several_teachers_answer_with_their_mean(teachers, synthetic_faces):
    part = synthetic_faces.split("validation")
    first, second = (distillation_targets(part.labels(), part, one, 1.0) for one in teachers)
    assert (first - second).abs().max() > 1e-3
    both = distillation_targets(part.labels(), part, ",".join(map(str, teachers)), 1.0)
    assert (both - (first + second) / 2).abs().max() < 1e-6


def test_a_teacher_is_asked_once(teachers, synthetic_faces, monkeypatch):
    part = synthetic_faces.split("validation")
    first, second = (teacher_answers(load_model(folder), part) for folder in teachers)
    monkeypatch.setattr(distillation, "run_model", None)
    for folder, answers in zip(teachers, (first, second), strict=True):
        assert torch.equal(teacher_answers(load_model(folder), part), answers)
    with pytest.raises(TypeError):  # other faces: it would have to be asked
        teacher_answers(load_model(teachers[0]), synthetic_faces.split("test"))


def test_a_student_goes_on_with_the_same_teacher(teachers, synthetic_faces, tmp_path, monkeypatch):
    teacher = Path(shutil.copytree(teachers[0], tmp_path / "teacher"))
    small = {"widths": (4, 8, 8, 8), "hidden": 16, "classes": synthetic_faces.classes, "epochs": 1}
    recipe = RECIPES["ivsa"].override(small | {"teacher": str(teacher), "teacher_fraction": 0.5})
    model = build_model(recipe.config)
    fit(model, synthetic_faces, recipe, tmp_path / "run")
    monkeypatch.setattr(distillation, "teacher_answers", None)  # it must not be asked before the folder is looked at
    with pytest.raises(FileExistsError):
        fit(model, synthetic_faces, recipe, tmp_path / "run")
    shutil.copyfile(teachers[1] / "model.safetensors", teacher / "model.safetensors")
    with pytest.raises(UserError, match="was started otherwise: teachers"):
        fit(model, synthetic_faces, recipe, tmp_path / "run", resume=True)


def test_votes_stay_distributions(teacher, synthetic_faces):
    part = synthetic_faces.split("validation")
    votes = torch.rand(len(part), len(part.classes)).softmax(dim=1)
    mixed = distillation_targets(votes, part, teacher, 0.5)
    assert mixed.sum(dim=1) == pytest.approx(torch.ones(len(part)), abs=1e-5)
    assert torch.equal(distillation_targets(votes, part, teacher, 0.0), votes)


def test_a_teacher_must_know_the_same_classes(synthetic_faces):
    with pytest.raises(DataError, match="the teacher convcut_ferplus has the classes"):
        distillation_targets(synthetic_faces.labels(), synthetic_faces, "convcut_ferplus", 0.5)


def test_a_teacher_that_answers_for_a_batch_is_refused(synthetic_faces, tmp_path):
    settings = {"classes": synthetic_faces.classes, "grey": True, "input_size": 64, "width": 16, "attention": "batch"}
    create_model("convcut", backbone="test_convnext", keep_stages=2, **settings).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="answers for a batch, not for a face"):
        distillation_targets(synthetic_faces.labels(), synthetic_faces, tmp_path, 0.5)


def test_a_method_for_hard_targets_takes_no_teacher():
    with pytest.raises(ValueError, match="no teacher"):
        RECIPES["convcut"].override({"teacher": "convcut_ferplus", "method": "ldam"})
    with pytest.raises(ValueError, match="teacher_fraction must be at least 0 and at most 1"):
        RECIPES["convcut"].override({"teacher_fraction": 1.5})


def test_right_answers_are_counted_by_the_data_and_not_by_the_teacher(teacher, synthetic_faces, tmp_path):
    """The teacher is untrained; a student that learns nothing but its answers knows few of the classes."""
    small = {"widths": (4, 8, 8, 8), "hidden": 16, "classes": synthetic_faces.classes, "epochs": 1, "augment": "none"}
    counted = {}
    for share in (0.0, 1.0):
        taught = {"teacher": str(teacher), "teacher_fraction": share, "lr": 1e-30}  # the network stays as it is
        recipe = RECIPES["ivsa"].override(small | taught)
        torch.manual_seed(0)
        history = fit(build_model(recipe.config), synthetic_faces, recipe, tmp_path / str(share))
        counted[share] = history["train_accuracy"].tolist()
    assert counted[0.0] == counted[1.0]
