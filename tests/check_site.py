"""Check a built site: every link inside it leads to a page and a heading that exist, and no page loads from elsewhere.

Usage: python tests/check_site.py build/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

SITE = "https://shardpack.github.io/shardpack/"
LOADED = {("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src"), ("link", "href")}


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that may be linked to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places = {""}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag == "link" and given.get("rel") in {"canonical", "prev", "next", "edit"}:
            self.links.append(given["href"])
            return
        for name in ("src", "href"):
            if name in given:
                (self.loaded if (tag, name) in LOADED else self.links).append(given[name])


def defects(site: Path) -> list[str]:
    """Return a line per link that leads nowhere, and per thing that is loaded from elsewhere."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        here = urljoin(SITE, path.relative_to(site).as_posix())
        name = path.relative_to(site).parent.as_posix()
        for link in page.loaded + page.links:
            address, place = urldefrag(urljoin(here, link))
            if urlsplit(address).netloc != urlsplit(SITE).netloc:
                if link in page.loaded and urlsplit(address).scheme != "data":
                    found.append(f"{name}: loads {link}")
                continue
            if not address.startswith(SITE):
                found.append(f"{name}: {link} leads out of the site")
                continue
            target = site / unquote(urlsplit(address).path[len(urlsplit(SITE).path) :])
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: {link} is not there")
            elif target in pages and unquote(place) not in pages[target].places:
                found.append(f"{name}: {link}: no such heading")
    return found


def main() -> None:
    site = Path(sys.argv[1])
    if not site.joinpath("index.html").exists():
        sys.exit(f"{site} is no built site")
    found = defects(site)
    sys.stderr.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
