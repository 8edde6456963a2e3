"""Find what must survive a translation as it is: code, LaTeX, addresses, paths, JSON, tags, chat tokens, placeholders.

One scan from left to right. A regular expression jumps from one character that can open a span to the next, and a
function per character decides. Where a closing sign is searched, the answer is remembered, and what failed is not read
again: the time is linear in the text, whatever the text is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple

import orjson

Kind = Literal["fence", "code", "latex", "url", "email", "path", "json", "tag", "token", "placeholder"]


class Span(NamedTuple):
    """A piece of a text that is not prose: `text[start:end]`."""

    start: int
    end: int
    kind: Kind


def spans(text: str) -> list[Span]:
    """Return what is not prose, in order; no two spans share a character."""
    scan = _Scan(text)
    openers = _OPENERS_WITH_DOTS if any(ending in text for ending in _ENDINGS) else _OPENERS
    found: list[Span] = []
    opener = openers.search(text)
    while opener:
        place = opener.start()
        result = _AT[text[place]](scan, place)
        if isinstance(result, Span):
            found.append(result)
            scan.floor = result.end
            result = result.end
        opener = openers.search(text, result)
    return found


_OPENERS = re.compile(r"[`~$\\<\[{%@:/]")
_OPENERS_WITH_DOTS = re.compile(r"[`~$\\<\[{%@:/]|\.(?=(?:com|org|net|edu|gov|io|info)\b)|(?<![\w.])w(?=ww\.\w)")
_ENDINGS = ("www.", ".com", ".org", ".net", ".edu", ".gov", ".io", ".info")

_FENCE_OPENS = re.compile(r"(`{3,}+|~{3,}+)([^\n`]*+)(?=\n|\Z)")
_FENCE_CLOSES = re.compile(r"^[ \t>]*+(`{3,}+|~{3,}+)[ \t]*+$", re.MULTILINE)
_INDENT = 24
"""So many spaces and signs of quotation may stand before a fence. A model also opens one behind prose."""
_LANGUAGE = re.compile(r"[\w+#.-]*+")
_TICKS = re.compile(r"`+")
_RUN = re.compile(r"`+|~+|\$+")
_ENVIRONMENT = re.compile(r"\\(begin|end)\{([A-Za-z]{1,40}\*?)\}")
_COMMAND = re.compile(
    r"\\(?:[A-Za-z]{2,40}+(?:\[[^\[\]\n]{0,80}+\])?(?:\{[^{}\n]{0,400}+\})+"
    r"|(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi"
    r"|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega|times|cdot|cdots|ldots|dots|div|pm|mp|leq"
    r"|geq|neq|approx|equiv|sim|infty|partial|nabla|sum|prod|int|lim|log|ln|sin|cos|tan|forall|exists|in|notin|subset"
    r"|subseteq|cup|cap|emptyset|rightarrow|leftarrow|Rightarrow|Leftarrow|to|mapsto|left|right|quad|qquad|circ|degree)"
    r"(?![A-Za-z]))"
)
_MATH = re.compile(r"[\\^_=+*/<>{}()|\d-]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_ELEMENT_CLOSES = re.compile(r"</(code|pre|script|style|kbd|samp)\s{0,9}>", re.IGNORECASE)
_ELEMENT_OPENS = re.compile(r"<(code|pre|script|style|kbd|samp)\b", re.IGNORECASE)
_TAG = re.compile(
    r"<(?:!--|!DOCTYPE\b[^<>]*+>|\?[A-Za-z][^<>]*+>"
    r"|/[A-Za-z][\w:.-]*+\s*+>"
    r"|([A-Za-z][\w:.-]*+)((?:\s++[\w:@.-]++(?:\s*+=\s*+(?:\"[^\"<>]*+\"|'[^'<>]*+'|[^\s\"'<>=]++))?+)*+)\s*+/?>)"
)
_ELEMENTS = re.compile(
    r"a|abbr|area|article|aside|audio|b|base|blockquote|body|br|button|canvas|caption|center|cite|col|dd|del"
    r"|details|dfn|dialog|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|h1|h2|h3|h4|h5|h6"
    r"|head|header|hr|html|i|iframe|img|input|ins|label|legend|li|link|main|map|mark|menu|meta|nav|object|ol"
    r"|optgroup|option|output|p|param|picture|progress|q|ruby|s|section|select|small|source|span|strike|strong|sub"
    r"|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th|thead|time|title|tr|track|u|ul|var|video|wbr",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"<\|[^|<>\s]{1,64}+\|>|<｜[^｜<>]{1,64}+｜>|</?s>|<</?SYS>>|</?(?:bos|eos|pad|unk)>"
    r"|<(?:start|end)_of_(?:turn|text|image)>|<extra_id_\d{1,3}>|<unused\d{1,3}>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\]|\[TOOL_CALLS\]"
)
_PLACEHOLDER = re.compile(
    r"\{\{\{?[^{}\n]{1,200}+\}?\}\}|\{%[^%{}\n]{1,200}+%\}|\{(?:[A-Za-z_][\w.:!-]{0,60}+|\d{1,3})?(?:\[\w{1,40}\])?\}"
    r"|\$\{[^{}\n]{1,100}+\}"
    r"|%\([\w. -]{1,60}+\)[#0+-]*[\d.]*[A-Za-z]|%\{[\w.-]{1,60}+\}"
    r"|%(?:\d{1,2}\$)?[-+#0]{0,4}\d{0,4}(?:\.\d{1,4})?(?:hh?|ll?|[Lzjt])?[sdiufFeEgGxXocrp@](?![A-Za-z0-9_])"
)
_VARIABLE = re.compile(r"\$\((?:[A-Za-z]+_\w*|[A-Z]\w+|[a-z]\w{2,60})\)(?![$^_])")
_SUBSTITUTION = re.compile(r"\$\([^()\n$]{1,100}+\)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_ADDRESS = re.compile(r"[^\s<>\"'`{}|\\^\[\]،؛؟«»…\u0600-\u06ff\ufeff\u200b-\u200f\u202a-\u202e\u2066-\u2069]*+")
_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]*+")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.@+~%*-]++)++/?")
_RELATIVE = re.compile(r"(?:/[A-Za-z0-9_.@+-]++)++")
_WINDOWS = re.compile(r":[\\/][^\s<>:\"|?*،؛؟\u0600-\u06ff]*+")
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,4}\Z")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_JSON_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|["\[\]{}]', re.DOTALL)
_JSON_OPENS = re.compile(r"\{\s*+\"|\[\s*+[\[{\"\d-]|\[\s*+(?:true|false|null)\b")
_JSON_DEPTH = 64
_JSON_SLACK = 4096
"""Brackets that close nothing may be read twice, and this many characters more."""


class _Scan:
    """A text, what was found out about it, and where the last span ended."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.floor = 0
        self._next: dict[str, int] = {}
        self.json_left = len(text) + _JSON_SLACK

    def find(self, sign: str, start: int) -> int:
        """Return where `sign` comes next, or the length of the text; asked in order, it reads all once."""
        known = self._next.get(sign, -1)
        if known < start:
            known = self.text.find(sign, start)
            known = len(self.text) if known < 0 else known
            self._next[sign] = known
        return known

    def paragraph_end(self, start: int) -> int:
        return self.find("\n\n", start)

    @cached_property
    def ticks(self) -> dict[int, list[int]]:
        """Where runs of backticks start, by their length."""
        runs: dict[int, list[int]] = {}
        for run in _TICKS.finditer(self.text):
            runs.setdefault(run.end() - run.start(), []).append(run.start())
        return runs

    @cached_property
    def fence_closes(self) -> list[tuple[int, int, str]]:
        """Lines that can close a fence: start, end, sign."""
        return [(line.start(1), line.end(), line[1]) for line in _FENCE_CLOSES.finditer(self.text)]

    @cached_property
    def environments(self) -> dict[int, int]:
        """Where each `\\begin{…}` is closed."""
        open_ones: dict[str, list[int]] = {}
        pairs = {}
        for sign in _ENVIRONMENT.finditer(self.text):
            if sign[1] == "begin":
                open_ones.setdefault(sign[2], []).append(sign.start())
            elif open_ones.get(sign[2]):
                pairs[open_ones[sign[2]].pop()] = sign.end()
        return pairs

    @cached_property
    def element_closes(self) -> dict[str, list[tuple[int, int]]]:
        """Where elements with code inside are closed, by name."""
        places: dict[str, list[tuple[int, int]]] = {}
        for tag in _ELEMENT_CLOSES.finditer(self.text):
            places.setdefault(tag[1].lower(), []).append((tag.start(), tag.end()))
        return places


