"""The live camera: a frame in, the faces in it out. The page's own script asks (`webcam.js`); no file is written."""

from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ferlib.app.service import NoAnswer, Service
from ferlib.detection.crop import FaceCrop
from ferlib.detection.faces import detect_faces
from ferlib.errors import UserError
from ferlib.images import data_url, read_image
from ferlib.predict import FoundFaces

LIVE = "/live"
MAX_FRAME = 1_000_000  # bytes
CAMERAS = 16  # whose frames are looked at at a time
SIDE = 224  # pixels at which a frame is searched: faces of a ninth of its long side are found
COARSE = 96  # the same for faces of a quarter of it, in an eighth of the time
MOST = 4  # faces that are judged, the largest


class LiveCamera:
    """Answers `POST /live?model=NAME&explain=METHOD&coarse=yes`, a frame as JPEG; all three may be empty.

    The answer is {"faces": [{"box": [x0, y0, x1, y1] in pixels of the frame, "scores": {class: probability},
    "heat": the heat map as a data URL, or null}]}, or {"error": one sentence}.

    Args:
        service: which judges the faces.
    """

    def __init__(self, service: Service):
        self.service = service
        self._threads = CapacityLimiter(CAMERAS)

    async def answer(self, request: Request) -> Response:
        """Answer one frame."""
        frame, asked = await request.body(), request.query_params
        try:
            faces = await to_thread.run_sync(
                self.look,
                frame,
                asked.get("model"),
                asked.get("explain"),
                bool(asked.get("coarse")),
                limiter=self._threads,
            )
        except NoAnswer as error:
            return JSONResponse({"error": str(error)}, 503)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"faces": faces})

    def look(self, frame: bytes, model: str | None, explain: str | None, coarse: bool = False) -> list[dict[str, Any]]:
        """The faces of a frame; `coarse` finds large ones alone.

        Raises:
            NoAnswer: the queue is full, or the service is closed.
            UserError: the frame cannot be read, or there is no such model or explanation.
        """
        service, search = self.service, partial(largest_faces, side=COARSE if coarse else SIDE)
        with service.place(), service.find(frame, search) as found:
            if found.image is None:
                raise UserError(found.error or "The frame cannot be read.")
            judged = service.predictor(model).judge(found, explain or None)
            return [
                {
                    "box": face.box,
                    "scores": face.scores,
                    "heat": None if face.heatmap is None else data_url(face.overlay(opacity=1)),
                }
                for face in judged.faces
            ]


def largest_faces(frame: bytes, side: int) -> FoundFaces:
    """The largest faces of an upright frame, which is searched at `side` pixels: in a fraction of a photo's time.

    Raises:
        ImageError: it cannot be read.
    """
    image = read_image(frame)
    faces = sorted(detect_faces(image, side, turns=False), key=lambda face: -face.side)[:MOST]
    if not faces:
        return FoundFaces("frame", error="No face was found.", image=image)
    return FoundFaces("frame", tuple(FaceCrop.of(image, face) for face in faces), image=image)
