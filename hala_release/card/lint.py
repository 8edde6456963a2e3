"""What is wrong with the text of a card, whoever wrote it: small functions, each yields findings."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hala_release import frontmatter, header, regions
from hala_release.card import words
from hala_release.errors import PayloadInvalid
from hala_release.escape import problem_with_text
from hala_release.finding import Finding
from hala_release.manifest import Kind

LARGEST = 5_000_000
"""Bytes of a card that the Hub still shows."""
HOSTS = frozenset(
    {
        *("huggingface.co", "hf.co", "arxiv.org", "doi.org", "aclanthology.org", "github.com", "gitlab.com"),
        *("creativecommons.org", "opensource.org", "spdx.org", "apache.org", "www.apache.org", "ai.google.dev"),
    }
)
"""Where links may lead without a word."""
PEOPLES = ("summary", "uses", "limits")
"""Regions whose words come from release.yaml."""
_UNFINISHED = re.compile(r"\[More Information Needed\]|\b(?:TODO|FIXME|TBD|XXX)\b|lorem ipsum", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w/.:-])(?:/(?:home|Users|root|tmp|mnt|scratch|workspace)/[\w.-]+|[A-Z]:\\[\w.-]+|file://)")
_METRIC = re.compile(
    r"\bacc(?:uracy|[_\\]+norm)?\b|\bs?bleu\b|\bchrf\d?\+*|\bf1\b|\bexact[ _]match\b|\bperplexity\b|\bscores?\b"
    r"|\bpoints?\b|\bintervals?\b|\bpass@\d+\b|\bwer\b|\bter\b|\b\w*mmlu\b|\bexams\b|\brouge(?:-?[\dl])?\b|\b(?:x?comet|metricx)\w*|[±%٪]|دق[ةّ]|درج(?:ة|ات)",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"[\d٠-٩]")
_TAG_IMAGE = re.compile(r"<img\b([^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\b(src|alt)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_REPOSITORY = re.compile(r"/(?:(datasets|spaces)/)?([\w.-]+/[\w.-]+)(?:/.*)?")


class Page(NamedTuple):
    """A card to be read."""

    text: str
    kind: Kind
    where: str
    files: Collection[str] | None = None
    """Paths in its repository; None where they are not known."""
    published: Collection[tuple[str, str]] = ()
    """(kind, id) of what goes out with it."""
    namespace: str = ""
    """Whose family it is: links to its other repositories are looked at."""
    hosts: Collection[str] = ()
    """Further hosts that links may lead to."""

    def error(self, message: str, fix: str) -> Finding:
        """Return a finding that stops a push."""
        return Finding(level="error", where=f"{self.where}, README.md", message=message, fix=fix)

    def warning(self, message: str, fix: str) -> Finding:
        """Return a finding to look at."""
        return Finding(level="warning", where=f"{self.where}, README.md", message=message, fix=fix)


class Parsed(NamedTuple):
    """A page and what Markdown makes of it."""

    page: Page
    body: str
    tokens: Sequence[Token]

    @property
    def inline(self) -> Iterator[Token]:
        """Every token, also those inside of lines."""
        for token in self.tokens:
            yield token
            yield from token.children or ()


Check = Callable[[Parsed], Iterator[Finding]]


def lint(page: Page) -> list[Finding]:
    """Return what is wrong with a card, in the order of the checks."""
    try:
        card = frontmatter.split(page.text, where=page.where)
    except PayloadInvalid as error:
        return [page.error(str(error), error.fix)]
    parsed = Parsed(page, card.body, _MARKDOWN.parse(card.body))
    found = list(header.findings(page.kind, card.metadata, f"{page.where}, README.md"))
    return [*found, *(finding for check in CHECKS for finding in check(parsed))]


def templates() -> Iterator[Finding]:
    """Yield numbers beside a metric in the words of a template: a number comes from a result or not at all."""
    for name, source in words.sources().items():
        for number, line in words.literal(source):
            if numbers_of_metrics(line):
                yield Finding(
                    level="error",
                    where=f"cards/{name}, line {number}",
                    message=f"a number is typed beside a metric: {line.strip()!r}",
                    fix="let Python give it",
                )


def numbers_of_metrics(line: str) -> bool:
    """Tell whether a line has a number beside the name of a metric."""
    rest, found = _METRIC.subn(" ", line)
    return bool(found and _DIGIT.search(rest))


def the_text_is_readable(parsed: Parsed) -> Iterator[Finding]:
    """No character deceives, and the Hub shows the whole."""
    text = parsed.page.text.replace("\r\n", "\n").removeprefix("\ufeff")
    if problem := problem_with_text(text, lines=True):
        yield parsed.page.error(f"it {problem}", "take the character out")
    if (size := len(parsed.page.text.encode("utf-8", "surrogatepass"))) > LARGEST:
        yield parsed.page.error(f"it has {size:,} bytes; the Hub shows {LARGEST:,}", "shorten it")


def it_is_finished(parsed: Parsed) -> Iterator[Finding]:
    """Nothing is left to be written, and no path of somebody's machine is told."""
    for token in parsed.inline:
        if token.type not in {"text", "code_inline", "fence", "code_block", "html_block", "html_inline"}:
            continue
        if token.type in {"text", "html_block"} and (found := _UNFINISHED.search(token.content)):
            yield parsed.page.error(f"it is not finished: {found[0]}", "write what is missing, or delete it")
        if found := _PATH.search(token.content):
            yield parsed.page.error(f"it names a path of somebody's machine: {found[0]}", "take it out")
    if "[More Information Needed]" in parsed.body and not any(
        "[More Information Needed]" in token.content for token in parsed.inline if token.type == "text"
    ):
        yield parsed.page.error("it is not finished: [More Information Needed]", "write what is missing, or delete it")