def _tick(scan: _Scan, place: int) -> Span | int:
    run = _run_end(scan.text, place)
    length = run - place
    if length >= 3 and (fence := _fence(scan, place)):
        return fence
    places = scan.ticks.get(length, [])
    following = bisect_left(places, run)
    if following < len(places) and places[following] < scan.paragraph_end(run):
        return Span(place, places[following] + length, "code")
    return run


def _tilde(scan: _Scan, place: int) -> Span | int:
    run = _run_end(scan.text, place)
    return (_fence(scan, place) if run - place >= 3 else None) or run


def _run_end(text: str, place: int) -> int:
    """Return where a run of one sign ends."""
    run = _RUN.match(text, place)
    return run.end() if run else place + 1


def _fence(scan: _Scan, place: int) -> Span | None:
    head = scan.text[max(0, place - _INDENT) : place]
    starts_line = not head[head.rfind("\n") + 1 :].strip(" \t>") and (place <= _INDENT or "\n" in head)
    if not starts_line and scan.text[place] == "~":
        return None
    opens = _FENCE_OPENS.match(scan.text, place)  # reads to the end of the line
    if not opens or (not starts_line and (not _LANGUAGE.fullmatch(opens[2]) or opens.end() == len(scan.text))):
        return None
    sign = opens[1]
    closes = scan.fence_closes
    for index in range(bisect_left(closes, (opens.end(), 0, "")), len(closes)):
        _, end, other = closes[index]
        if other[0] == sign[0] and len(other) >= len(sign):
            return Span(place, end, "fence")
    return Span(place, len(scan.text), "fence")


