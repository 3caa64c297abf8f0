"""Many faces as points in a plane, and how much of their neighbourhood survives it.

A picture of features shows what the network has learnt to separate; a picture of its softmax outputs, which Conv-cut's
published code draws, shows its answers: every face sits at the corner of the class it was put into, right or wrong, and
the clusters look clean whatever the features are. Numbers go with every picture: `purity` and `silhouette`, in the
original space and in the plane.
"""

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from ferlib.data.stored_pixels import Pixels
from ferlib.errors import UserError
from ferlib.models.base import FaceModel, mean_of
from ferlib.models.inference import faces_at_once, run_model
from ferlib.models.preprocess import Preprocess

PROJECTIONS = ("pca", "tsne", "umap")


def extract_features(model: FaceModel, pixels: Pixels, batch_size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Features before the last layer (N, D), and probabilities (N, classes) at temperature 1.

    Of a model that looks at both sides of a face the features are their mean, from which the last layer, being affine,
    makes the mean of their logits.

    Args:
        model: any; left where it is and in the mode it was in.
        pixels: faces (N, C, S, S) uint8, in the training set's framing.
        batch_size: faces a pass; one where the model mixes those of a batch.
    """
    preprocess = Preprocess.of(model.config)

    def vectors(batch: Tensor) -> Tensor:
        sides = model.sides(preprocess(batch))
        return mean_of([model.forward_head(model.forward_features(side), pre_logits=True) for side in sides])

    features = torch.cat(list(run_model(model, vectors, pixels, faces_at_once(model, batch_size))))
    probabilities = torch.cat(list(run_model(model, lambda y: model.classifier(y).softmax(dim=1), features)))
    return features.cpu().numpy(), probabilities.cpu().numpy()


def project(features: np.ndarray, method: str, seed: int = 0) -> np.ndarray:
    """Points of a plane (N, 2) for features (N, D), each first scaled to mean 0 and deviation 1.

    Args:
        features: one row a face.
        method: "pca", "tsne" (van der Maaten and Hinton 2008; perplexity 30, started from PCA) or "umap" (McInnes et
            al. 2018; 15 neighbours).
        seed: the same seed gives the same points.

    Raises:
        ValueError: unknown method.
    """
    spread = features.std(axis=0)
    x = (features - features.mean(axis=0)) / np.where(spread > 1e-12, spread, 1)
    if method == "pca":
        return PCA(2, random_state=seed).fit_transform(x)
    if method == "tsne":
        return TSNE(2, perplexity=min(30, (len(x) - 1) / 3), init="pca", random_state=seed).fit_transform(x)
    if method == "umap":
        from umap import UMAP  # slow to import

        threads = torch.get_num_threads()  # UMAP's compiler sets another number, for torch too
        try:
            return UMAP(n_neighbors=min(15, len(x) - 1), random_state=seed, n_jobs=1).fit_transform(x)
        finally:
            torch.set_num_threads(threads)
    raise UserError(f"unknown projection {method!r}, expected one of {', '.join(PROJECTIONS)}")


def purity(points: np.ndarray, labels: np.ndarray, neighbours: int = 10) -> np.ndarray:
    """For every face the share (N,) of its nearest neighbours, itself left out, that have its label.

    By chance alone it is the class's own fraction of the faces.
    """
    count = min(neighbours, len(points) - 1)
    places = NearestNeighbors(n_neighbors=count).fit(points).kneighbors(return_distance=False)  # without itself
    return (labels[places] == labels[:, None]).mean(axis=1)


def silhouette(points: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette (Rousseeuw 1987), -1 to 1: how much nearer a face is to its own class than to the next one."""
    return float(silhouette_score(points, labels))
