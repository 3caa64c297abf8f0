"""Refusals as `application/problem+json` (RFC 9457)."""

from http import HTTPStatus

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from ferlib.app.request_checks import Refused

RETRY_AFTER = 5  # seconds
#: RFC 9110's names of those that Python has older ones of before 3.13.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


class Problem(BaseModel):
    """A request that was not answered, and why."""

    type: str = Field(default="about:blank", description="Always `about:blank`: the status says of what kind it is.")
    title: str = Field(description="The status in words.", examples=["Unprocessable Content"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="One sentence for people.", examples=["photo.jpg is not a picture."])


class ProblemResponse(JSONResponse):
    """JSON by its own name."""

    media_type = "application/problem+json"


def problem(refusal: Refused, headers: dict[str, str] | None = None) -> ProblemResponse:
    """The answer that tells a refusal to a program.

    Args:
        refusal: what it says is for people.
        headers: further ones, beside `Retry-After` where the server is full.
    """
    title = TITLES.get(refusal.status) or HTTPStatus(refusal.status).phrase
    told = Problem(title=title, status=refusal.status, detail=str(refusal))
    return ProblemResponse(told.model_dump(), refusal.status, headers=waiting(refusal) | (headers or {}))


def waiting(refusal: Refused) -> dict[str, str]:
    """`Retry-After` for a refusal because the server is full."""
    return {"Retry-After": str(RETRY_AFTER)} if refusal.status == 503 else {}
