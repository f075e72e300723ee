"""Rewrite the relative links of README.md, which are dead on an index of packages.

usage: scripts/readme.py FILE [--site URL]    rewrites FILE in place

With --site, the address at which the site of ./scripts/docs is published, links to docs/ lead there. Every other relative link
becomes its text, and a picture that leads nowhere is left out.
"""

import argparse
import re
import sys
from pathlib import Path

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|#", re.IGNORECASE)


def address(target: str, site: str) -> str | None:
    """Where a relative link leads on the site; None if nowhere."""
    path, mark, anchor = target.removeprefix("./").partition("#")
    if not site or not path.startswith("docs/"):
        return None
    path = re.sub(r"\.md$", ".html", path.removeprefix("docs/"))
    return f"{site.rstrip('/')}/{path}{mark}{anchor}"


def rewritten(text: str, site: str = "") -> str:
    """The text without relative links."""

    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if ABSOLUTE.match(target):
            return found[0]
        there = address(target, site)
        if there is None:
            return "" if picture else words
        return f"{picture}[{words}]({there})"

    return re.sub(r"\n{3,}", "\n\n", LINK.sub(link, text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--site", default="")
    arguments = parser.parse_args()
    if arguments.site and not re.match(r"https://[^/\s]", arguments.site):
        sys.exit(f"scripts/readme.py: --site {arguments.site}: no https address")
    file: Path = arguments.file
    file.write_text(rewritten(file.read_text(encoding="utf-8"), arguments.site), encoding="utf-8")
