"""The service behind the page."""

import threading
import time

import pytest
from PIL import Image

from ferlib.app.batching import BatchingPredictor
from ferlib.app.budget import Budget
from ferlib.app.service import CLOSED, FULL, NoAnswer, Service
from ferlib.app.uploads import Upload
from ferlib.models.registry import create_model
from ferlib.predict import Predictor


@pytest.fixture(scope="module")
def service():
    service = Service(queue_size=2)
    service.load()
    return service


def look(service, *arguments, **settings):
    with service.look(*arguments, **settings) as (result,):
        return result


def test_it_answers_as_the_predictor_does(service, portrait):
    with service.look(portrait, explain="gradcam") as (result,):
        assert service.inside == 1
    truth = Predictor.load().predict(portrait, "gradcam")
    assert [face.box for face in result.faces] == [face.box for face in truth.faces]
    assert result.faces[0].scores == pytest.approx(truth.faces[0].scores, abs=1e-5)
    assert service.inside == 0 and service.health()["status"] == "ok"


def test_two_models_judge_the_same_faces(service, portrait):
    with service.look(portrait, "convcut_ferplus", "ivsa_fer2013", explain="gradcam") as (first, second):
        pass
    assert [face.box for face in first.faces] == [face.box for face in second.faces]
    assert len(first.faces[0].scores) == 8 and len(second.faces[0].scores) == 7
    assert all(face.heatmap is not None for result in (first, second) for face in result.faces)


def test_a_model_for_faces_of_another_size_is_among_neighbours_too(service, portrait, monkeypatch):
    small = create_model("convcut", backbone="test_convnext", keep_stages=2, input_size=64, width=16, downscale_to=40)
    predictor = BatchingPredictor(small)
    assert predictor.classifier.side == 40
    monkeypatch.setattr(service, "predictor", lambda: predictor)
    found = service.among_neighbours(portrait)
    assert len(found.rows) == 6 and {picture.shape for row in found.rows for picture in row.pictures} == {(48, 48, 3)}
    for row in found.rows:
        assert list(row.honest.values()) == pytest.approx(list(found.rows[0].honest.values()), abs=1e-5)


def test_a_bad_picture_is_an_answer(service):
    assert look(service, None).error == "No picture was given."


@pytest.mark.parametrize(
    ("model", "method", "said"), [("gpt", None, "There is no model 'gpt'"), (None, "tea", "unknown explanation")]
)
def test_what_there_is_not_is_one_sentence(service, portrait, model, method, said):
    with pytest.raises(ValueError, match=said):
        look(service, portrait, model, explain=method)
    assert service.inside == 0


def test_a_full_queue_refuses_politely_and_lets_the_next_one_in(service, portrait):
    with service.place(), service.place():
        with pytest.raises(NoAnswer, match=FULL):
            look(service, portrait)
        assert service.health()["inside"] == 2
    assert look(service, portrait).faces


def test_no_model_that_mixes_its_batch_is_offered(service):
    assert service.models and not any(one.model.mixes_batch for one in service.models.values())


def test_no_name_is_the_default_model(service):
    assert service.predictor("") is service.predictor(None) is next(iter(service.models.values()))


def test_cards_have_text_and_report(service):
    card, report = service.card("ivsa_fer2013")
    assert card.startswith("# ivsa_fer2013") and report["metrics"]["accuracy"]["value"] > 0.5
    with pytest.raises(ValueError, match="no model"):
        service.card("gpt")


def test_before_it_is_loaded_it_says_so_and_requests_wait(portrait):
    service = Service()
    assert service.health()["status"] == "loading"
    found = []
    thread = threading.Thread(target=lambda: found.append(look(service, portrait)))
    thread.start()
    time.sleep(0.2)
    assert not found
    service.load()
    thread.join(60)
    assert found[0].faces


@pytest.mark.parametrize("damage", ["nothing there", "truncated", "no config"])
def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path, damage):
    from ferlib.models.registry import load_model

    folder = tmp_path / "model"
    if damage != "nothing there":
        load_model("convcut_ferplus").save_pretrained(str(folder))
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000]) if damage == "truncated" else (folder / "config.json").unlink()
    failed = []
    service = Service(str(folder), failed=lambda: failed.append(True))
    service.load()
    assert failed and isinstance(service.error, ValueError) and str(folder) in str(service.error)
    assert service.health()["status"] == "failed"


def test_closing_waits_for_those_inside(portrait):
    service = Service()
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with service.place():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait(30)
    assert not service.close(patience=0.05)
    with pytest.raises(NoAnswer, match=CLOSED):
        look(service, portrait)
    threading.Timer(0.1, leave.set).start()
    assert service.close(patience=30)
    thread.join()


def test_photos_are_unfolded_only_as_far_as_their_pixels_have_room(tmp_path, portrait):
    """Four uploads of 0.3 megapixels where 0.4 may be unfolded: one at a time, though all have a place inside."""
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    service = Service(queue_size=4)
    service.load()
    service._pixels = Budget(400_000)
    lock, inside, most, found = threading.Lock(), 0, 0, []

    def visit():
        nonlocal inside, most
        with service.look(Upload(tmp_path, str(tmp_path / "photo.png"))) as (result,):
            with lock:
                inside, most = inside + 1, max(most, inside + 1)
            time.sleep(0.05)
            found.extend(result.faces)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and most == 1 and service._pixels.free == 400_000


def test_a_photo_waits_for_room_only_so_long(tmp_path, portrait, service, monkeypatch):
    Image.fromarray(portrait).save(tmp_path / "photo.png")
    monkeypatch.setattr("ferlib.app.service.UNFOLDING", 0.05)
    with service._pixels.hold(service._pixels.total, 1), pytest.raises(NoAnswer, match=FULL):
        look(service, Upload(tmp_path, str(tmp_path / "photo.png")))
    assert service.inside == 0


def test_a_queue_needs_a_place():
    with pytest.raises(ValueError, match="at least one place"):
        Service(queue_size=0)
