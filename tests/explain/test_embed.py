"""Projections that keep clusters, and scores with a known answer."""

import numpy as np
import pytest
import torch

from ferlib.explain.embed import PROJECTIONS, extract_features, project, purity, silhouette


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    return 6 * np.eye(3, 8)[labels] + rng.normal(size=(90, 8)), labels


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.slow) if name == "umap" else name for name in PROJECTIONS]
)
def test_projections_keep_clusters_and_repeat(clusters, method):
    features, labels = clusters
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    points = project(features, method)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)
    assert points.shape == (90, 2)
    assert purity(points, labels).mean() > 0.9
    if method != "umap":  # seconds
        np.testing.assert_array_equal(points, project(features, method))


def test_unknown_projection(clusters):
    with pytest.raises(ValueError, match="unknown projection 'mds'"):
        project(clusters[0], "mds")


def test_a_feature_that_never_changes_does_no_harm(clusters):
    features = np.concatenate([clusters[0], np.full((90, 1), 7.0)], axis=1)
    np.testing.assert_allclose(np.abs(project(features, "pca")), np.abs(project(clusters[0], "pca")), atol=1e-8)


def test_purity_and_silhouette_equal_naive_ones(clusters):
    features, labels = clusters[0][::3], clusters[1][::3]
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    found = purity(features, labels, neighbours=5)
    for i in range(len(features)):
        others = sorted((distances[i, j], labels[j]) for j in range(len(features)) if j != i)
        assert found[i] == pytest.approx(np.mean([label == labels[i] for _, label in others[:5]]))
    naive = np.mean(
        [
            (b - a) / max(a, b)
            for i in range(len(features))
            for a in [np.mean([distances[i, j] for j in np.flatnonzero(labels == labels[i]) if j != i])]
            for b in [min(distances[i, labels == c].mean() for c in set(labels) - {labels[i]})]
        ]
    )
    assert silhouette(features, labels) == pytest.approx(naive)


def test_chance_is_the_share_of_the_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 100])
    shares = purity(rng.normal(size=(400, 2)), labels)
    assert shares[labels == 0].mean() == pytest.approx(0.75, abs=0.04)
    assert shares[labels == 1].mean() == pytest.approx(0.25, abs=0.06)


def test_features_are_what_the_classifier_gets(tiny):
    pixels = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8)
    features, probabilities = extract_features(tiny, pixels, batch_size=2)
    with torch.no_grad():
        again = tiny.classifier(torch.from_numpy(features)).softmax(dim=1)
    assert features.shape == (5, 16) and np.allclose(again, probabilities, atol=1e-6)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
