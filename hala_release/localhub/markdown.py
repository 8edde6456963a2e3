"""The text of a card as HTML that shows and never acts: Markdown is rendered, then only what is listed here is kept."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token

DEEPEST = 100
KEPT = (
    "a abbr b bdi bdo blockquote br caption center cite code dd del details div dl dt em figcaption figure h1 h2 h3 h4 "
    "h5 h6 hr i img ins kbd li mark ol p picture pre q rp rt ruby s samp small source span strong sub summary sup "
    "table tbody td tfoot th thead tr u ul var wbr"
)
SILENCED = "iframe math noscript object script select style svg template textarea title"
"""Elements that go with all that is in them; of any other unknown element, only the text stays."""

ATTRIBUTES = {
    "*": {"align", "dir", "id", "lang", "title"},
    "a": {"href"},
    "code": {"class"},
    "details": {"open"},
    "img": {"alt", "class", "height", "src", "width"},
    "ol": {"start"},
    "source": {"media", "srcset"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
FORMS = {
    "align": "left|center|right|justify",
    "colspan": r"\d{1,3}",
    "dir": "ltr|rtl|auto",
    "height": r"\d{1,5}%?",
    "id": r"[\w.:-]{1,200}",
    "lang": "[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8}){0,4}",
    "media": r"[\w\s():.,-]{1,200}",
    "rowspan": r"\d{1,3}",
    "start": r"\d{1,9}",
    "width": r"\d{1,5}%?",
}
"""What the whole value of an attribute must look like; other attributes are free text or looked at one by one."""

IMAGE_CLASSES = ("dark:hidden", "hidden", "dark:block")
LINK_SCHEMES = ("http", "https", "mailto")
IMAGE_SCHEMES = ("https",)
_SKIPPED = re.compile(r"\A[\x00-\x20]+|[\x00-\x20]+\Z|[\t\n\r]")
"""What browsers leave out of an address before they read it."""
_SPOKEN = re.compile(r"[^\w\- ]")

_parser = MarkdownIt("commonmark", {"html": True, "maxNesting": DEEPEST}).enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Targets:
    """Where the relative addresses of a card lead: `files` is the address below which its repository's files are."""

    files: str

    def link(self, address: str) -> str | None:
        """The address of a link, None for one that nothing may lead to."""
        return self._resolved(address, LINK_SCHEMES)

    def image(self, address: str) -> str | None:
        """The address of an image: a file of the repository, of this server, or one over https."""
        return self._resolved(address, IMAGE_SCHEMES)

    def images(self, candidates: str) -> str | None:
        """A `srcset`, of which every candidate is an image."""
        kept = []
        for candidate in candidates.split(","):
            address, *size = candidate.split()[:2] or [""]
            if size and not re.fullmatch(r"\d+(\.\d+)?[wx]", size[0]):
                return None
            if (resolved := self.image(address)) is None:
                return None
            kept.append(" ".join([resolved, *size]))
        return ", ".join(kept)

    def _resolved(self, address: str, schemes: Sequence[str]) -> str | None:
        plain = _SKIPPED.sub("", address)
        try:
            parts = urlsplit(plain)
        except ValueError:
            return None
        if parts.scheme:
            return plain if parts.scheme.lower() in schemes else None
        if parts.netloc or "\\" in plain or plain.startswith("//"):
            return None
        rest = f"?{quote(parts.query, safe='=&%')}" if parts.query else ""
        rest += f"#{quote(parts.fragment, safe='%')}" if parts.fragment else ""
        if not parts.path:
            return rest or None
        path = posixpath.normpath(unquote(parts.path))
        if path.startswith("/"):
            return quote("/" + path.lstrip("/")) + rest
        return None if path.startswith("..") else f"{self.files}/{quote(path)}{rest}"


def render(text: str, targets: Targets) -> str:
    """The HTML of a Markdown text: no scripts, styles, frames, forms, handlers or comments, whatever was in it."""
    environment: dict[str, object] = {}
    tokens = _parser.parse(text, environment)
    _name_headings(tokens)
    _align_cells(tokens)
    html = str(_parser.renderer.render(tokens, _parser.options, environment))

    def allow(tag: str, attribute: str, value: str) -> str | None:
        match tag, attribute:
            case "a", "href":
                return targets.link(value)
            case "img", "src":
                return targets.image(value)
            case "source", "srcset":
                return targets.images(value)
            case "img", "class":
                return " ".join(word for word in value.split() if word in IMAGE_CLASSES) or None
            case "code", "class":
                return value if re.fullmatch(r"language-[\w+#.-]{1,40}", value) else None
            case _:
                return value if re.fullmatch(FORMS.get(attribute, "(?s:.*)"), value) else None

    return nh3.clean(
        html,
        tags=set(KEPT.split()),
        clean_content_tags=set(SILENCED.split()),
        attributes=ATTRIBUTES,
        attribute_filter=allow,
        url_schemes=set(LINK_SCHEMES),
        link_rel="noopener noreferrer nofollow",
    )


def _name_headings(tokens: Sequence[Token]) -> None:
    """Give every heading the id that tables of contents expect: its words, joined by hyphens."""
    seen = Counter[str]()
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        words = "".join(child.content for child in inline.children or [] if child.type in ("text", "code_inline"))
        slug = _SPOKEN.sub("", words.strip().lower()).replace(" ", "-")[:190]
        if slug:
            opening.attrSet("id", f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1


def _align_cells(tokens: Sequence[Token]) -> None:
    """Say the alignment of table cells without a style, since styles are not kept."""
    for token in tokens:
        if token.type in ("th_open", "td_open") and (style := token.attrs.pop("style", None)):
            token.attrSet("align", str(style).removeprefix("text-align:"))