def _dollar(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    if text.startswith("$$", place):
        if text.startswith("$", place + 2):
            return _run_end(text, place)
        end = scan.find("$$", place + 2)
        if end < min(len(text), scan.paragraph_end(place)) and text[place + 2 : end].strip():
            return Span(place, end + 2, "latex")
        return place + 2
    if (name := _VARIABLE.match(text, place)) or (name := _PLACEHOLDER.match(text, place)):
        return Span(place, name.end(), "placeholder")
    end = scan.find("$", place + 1)
    while end < len(text) and text[end - 1] == "\\":
        end = scan.find("$", end + 1)
    if end < min(len(text), scan.paragraph_end(place)) and _is_math(text[place + 1 : end], text[end + 1 : end + 2]):
        return Span(place, end + 1, "latex")
    if name := _SUBSTITUTION.match(text, place):
        return Span(place, name.end(), "placeholder")
    return place + 1


def _is_math(inside: str, after: str) -> bool:
    """Tell `$x^2$` from the prices in `$5 and 10$` and the variables in `$HOME:$PATH`; after pandoc's rule."""
    if not inside or inside[0].isspace() or inside[-1].isspace() or after.isdigit():
        return False
    if inside[0].isdigit():
        return bool(_NUMBER.fullmatch(inside)) or any(sign in inside for sign in "\\^_=+*<>{}")
    return len(inside) <= 3 or bool(_MATH.search(inside))


def _backslash(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    sign = text[place + 1 : place + 2]
    if sign in ("(", "["):
        end = scan.find("\\)" if sign == "(" else "\\]", place + 2)
        if end < min(len(text), scan.paragraph_end(place)):
            return Span(place, end + 2, "latex")
    elif sign == "b" and text.startswith("\\begin{", place) and place in scan.environments:
        return Span(place, scan.environments[place], "latex")
    elif sign.isalpha() and (command := _COMMAND.match(text, place)):
        if command[0].startswith(("\\begin{", "\\end{")):
            return command.end()
        return Span(place, command.end(), "latex")
    return place + 2


def _less(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    if token := _TOKEN.match(text, place):
        return Span(place, token.end(), "token")
    tag = _TAG.match(text, place)
    if not tag:
        return place + 1
    if tag[0] == "<!--":
        end = scan.find("-->", place)
        return Span(place, end + 3, "tag") if end < len(text) else place + 4
    if element := _ELEMENT_OPENS.match(text, place):
        closes = scan.element_closes.get(element[1].lower(), [])
        index = bisect_left(closes, (tag.end(), 0))
        if index < len(closes):
            return Span(place, closes[index][1], "code")
    if tag[2] and "=" not in tag[2] and not _ELEMENTS.fullmatch(tag[1]):
        return place + 1
    return Span(place, tag.end(), "tag")


def _bracket(scan: _Scan, place: int) -> Span | int:
    token = _TOKEN.match(scan.text, place)
    if token:
        return Span(place, token.end(), "token")
    return _json(scan, place) or place + 1


def _brace(scan: _Scan, place: int) -> Span | int:
    if block := _json(scan, place):
        return block
    name = _PLACEHOLDER.match(scan.text, place)
    return Span(place, name.end(), "placeholder") if name else place + 1


def _json(scan: _Scan, place: int) -> Span | None:
    if scan.json_left <= 0 or not _JSON_OPENS.match(scan.text, place):
        return None
    depth, end = 0, place
    for token in _JSON_TOKENS.finditer(scan.text, place):
        end = token.end()
        sign = token[0]
        depth += 1 if sign in "[{" else -1 if sign in "]}" else 0
        if depth == 0 or depth > _JSON_DEPTH or sign == '"' or end - place > scan.json_left:
            break
    if depth == 0:
        try:
            value = orjson.loads(scan.text[place:end])
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            value = None
        if isinstance(value, dict) or (
            isinstance(value, list) and (len(value) > 1 or isinstance(value[0], dict | str))
        ):
            return Span(place, end, "json")
    scan.json_left -= end - place
    return None


def _percent(scan: _Scan, place: int) -> Span | int:
    name = _PLACEHOLDER.match(scan.text, place)
    if name and not (scan.text[place - 1 : place].isdigit() and scan.text[place + 1 : place + 2] not in ("(", "{")):
        return Span(place, name.end(), "placeholder")
    return place + 1


def _at(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    start = place
    while start > max(scan.floor, place - 64) and text[start - 1] in _LOCAL:
        start -= 1
    while start < place and text[start] in ".%+-":
        start += 1
    domain = _DOMAIN.match(text, place + 1)
    name = domain[0].rstrip(".-") if domain else ""
    if start < place and "." in name and 1 < len(name.rpartition(".")[2]) <= 24 and name.rpartition(".")[2].isalpha():
        return Span(start, place + 1 + len(name), "email")
    return place + 1


def _colon(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    if text.startswith("//", place + 1):
        scheme = _SCHEME.search(text[max(scan.floor, place - 16) : place])
        if scheme and (end := _address_end(text, place + 3)) > place + 3:
            return Span(place - len(scheme[0]), end, "url")
        return place + 3
    drive = text[place - 1 : place]
    if place > scan.floor and drive.isascii() and drive.isalpha() and not text[max(0, place - 2) : place - 1].isalnum():
        path = _WINDOWS.match(text, place)
        if path and len(path[0].rstrip(".,;!)")) > 2:
            return Span(place - 1, place + len(path[0].rstrip(".,;!)")), "path")
    return place + 1


def _address_end(text: str, start: int) -> int:
    """Return where an address ends: punctuation of the sentence around it is not part of it."""
    body = _ADDRESS.match(text, start)
    address = body[0] if body else ""
    end = len(address)
    extra = max(0, address.count(")") - address.count("("))
    while end and (address[end - 1] in ".,;:!?*_'" or (address[end - 1] == ")" and extra)):
        extra -= address[end - 1] == ")"
        end -= 1
    return start + end


def _www(scan: _Scan, place: int) -> Span | int:
    end = _address_end(scan.text, place)
    return Span(place, end, "url") if end > place + 4 else place + 4


def _dot(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    start = place
    while start > max(scan.floor, place - 64) and text[start - 1] in _NAME:
        start -= 1
    while start < place and text[start] in "_.-":
        start += 1
    if start == place or text[start - 1 : start] == "@":
        return place + 1
    return Span(start, _address_end(text, place), "url")


def _slash(scan: _Scan, place: int) -> Span | int:
    text = scan.text
    before = text[place - 1 : place] if place > scan.floor else ""
    if before in (".", "~"):
        start = place - 1
        if before == "." and start > scan.floor and text[start - 1] == ".":
            start -= 1
        if not text[start - 1 : start].strip("([\"'«“‘=>\n\t ") or start == 0:
            path = _PATH.match(text, place)
            if path:
                return Span(start, place + len(path[0].rstrip(".,*")), "path")
        return place + 1
    if before in _NAME and before:
        tail = _RELATIVE.match(text, place)
        if not tail:
            return place + 1
        start = place
        while start > max(scan.floor, place - 64) and text[start - 1] in _NAME:
            start -= 1
        end = place + len(tail[0].rstrip(".-"))
        if _EXTENSION.search(text[place:end]):
            return Span(start, end, "path")
        return tail.end()
    if before.strip("([\"'«“‘=>\n\t :"):
        return place + 1
    path = _PATH.match(text, place)
    if path and any(sign.isalpha() for sign in path[0]):
        return Span(place, place + len(path[0].rstrip(".,*")), "path")
    return path.end() if path else place + 1


_AT: dict[str, Callable[[_Scan, int], Span | int]] = {
    "`": _tick,
    "~": _tilde,
    "$": _dollar,
    "\\": _backslash,
    "<": _less,
    "[": _bracket,
    "{": _brace,
    "%": _percent,
    "@": _at,
    ":": _colon,
    "/": _slash,
    ".": _dot,
    "w": _www,
}
"""What decides at a character that may open a span: the span, or where to go on."""
