"""Read what a program asks: a form with a photo, or JSON with the photo in base64. No address is ever opened."""

import base64
import binascii
import json
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field as FormField
from python_multipart.multipart import File, FormParser, parse_options_header

from ferlib.app.request_checks import Refused
from ferlib.utils.printable import printable

FORM, JSON = "multipart/form-data", "application/json"
MOST_PARTS = 8  # of a form, or of JSON
LONGEST = 200  # letters of a name that a client gives


class Choices(BaseModel):
    """The model, the explanation and the coverage."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="The model that answers; without it the first of `/v1/models`.")
    explain: str | None = Field(None, description="How to explain the answer; without it there is no heat map.")
    coverage: float | None = Field(
        None, description="How often prediction sets hold the true class; without it 0.9, where the model has that."
    )


class PhotoForm(Choices):
    """A photo as a form sends it."""

    image: bytes = Field(
        description="The photo: JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF.",
        json_schema_extra={"contentMediaType": "application/octet-stream"},
    )


class PhotoJson(Choices):
    """A photo in JSON."""

    image: str = Field(
        description="The photo's bytes in base64; not an address.", json_schema_extra={"contentEncoding": "base64"}
    )


@dataclass(frozen=True)
class Asked:
    """A photo and what is asked about it."""

    photo: bytes
    name: str
    choices: Choices


def read_asked(content_type: str, body: bytes) -> Asked:
    """The photo and the choices of a request.

    Raises:
        Refused: they cannot be read; the sentence says why.
    """
    kind, options = parse_options_header(content_type)
    if kind == JSON.encode():
        return _from_json(body)
    if kind == FORM.encode():
        return _from_form(options.get(b"boundary", b""), body)
    raise Refused(415, f"A photo is sent as {FORM} (image=@photo.jpg) or as {JSON} (base64).")


def _from_json(body: bytes) -> Asked:
    small = body.count(b",") < MOST_PARTS and body.count(b'"') <= 4 * MOST_PARTS  # base64 has neither
    try:
        given = json.loads(body) if small else None
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body of the request is not JSON.") from error
    if not isinstance(given, dict):
        raise Refused(422, f"The body of the request is an object of at most {MOST_PARTS} fields.")
    try:
        asked = PhotoJson.model_validate(given)
    except ValidationError as error:
        raise _refused(error) from error
    try:
        return Asked(base64.b64decode(asked.image, validate=True), "image", asked)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, '"image" is not base64; it is the photo itself, not its address.') from error


def _from_form(boundary: bytes, body: bytes) -> Asked:
    fields: dict[str, str] = {}
    photos: list[File] = []
    parts = 0

    def counted() -> None:
        nonlocal parts
        parts += 1
        if parts > MOST_PARTS:
            raise Refused(422, f"A form has at most {MOST_PARTS} parts.")

    def on_field(field: FormField) -> None:
        counted()
        name = (field.field_name or b"").decode("utf-8", "replace")
        fields[name] = (field.value or b"")[:LONGEST].decode("utf-8", "replace")

    def on_file(file: File) -> None:
        counted()
        if file.field_name != b"image" or photos:
            raise Refused(422, "A form has one file, named image: image=@photo.jpg")
        photos.append(file)

    settings = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}  # never on the disk
    try:
        parser = FormParser(FORM, on_field, on_file, boundary=boundary or None, config=settings)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, "The form is damaged or cut short.") from error
    if not photos:
        raise Refused(422, "The form has no photo: image=@photo.jpg (with @, as a file).")
    try:
        choices = Choices.model_validate({name: value or None for name, value in fields.items()})
    except ValidationError as error:
        raise _refused(error) from error
    name = (photos[0].file_name or b"").decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    photos[0].file_object.seek(0)
    return Asked(photos[0].file_object.read(), printable(name)[:LONGEST] or "image", choices)


def _refused(error: ValidationError) -> Refused:
    """The first thing that is wrong, in a sentence."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = printable(".".join(map(str, first["loc"])))[:LONGEST]
    return Refused(422, f'"{place}": {first["msg"]}.')
