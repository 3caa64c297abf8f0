"""The routes below /v1: `POST /v1/predict`, `GET /v1/models`, `GET /v1/openapi.json`."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ferlib import __version__
from ferlib.app.api.answers import ModelAnswer, PhotoAnswer
from ferlib.app.api.asking import FORM, JSON, Asked, PhotoForm, PhotoJson, read_asked
from ferlib.app.api.problems import Problem, problem
from ferlib.app.messages import as_data
from ferlib.app.request_checks import FAULT, Refused
from ferlib.app.service import NoAnswer, Service
from ferlib.errors import UserError
from ferlib.explain import METHODS
from ferlib.images import data_url
from ferlib.results import ImagePrediction

PREFIX, PREDICT = "/v1", "/v1/predict"
ABOUT = """Finds the faces of a photo and says which expression each shows. The photo is looked at in memory and then
forgotten. An expression in a picture is not a feeling: do not use it to judge anybody."""
PROBLEMS = {
    400: "The request is damaged.",
    403: "The server is called by a name that is not its own, or another site asks in a visitor's browser.",
    408: "It comes too slowly.",
    411: "It does not say how long it is.",
    413: "It is too long.",
    415: "It is neither a form nor JSON.",
    422: "The photo cannot be read, or there is no such model, explanation or coverage.",
    500: "A fault of the server, whose log says which.",
    503: "Many are asking; `Retry-After` says in how many seconds to try again.",
}


def build_api(service: Service, root: str = "") -> FastAPI:
    """The application below `PREFIX`.

    Args:
        service: which judges photos.
        root: the path below which a proxy serves the page.
    """
    api = FastAPI(
        title="Facial expressions", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
        servers=[{"url": f"{root}{PREFIX}"}], root_path_in_servers=False, redirect_slashes=False,
    )  # fmt: skip
    threads = CapacityLimiter(service.queue_size + 1)  # those who wait for the model hold a thread

    @api.exception_handler(Refused)
    async def refused(request: Request, refusal: Refused) -> Response:
        return problem(refusal)

    @api.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        allowed = error.headers or {}
        sentence = f"Use {allowed['Allow']} here." if "Allow" in allowed else "There is nothing here."
        return problem(Refused(error.status_code, sentence), dict(allowed))

    @api.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        return problem(Refused(500, FAULT))

    described: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text, "content": {"application/problem+json": {}}}
        for status, text in PROBLEMS.items()
    }

    @api.post("/predict", response_model=PhotoAnswer, responses=described, operation_id="predict")
    async def predict(request: Request) -> Any:
        """Find every face in a photo and say which expression it shows.

        A photo without a face is an answer, with an `error` and no faces; one that cannot be read is a problem.
        """
        kind, body = request.headers.get("content-type", ""), await request.body()
        return await to_thread.run_sync(partial(answer, service, kind, body), limiter=threads)

    @api.get("/models", response_model=list[ModelAnswer], operation_id="models")
    async def models() -> Any:
        """The models to choose from, the default first."""
        return await to_thread.run_sync(partial(list_models, service), limiter=threads)

    schema = api.openapi
    api.openapi = lambda: _with_requests(schema(), service)  # type: ignore[method-assign]
    return api


def answer(service: Service, content_type: str, body: bytes) -> PhotoAnswer:
    """The answer to a request for a prediction.

    Raises:
        Refused: there is none; the sentence says why.
    """
    asked = read_asked(content_type, body)
    try:
        return _judged(service, asked)
    except NoAnswer as error:
        raise Refused(503, str(error)) from error
    except UserError as error:
        raise Refused(422, str(error)) from error


def _judged(service: Service, asked: Asked) -> PhotoAnswer:
    name, explain = asked.choices.model or next(iter(service.models)), asked.choices.explain or None
    sets = None if asked.choices.coverage is None else service.prediction_sets(name, asked.choices.coverage)
    with service.look(asked.photo, name, explain=explain) as (result,):
        if result.image is None:
            raise Refused(422, f"{asked.name}: {result.error}")
        faces = result.faces
        if sets:
            named = (sets.names(np.array(list(face.scores.values()))) for face in faces)
            faces = tuple(
                replace(face, coverage=sets.coverage, prediction_set=one)
                for face, one in zip(faces, named, strict=True)
            )
        data = as_data(ImagePrediction(asked.name, faces, result.error, result.image))
        for entry, face in zip(data["faces"], faces, strict=True):
            entry["overlay"] = None if face.heatmap is None else data_url(face.overlay())
    return PhotoAnswer.model_validate(data | {"model": name})


def list_models(service: Service) -> list[ModelAnswer]:
    """The models to choose from, the default first."""
    return [
        ModelAnswer.model_validate(
            {
                "name": name,
                "classes": one.classes,
                "methods": one.methods,
                "coverages": service.coverages(name),
                "test": report["metrics"] if (report := service.card(name)[1]) else None,
            }
        )
        for name, one in service.models.items()
    ]


def _with_requests(schema: dict[str, Any], service: Service) -> dict[str, Any]:
    """An OpenAPI document with the two forms of a request, and with the names that there are to choose from."""
    names = list(service.names)
    levels = sorted({level for name in names for level in service.coverages(name)})
    chosen: dict[str, list] = {"model": names, "explain": [*METHODS], "coverage": levels}
    content = {}
    for kind, asked in ((FORM, PhotoForm), (JSON, PhotoJson)):
        form = asked.model_json_schema()
        for field, values in chosen.items():
            shown = form["properties"][field]
            for one in shown.pop("anyOf"):
                if one["type"] != "null":
                    shown |= one | {"enum": values}
            if kind == JSON:  # where nothing may be said by a null, too
                shown |= {"type": [shown["type"], "null"], "enum": [*values, None]}
            shown.pop("default")
        schema["components"]["schemas"][asked.__name__] = form
        content[kind] = {"schema": {"$ref": f"#/components/schemas/{asked.__name__}"}}
    schema["paths"]["/predict"]["post"]["requestBody"] = {"required": True, "content": content}
    return schema
