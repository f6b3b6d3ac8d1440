"""A page as a reader of it sees it: what it would load, its text, its anchors."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """What a page would load, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [str(found[name]) for name in ("src", "href") if name in found]
        if "id" in found:
            self.ids.append(str(found["id"]))
        assert tag not in ("script", "link", "iframe", "object")
        if tag == "img":
            assert found.get("alt")

    def handle_data(self, data: str) -> None:
        self.text += data


def page_in(folder: Path) -> tuple[Page, str]:
    """Return the report in a folder, parsed and as it stands there."""
    text = (folder / "report.html").read_text()
    page = Page()
    page.feed(text)
    return page, text
