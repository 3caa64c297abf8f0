"""Check which endpoint a client calls, and with what, before Gradio sees the request.

Gradio copies and fetches whatever an argument names that looks like a file. So nothing but what the page itself sends
gets through: the arguments are rebuilt from their known parts, and our listeners alone open uploads (`uploads.py`).
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.blocks import BlockFunction

from ferlib.app.batch_table import MOST_FILES
from ferlib.app.service import NoAnswer
from ferlib.app.uploads import Uploads
from ferlib.errors import UserError
from ferlib.utils.printable import printable

CALL = re.compile(r"/gradio_api/(?:(?:run|api|(?P<v2>call/v2)|call)/(?P<name>\w+)|(?P<queue>queue/join))/?")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
PICTURE = 'a picture is given as {"path": what /gradio_api/upload answered}'
UNREAD = "Nobody fetches the answers, so no more are made."
FAULT = "Something went wrong on the server; its log says what."


class Refused(Exception):
    """A request that is not let in.

    Args:
        status: of the answer.
        sentence: for the client and the log.
    """

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Page(gr.Blocks):
    """`gr.Blocks` that touch no file a client names, and whose failures are told in a sentence.

    Attributes:
        reads: tells of a session whether its answers are still fetched; the server that has the streams sets it.

    Args:
        uploads: the pictures its listeners may open.
        **settings: of `gr.Blocks`.
    """

    def __init__(self, uploads: Uploads, **settings: Any):
        super().__init__(**settings)
        self.uploads = uploads
        self.reads: Callable[[str], bool] = lambda session: True

    async def preprocess_data(self, block_fn: BlockFunction, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """The arguments of a listener; one with `preprocess=False` gets them as `argument` has left them."""
        if not block_fn.preprocess:
            return inputs
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run a listener, or go on with one that answers bit by bit. A traceback is printed for faults of ours only."""
        if kwargs.get("iterator") is not None and not self.reads(str(kwargs.get("session_hash"))):
            raise gr.Error(UNREAD, print_exception=False)
        try:
            return await super().process_api(*args, **kwargs)
        except (UserError, NoAnswer) as error:
            raise gr.Error(str(error), print_exception=False) from error
        except gr.Error:
            raise
        except Exception as error:
            raise gr.Error(FAULT) from error


def checked(page: gr.Blocks, path: str, body: bytes, own: bool) -> tuple[str, dict]:
    """The path and the body of a call as Gradio may see them.

    Args:
        page: whose functions are called.
        path: of the request.
        body: JSON.
        own: whether the page itself asks; a program may ask for what is public only.

    Raises:
        Refused: there is no such function, it is private, or the arguments do not fit.
    """
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused(400, "The body of the request is not JSON.") from error
    if not isinstance(asked, dict):
        raise Refused(400, "The body of the request is not a JSON object.")
    call = CALL.fullmatch(path)
    assert call, path
    function = function_of(page, call["name"], asked.get("fn_index"))
    passed = {"session_hash": asked.get("session_hash"), "fn_index": function._id}
    if passed["session_hash"] is not None:
        check_id(passed["session_hash"])
    if call["v2"]:  # the same by the names of the arguments
        path = path.replace("/call/v2/", "/call/")
        asked = {"data": by_name(function, asked)}
    if function.api_visibility != "public" and not own:
        raise Refused(403, "Only the page itself may ask for this.")
    data = asked.get("data")
    if not isinstance(data, list) or len(data) != len(function.inputs):
        raise Refused(422, f'"data" is a list of {len(function.inputs)} values.')
    passed["data"] = [argument(block, value) for block, value in zip(function.inputs, data, strict=True)]
    return path, passed


def check_id(value: Any) -> None:
    """Check a name that a client made for itself, which the server remembers.

    Raises:
        Refused: it is none, or long.
    """
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise Refused(422, "A session or an upload is called by at most 64 letters, digits, _ and -.")


def function_of(page: gr.Blocks, name: str | None, index: Any) -> BlockFunction:
    """The function that is called by its number, or else by its name."""
    if index is not None:
        function = page.fns.get(index) if type(index) is int else None
    else:
        function = next((one for one in page.fns.values() if one.api_name == name), None)
    if function is None or function.fn is None:  # the latter are scripts of the page's
        raise Refused(404, "There is no such function.")
    return function


def by_name(function: BlockFunction, given: Mapping[str, Any]) -> list[Any]:
    """Arguments in their order; those that are not given are what the page begins with."""
    names = list(inspect.signature(function.fn or (lambda: None)).parameters)[: len(function.inputs)]
    if unknown := given.keys() - {*names, "session_hash", "fn_index"}:
        raise Refused(422, f"There is no argument {min(unknown)!r}; there are {', '.join(names) or 'none'}.")
    blocks = zip(names, function.inputs, strict=True)
    return [given.get(name, getattr(block, "value", None)) for name, block in blocks]


def argument(block: Any, value: Any) -> Any:
    """A value as the component's listener may see it.

    Raises:
        Refused: it is nothing that the component can hold.
    """
    if isinstance(block, gr.Image):
        return picture(value)
    if isinstance(block, gr.File):
        sent = value if isinstance(value, list) else [value]
        if len(sent) > 2 * MOST_FILES:  # of as many the page looks at the first ones, and says so
            raise Refused(422, f"At most {MOST_FILES} pictures are looked at.")
        return [one for one in map(picture, sent) if one]
    if isinstance(block, gr.Dataset):
        if type(value) is not int or not 0 <= value < len(block.samples):
            raise Refused(422, "There is no such example.")
        return value
    if value is not None and not isinstance(value, str):
        raise Refused(422, f"{block.label or 'The argument'} is text, not {type(value).__name__}.")
    return value


def picture(value: Any) -> dict | None:
    """The known parts of a picture that was sent; without Gradio's mark of a file, so that Gradio leaves it alone."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Refused(422, f"{PICTURE}, not as {type(value).__name__}.".capitalize())
    parts: dict[str, str | None] = {name: value.get(name) for name in ("path", "url", "orig_name")}
    if not all(part is None or isinstance(part, str) for part in parts.values()):
        raise Refused(422, f"{PICTURE}; its parts are text.".capitalize())
    if any(part != printable(part) for part in (parts["path"], parts["url"]) if part):
        raise Refused(422, f"{PICTURE}; no path has such characters.".capitalize())
    parts["url"] = None if parts["path"] else parts["url"]
    parts["orig_name"] = printable(parts["orig_name"] or "")
    return parts
