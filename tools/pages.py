"""What built pages would load from elsewhere: nothing, or `make book` fails."""

import re
from html.parser import HTMLParser
from pathlib import Path

# what a browser fetches by itself; a link to follow is no load
LOADS = {
    "script": ["src"],
    "link": ["href"],
    "img": ["src", "srcset"],
    "source": ["src", "srcset"],
    "iframe": ["src"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "object": ["data"],
    "embed": ["src"],
}
# relations of <link> that only tell, and load nothing
TELLING = {"canonical", "author", "license", "next", "prev", "search", "index"}
OUTSIDE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)", re.IGNORECASE)


class _Page(HTMLParser):
    """Collects the addresses outside the book that a page loads, or that its scripts name."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.inside = None

    def handle_starttag(self, tag, attrs):
        values = {name: value or "" for name, value in attrs}
        self.inside = tag if tag in ("script", "style") else None
        if tag == "link" and values.get("rel", "").lower() in TELLING:
            return
        self.found += [
            values[name] for name in LOADS.get(tag, ()) if OUTSIDE.match(values.get(name, ""))
        ]
        self.found += STYLE.findall(values.get("style", ""))

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "script":
            self.found += re.findall(r"https?://[^\s\"'<>]+", data)
        elif self.inside == "style":
            self.found += STYLE.findall(data)


def outside(site: Path) -> list[str]:
    """Return ``file: address`` for whatever the pages and styles under ``site`` would fetch."""
    out = []
    for path in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(path.read_text("utf-8"))
        out += [f"{path.relative_to(site)}: {address}" for address in page.found]
    for path in sorted(site.rglob("*.css")):
        found = STYLE.findall(path.read_text("utf-8"))
        out += [f"{path.relative_to(site)}: {address}" for address in found]
    return out