def headings_are_in_order(parsed: Parsed) -> Iterator[Finding]:
    """One title, and something under every heading."""
    tokens = [token for token in parsed.tokens if not _is_comment(token)]
    if sum(token.type == "heading_open" and token.tag == "h1" for token in tokens) > 1:
        yield parsed.page.warning("it has more than one title", "make the others `##`")
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            after = tokens[number + 3] if number + 3 < len(tokens) else None
            if after is None or (after.type == "heading_open" and after.tag <= token.tag):
                yield parsed.page.warning(
                    f"nothing stands under {tokens[number + 1].content!r}", "write something, or delete the heading"
                )


def python_can_be_read(parsed: Parsed) -> Iterator[Finding]:
    """Code that readers copy is code."""
    for token in parsed.tokens:
        if token.type == "fence" and token.info.split(" ")[0] in {"python", "py"}:
            try:
                ast.parse(token.content)
            except (SyntaxError, ValueError) as error:
                yield parsed.page.error(f"a block of Python is none: {error}", "mend it")


def images_are_there(parsed: Parsed) -> Iterator[Finding]:
    """Every picture exists and says in words what it shows."""
    for source, alt in _images(parsed):
        if not alt.strip():
            yield parsed.page.warning(f"the image {source} has no text for those who do not see it", "write its `alt`")
        yield from _target(parsed.page, source, "image")


def links_lead_somewhere(parsed: Parsed) -> Iterator[Finding]:
    """Relative links are to files that are there, others to hosts that are known, and over https."""
    for token in parsed.inline:
        if token.type == "link_open":
            yield from _target(parsed.page, str(token.attrGet("href") or ""), "link")


def numbers_are_measured(parsed: Parsed) -> Iterator[Finding]:
    """A score that somebody typed is bound to nothing, and is wrong from the next version on."""
    told = (regions.inner(parsed.page.text, name) or "" for name in PEOPLES)
    code = False
    for line in "\n".join([regions.people(parsed.page.text), *told]).splitlines():
        code ^= line.lstrip().startswith(("```", "~~~"))
        if not code and numbers_of_metrics(re.sub(r"\(https?://[^)]*\)", "", line)):
            yield parsed.page.warning(
                f"a number beside a metric that no result file has: {line.strip()[:80]!r}",
                "name the results in release.yaml, and take the number out",
            )


CHECKS: tuple[Check, ...] = (
    the_text_is_readable,
    it_is_finished,
    headings_are_in_order,
    python_can_be_read,
    images_are_there,
    links_lead_somewhere,
    numbers_are_measured,
)

_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _is_comment(token: Token) -> bool:
    return token.type == "html_block" and token.content.lstrip().startswith("<!--")


def _images(parsed: Parsed) -> Iterator[tuple[str, str]]:
    for token in parsed.inline:
        if token.type == "image":
            yield str(token.attrGet("src") or ""), token.content
        elif token.type in {"html_block", "html_inline"}:
            for tag in _TAG_IMAGE.finditer(token.content):
                said = {one[1].lower(): one[2] or one[3] or "" for one in _ATTRIBUTE.finditer(tag[1])}
                yield said.get("src", ""), said.get("alt", "")


def _target(page: Page, target: str, what: str) -> Iterator[Finding]:
    if target.startswith("#") or not target:
        return
    parts = urlsplit(target)
    if parts.scheme not in {"", "https", "mailto"}:
        yield page.error(f"the {what} {target} is not https", "link to an https address, or to a file here")
    elif parts.scheme == "https":
        yield from _address(page, target, what)
    elif not parts.scheme and page.files is not None and parts.path not in page.files:
        yield page.error(f"the {what} {target} is to a file that is not there", "add the file, or take the link out")


def _address(page: Page, target: str, what: str) -> Iterator[Finding]:
    parts = urlsplit(target)
    if parts.hostname not in {*HOSTS, *page.hosts}:
        yield page.warning(f"a {what} leads to {parts.hostname}", "see that it is meant, and lasts")
    found = _REPOSITORY.fullmatch(parts.path)
    if parts.hostname == "huggingface.co" and found and page.namespace:
        kind = (found[1] or "models").removesuffix("s")
        if found[2].startswith(f"{page.namespace}/") and (kind, found[2]) not in page.published:
            yield page.warning(f"the {kind} {found[2]} is not part of the release", "see that it is there")
