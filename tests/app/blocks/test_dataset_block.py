"""Chapter 1's data browser, asked as a visitor would: by its API, while it runs."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ferlib.app.blocks.dataset import ALL, MODEL, SHOWN, STORED, VOTES, Album, dataset_page, entropy
from ferlib.data.dataset import FaceDataset
from ferlib.data.registry import load_dataset
from ferlib.models.registry import load_model

pytest.importorskip("gradio_client")

from block_client import asking


@pytest.fixture(scope="module")
def albums(synthetic_faces) -> dict[str, Album]:
    """Faces of which the first training face also stands in the test split under another label; and some with votes."""
    first = int(np.flatnonzero(synthetic_faces.frame["split"] == "train")[0])
    copy = synthetic_faces.frame.iloc[[first]].assign(split="test")
    copy["label"] = (copy["label"] + 1) % 7
    frame, pixels = pd.concat([synthetic_faces.frame, copy]), synthetic_faces.pixels
    copied = FaceDataset("copied", synthetic_faces.classes, frame, torch.cat([pixels, pixels[[first]]]))
    some = synthetic_faces.subset(np.arange(0, 420, 30))
    votes = {f"votes_{name}": (some.frame["label"] == place) * 10.0 for place, name in enumerate(some.classes)}
    for number, name in enumerate(some.classes):  # face by face less agreed on
        votes[f"votes_{name}"] += np.where(some.frame["label"] != number, np.arange(14) / 10, 0)
    voted = FaceDataset("voted", some.classes, some.frame.assign(**votes), some.pixels)
    model = load_model("convcut_ferplus")
    return {"copied": Album.of(copied, model), "voted": Album.of(voted, model), "few": Album.of(copied, model, most=50)}


@pytest.fixture(scope="module")
def client(albums) -> Iterator:
    with asking(dataset_page(albums)) as client:
        yield client


def test_faces_of_a_class_the_least_sure_first(client):
    pictures, count, _ = client.predict("copied", "fear", MODEL, False, 1, api_name="/faces")
    assert len(pictures) == SHOWN and count.startswith("**60 faces**")
    names, bits = zip(*(picture["caption"].split() for picture in pictures), strict=True)
    assert set(names) == {"fear"}
    assert [float(size) for size in bits] == sorted(map(float, bits), reverse=True) and bits[0] > bits[-1]
    stored, *_ = client.predict("copied", "fear", STORED, False, 1, api_name="/faces")
    assert [picture["caption"] for picture in stored] != [picture["caption"] for picture in pictures]
    later, *_ = client.predict("copied", "fear", MODEL, False, 49, api_name="/faces")
    assert max(float(picture["caption"].split()[1]) for picture in later) <= float(bits[-1])


def test_copies_are_found_with_split_and_label(client, albums):
    pictures, count, _ = client.predict("copied", ALL, STORED, True, 1, api_name="/faces")
    assert "**2 faces**; 2 of them stand in the set more than once, 2 in another split too, 2 with" in count
    first, second = (np.asarray(Image.open(picture["image"])) for picture in pictures)
    assert (first == second).all()
    figure, _, text = client.predict("copied", ALL, STORED, True, 1, 1, api_name="/details")
    assert "Other places of this picture: 1." in text
    assert "the same picture" in figure["plot"] and "test" in figure["plot"]
    none, count, _ = client.predict("copied", "fear", STORED, True, 1, api_name="/faces")
    assert not none and count.startswith("**0 faces**")
    _, _, text = client.predict("copied", "fear", STORED, True, 1, 1, api_name="/details")
    assert text == "No such faces."


def test_the_nearest_face_of_another_class(client, albums):
    album = albums["copied"]
    positions, _ = album.find("fear", MODEL)
    _, _, text = client.predict("copied", "fear", MODEL, False, 1, 3, api_name="/details")
    position = positions[2]
    labels = album.data.frame["label"].to_numpy()
    best, value = -1, -2.0  # by hand, one after the other
    for other in range(len(labels)):
        cosine = float(album.vectors[position] @ album.vectors[other])
        if labels[other] != labels[position] and cosine > value:
            best, value = other, cosine
    assert f"Nearest of another class: {album.caption(best)}, cosine {value:.3f}" in text


def test_votes_where_there_are_some(client, albums):
    _, orders = client.predict("voted", api_name="/choices")
    assert orders["value"] == VOTES
    pictures, *_ = client.predict("voted", ALL, VOTES, False, 1, api_name="/faces")
    bits = [float(picture["caption"].split()[1]) for picture in pictures]
    assert bits == sorted(bits, reverse=True) and bits[0] > 1
    _, said, text = client.predict("voted", ALL, VOTES, False, 1, 1, api_name="/details")
    voted = albums["voted"].data
    assert "people's votes" in text
    shares = [entry["confidence"] for entry in said["confidences"]]
    assert max(shares) == pytest.approx(10 / (10 + 6 * 1.3), abs=1e-4)  # of the last one
    assert said["label"] == voted.classes[voted.frame["label"].iloc[-1]]
    assert albums["copied"].orders == [MODEL, STORED] and albums["voted"].orders == [VOTES, MODEL, STORED]


def test_of_a_large_set_some_can_be_looked_at(client):
    _, count, _ = client.predict("few", ALL, STORED, False, 1, api_name="/faces")
    assert count.startswith("**50 faces** (of 50 drawn from 421)")


@pytest.mark.parametrize("name", ["copied", "few"])
def test_a_start_beyond_the_end_of_a_class_shows_its_last_faces(client, albums, name):
    _, _, slider = client.predict(name, ALL, MODEL, False, 1, api_name="/faces")
    positions, _ = albums[name].find("fear", MODEL)
    pictures, _, slider = client.predict(name, "fear", MODEL, False, slider["maximum"], api_name="/faces")
    assert slider["value"] == max(len(positions) - SHOWN + 1, 1) <= slider["maximum"]
    assert len(pictures) == min(len(positions), SHOWN)


def test_entropy():
    np.testing.assert_allclose(entropy(np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])), [0, 1, np.log2(3)])


@pytest.mark.data
def test_ferplus_by_its_votes(data_root):
    faces = load_dataset("ferplus", data_root).split("validation")
    album = Album.of(faces, load_model("convcut_ferplus"), most=200)
    positions, bits = album.find(ALL, VOTES)
    assert album.orders[0] == VOTES and len(positions) == 200 and bits[0] > 1.2 > 0.3 > bits[-1]
