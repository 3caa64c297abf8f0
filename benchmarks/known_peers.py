"""Other people's released facial-expression models, and what has to be known to measure them."""

from dataclasses import dataclass

ARRIAGA = (
    "FER2013's Training rows, by the training script of oarriaga/face_classification, which {credited}; that script "
    "chooses epoch and learning rate by the loss on the last fifth of the file: PublicTest and PrivateTest"
)


@dataclass(frozen=True)
class Peer:
    """A model in somebody's package.

    Attributes:
        name: the package's.
        version: of the package.
        worker: file of `peer_workers/` that runs it; .cjs for a package of npm, .py for one of PyPI.
        needs: what its classifier needs, versions pinned. A package of PyPI is then installed without all else that it
            asks for (detectors, films, plots); without `needs` it is installed with everything.
        licence: of the package, in its own words.
        prepared: how the package prepares a face that is cut out already.
        trained: on what, as far as its authors say.
        weights: file that the package downloads at first use and that must be given; "": the weights come inside.
    """

    name: str
    version: str
    worker: str
    needs: tuple[str, ...]
    licence: str
    prepared: str
    trained: str
    weights: str = ""

    @property
    def npm(self) -> bool:
        """True for a package of npm."""
        return self.worker.endswith(".cjs")

    @property
    def folder(self) -> str:
        """Name of the folder of its environment and answers."""
        return self.name.removeprefix("@").replace("/", "_")


_OPENCV = "opencv-contrib-python-headless==5.0.0.93"
_TENSORFLOW = ("tensorflow-cpu==2.21.0", _OPENCV)
_TFJS = ("@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0")

PEERS = (
    Peer(
        "fer",
        "25.10.3",
        "fer_classifier.py",
        (
            *_TENSORFLOW, "setuptools==80.9.0", "matplotlib==3.11.2", "pandas==3.1.1", "requests==2.34.2",
            "tqdm==4.70.1", "pillow==13.0.0",
        ),
        "MIT",
        "OpenCV's bilinear to 64 px, -1..1",
        ARRIAGA.format(credited="its README credits"),
    ),
    Peer(
        "facex",
        "1.1.0",
        "facex_classifier.py",
        (*_TENSORFLOW, "scikit-image==0.26.0"),
        "MIT",
        "scikit-image's bilinear to 200 px, three equal channels, 0..1",
        "not said",
    ),
    Peer(
        "@vladmandic/face-api",
        "1.7.15",
        "faceapi_classifier.cjs",
        _TFJS,
        "MIT",
        "bilinear to 112 px, less the mean colour, 0..1 wide",
        "\"a variety of images from publicly available datasets as well as images scraped from the web\" (README of "
        "face-api.js, whose model it is)",
    ),
    Peer(
        "@vladmandic/human",
        "3.3.6",
        "human_classifier.cjs",
        _TFJS,
        "MIT",
        "bilinear to 192 and to 64 px, -1..1",
        ARRIAGA.format(credited="its model file names as the origin"),
    ),
    Peer(
        "hsemotion-onnx",
        "0.3.1",
        "hsemotion_classifier.py",
        ("onnx==1.23.2", "onnxruntime==1.32.0", _OPENCV),
        "Apache-2.0",
        "OpenCV's bilinear to 224 or 260 px, ImageNet's mean and deviation",
        "faces of VGGFace2, then AffectNet",
        weights="enet_b0_8_best_vgaf.onnx",
    ),
    Peer(
        "deepface",
        "0.0.103",
        "deepface_classifier.py",
        (
            "onnxruntime==1.32.0", _OPENCV, "requests==2.34.2", "gdown==6.5.1", "tqdm==4.70.1", "pandas==3.1.1",
            "retina-face==0.0.19", "werkzeug==3.1.9",
        ),
        "MIT",
        "to 224 px with its proportions kept, grey, OpenCV's bilinear to 48 px, 0..1",
        "FER2013, by the author's post that its README links",
        weights="facial_expression_model_weights.onnx",
    ),
    Peer(
        "rmn",
        "3.3.0",
        "rmn_classifier.py",
        (
            "torch==2.12.1", "torchvision==0.27.1", "huggingface-hub==2.4.0", "pytorchcv==0.0.74", "requests==2.34.2",
            _OPENCV,
        ),
        "MIT",
        "OpenCV's bilinear to 224 px, three equal channels, 0..1",
        "FER2013's Training rows, by its README, which reports PrivateTest",
        weights="Z_resmasking_dropout1_rot30_2019Nov30_13.32",
    ),
    Peer(
        "py-feat",
        "2.1.5",
        "pyfeat_classifier.py",
        (),
        "MIT, the model's terms apart",
        "the box grown by a tenth, bilinear to 224 px, 0..1",
        "the weights are those of rmn",
        weights="ResMaskNet_Z_resmasking_dropout1_rot30.pth",
    ),
)  # fmt: skip
