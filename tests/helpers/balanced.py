"""HTML whose tags are closed."""

from html.parser import HTMLParser


class Balanced(HTMLParser):
    """Fails on a tag that is closed without being open, and keeps what is never closed."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
