"""Managed regions of a card: what is rendered anew for every release, among text that people write and keep.

A rendered card has a YAML block, regions between marker lines, and one line that says what was last written:

    <!-- hala:begin results -->
    ...
    <!-- hala:end results -->

    <!-- hala:written {"keys": {"license": "0a1b2c3d4e5f"}, "regions": {"results": "…"}} -->

The digests in that line are the base of a merge in three ways, so that no second file is needed to know it. With `base`
what the line says, `live` what is on the Hub, and `new` what was rendered now, for every key and region alike, and with
"absent" as a value like any other:

    live == new                     nothing to do              the line says new
    live == base                    new is taken               the line says new
    new == base                     people keep what they did  the line says base
    all three differ                a conflict, and
        nobody decided                  live stays             the line says base: it is a conflict next time as well
        take="theirs"                   live stays             the line says new: quiet until new changes
        take="ours"                     new is taken           the line says new

For keys and regions that are `strict`, because they say what was measured or on whose terms, the third line does not
hold: what people did there is a conflict each time.

A card that was never written has no base: what it lacks is added, what it has otherwise is a conflict. What the line
says is thus always the last rendering that a person has seen and accepted, and a merge of the same card is nothing.

Markers that are no sound pair are text of people, and so is all that is between two markers of one name with others
between them. They are a conflict of the region that they name, until somebody mends them, or decides with `take`; the
line then has their digest under "strays". The blank line that parts a region from what follows comes and goes with it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from hala_release import frontmatter
from hala_release.errors import ContractError, PayloadInvalid
from hala_release.manifest import Record

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_LIKE_A_MARKER = re.compile(r"<!--\s*hala:", re.IGNORECASE)
_MARKER = re.compile(
    r"^<!-- hala:(?:(?P<side>begin|end) (?P<name>[a-z][a-z0-9-]*)|written (?P<written>\{.*\})) -->"
    r"(?P<rest>[ \t]*(?:\r?\n|\r?\Z))",
    re.MULTILINE,
)
_DIGEST = re.compile(r"[0-9a-f]{12}")

Side = Literal["ours", "theirs"]


class Conflict(Record):
    """What both people and we changed, and what only a person can settle."""

    kind: Literal["key", "region"]
    name: str
    live: str
    """What the card on the Hub has; empty where it has none."""
    new: str
    """What was rendered; empty where it is no longer rendered."""


class Merged(NamedTuple):
    """A card to publish, and what to ask people about."""

    text: str
    conflicts: tuple[Conflict, ...]


class _Written(NamedTuple):
    keys: Mapping[str, str]
    regions: Mapping[str, str]
    strays: Mapping[str, str]


class _Text(NamedTuple):
    text: str


class _Line(NamedTuple):
    """The written line, without its end."""

    written: _Written
    rest: str


class _Region(NamedTuple):
    name: str
    begin: str
    inner: str
    end: str


_Piece = _Text | _Line | _Region


class _Body(NamedTuple):
    pieces: list[_Piece]
    strays: dict[str, str]
    """By name, the marker lines that are no sound pair."""

    @property
    def regions(self) -> dict[str, str]:
        """Inner texts by name, with plain line endings."""
        return {piece.name: _plain(piece.inner) for piece in self.pieces if isinstance(piece, _Region)}


def compose(metadata: Mapping[str, Any], regions: Sequence[tuple[str, str]]) -> str:
    """Return a card of nothing but managed regions, in this order, with its written line.

    Raises:
        ContractError: a name is none or is there twice, or a text has something that looks like a marker.
    """
    texts: dict[str, str] = {}
    for name, text in regions:
        if not _NAME.fullmatch(name) or name in texts:
            raise ContractError(f"`{name}` cannot be the name of a region, or is one already", fix="rename the region")
        if _LIKE_A_MARKER.search(text):
            raise ContractError(f"region `{name}` of the card has text like a marker", fix="escape `<` in its data")
        inner = _plain(text).strip("\n")
        texts[name] = f"{inner}\n" if inner else ""
    block = frontmatter.dump(metadata) if metadata else ""
    written = _Written(_digests_of_keys(frontmatter.read(block, where="the new card")), _digests(texts), {})
    pieces = [*(_shown(_region(name, inner, "\n")) for name, inner in texts.items()), f"{_line(written)}\n"]
    body = "\n".join(pieces)
    return f"---\n{block}---\n\n{body}" if metadata else body


def merge(new: str, live: str | None, *, take: Side | None = None, strict: Collection[str] = (), where: str) -> Merged:
    """Return the live card with what is new in it; the rules are those of this module.

    Args:
        new: what `compose` returned.
        live: the card as it is on the Hub; None or empty where there is none.
        take: whose side wins a conflict; None leaves the live side, to be asked about again.
        strict: keys and regions in which what people did is a conflict each time, also where new is as it was.
        where: what errors call the live card.

    Raises:
        PayloadInvalid: the YAML block of the live card cannot be read, or it is gone.
    """
    if not live:
        return Merged(new, ())
    ours, theirs = frontmatter.parts(new), frontmatter.parts(live)
    body = _parsed(theirs.body)
    base = next((piece.written for piece in body.pieces if isinstance(piece, _Line)), _Written({}, {}, {}))
    if base.keys and not theirs.opening:
        raise PayloadInvalid(
            f"{where} does not start with a YAML block any more",
            fix="put its block back, between two lines of `---` at the very top; one without any key is `{}`",
        )
    ending = frontmatter.newline(live)
    block, keys, of_keys = _merged_keys(ours.block, theirs.block, base, take, strict, where)
    regions, strays, of_regions = _merge_regions(_parsed(ours.body).regions, body, base, take, strict, ending)
    _write(body, _Written(keys, regions, strays), ending)
    text = "".join(_shown(piece) for piece in body.pieces)
    if theirs.opening:
        head = theirs.before + theirs.opening + block + theirs.closing
        if text and not theirs.closing.endswith("\n"):
            head += ending
    elif block:
        head = f"{theirs.before}---{ending}{block.replace(chr(10), ending)}---{ending}"
        head += "" if text.startswith(("\n", "\r")) else ending
    else:
        head = theirs.before
    return Merged(head + text, (*of_keys, *of_regions))


def region_names(text: str) -> tuple[str, ...]:
    """Names of the sound regions of a card, in their order."""
    return tuple(_parsed(frontmatter.parts(text).body).regions)


def inner(text: str, name: str) -> str | None:
    """Return what is in a region, with plain line endings; None where there is no such region."""
    return _parsed(frontmatter.parts(text).body).regions.get(name)


def people(text: str) -> str:
    """Return what people wrote: the body without regions, their markers and the written line."""
    pieces = _parsed(frontmatter.parts(text).body).pieces
    return "".join(piece.text for piece in pieces if isinstance(piece, _Text))


class _Settled(NamedTuple):
    takes_new: bool
    base: str | None
    """What the written line says from now on; None: nothing."""
    conflict: bool


def _settle(
    base: str | None, live: str | None, new: str | None, take: Side | None, *, broken: bool, strict: bool
) -> _Settled:
    """Decide one key or region, by digests, None being absent."""
    if not (broken and live is None):
        if live == new:
            return _Settled(False, new, broken)
        if live == base:
            return _Settled(True, new, broken)
        if new == base and not strict:
            return _Settled(False, base, broken)
    match take:
        case None:
            return _Settled(False, base, True)
        case "theirs":
            return _Settled(False, new, True)
        case "ours":
            return _Settled(True, new, True)


def _merged_keys(
    ours: str, theirs: str, base: _Written, take: Side | None, strict: Collection[str], where: str
) -> tuple[str, dict[str, str], list[Conflict]]:
    live = frontmatter.read(theirs, where=where)
    new = live if ours == theirs else frontmatter.read(ours, where="the new card")
    of_live, of_new = _digests_of_keys(live), _digests_of_keys(new)
    written, changes, drop, conflicts = {}, {}, [], []
    for key in dict.fromkeys([*new, *base.keys]):
        settled = _settle(
            base.keys.get(key), of_live.get(key), of_new.get(key), take, broken=False, strict=key in strict
        )
        if settled.base is not None:
            written[key] = settled.base
        if settled.conflict:
            conflicts.append(Conflict(kind="key", name=key, live=_value(live, key), new=_value(new, key)))
        if settled.takes_new and key in new:
            changes[key] = new[key]
        elif settled.takes_new:
            drop.append(key)
    return frontmatter.edited(theirs, changes, drop, where=where, data=live), written, conflicts


def _merge_regions(
    new: dict[str, str], body: _Body, base: _Written, take: Side | None, strict: Collection[str], ending: str
) -> tuple[dict[str, str], dict[str, str], list[Conflict]]:
    live = body.regions
    of_live, of_new, of_strays = _digests(live), _digests(new), _digests(body.strays)
    written, strays, conflicts = {}, {}, []
    for name in dict.fromkeys([*new, *base.regions]):
        stray = of_strays.get(name)
        broken = stray is not None and base.strays.get(name) != stray
        settled = _settle(
            base.regions.get(name), of_live.get(name), of_new.get(name), take, broken=broken, strict=name in strict
        )
        if settled.base is not None:
            written[name] = settled.base
        owned = name in new or settled.base is not None
        if stray is not None and owned and (take or not broken):
            strays[name] = stray
        if settled.conflict:
            shown = f"markers that are no sound pair:\n{body.strays[name]}" if broken else live.get(name, "")
            conflicts.append(Conflict(kind="region", name=name, live=shown, new=new.get(name, "")))
        if settled.takes_new:
            _put(body.pieces, name, new, ending)
    return written, strays, conflicts


def _put(pieces: list[_Piece], name: str, new: dict[str, str], ending: str) -> None:
    """Replace, insert or remove one region."""
    places = {piece.name: place for place, piece in enumerate(pieces) if isinstance(piece, _Region)}
    here = places.get(name)
    if name not in new:
        if here is not None:
            _remove(pieces, here, ending)
        return
    text = new[name].replace("\n", ending)
    if here is not None:
        found = pieces[here]
        if isinstance(found, _Region):
            pieces[here] = found._replace(inner=text)
        return
    region = _region(name, text, ending)
    order = list(new)
    before = [places[other] for other in reversed(order[: order.index(name)]) if other in places]
    after = [places[other] for other in order[order.index(name) :] if other in places]
    if before:
        place = before[0] + 1
        gap = ending if _shown(pieces[before[0]]).endswith("\n") else ending * 2
        pieces[place:place] = [_Text(gap), region]
    elif after:
        pieces[after[0] : after[0]] = [region, _Text(ending)]
    else:
        place = _end(pieces)
        pieces[place:place] = [_Text(_gap(pieces[:place], ending)), region, _Text(ending if pieces[place:] else "")]


def _remove(pieces: list[_Piece], here: int, ending: str) -> None:
    head = "".join(_shown(piece) for piece in pieces[:here])
    rest = pieces[here + 1] if pieces[here + 1 :] else _Text("")
    blank = re.match(r"\r?\n", rest.text) if isinstance(rest, _Text) else None
    if not head or re.search(r"\n\r?\n\Z|\A\r?\n\Z", head):
        if blank and isinstance(rest, _Text):
            pieces[here : here + 2] = [_Text(rest.text[blank.end() :])]
        else:
            del pieces[here]
    else:  # two paragraphs of people that only the region parted stay two
        pieces[here] = _Text("" if blank or rest == _Text("") else ending)


def _end(pieces: Sequence[_Piece]) -> int:
    """Return the place before the written line if that is the last thing in the card, else behind everything."""
    for place, piece in enumerate(pieces):
        if isinstance(piece, _Line) and not "".join(_shown(other) for other in pieces[place + 1 :]).strip():
            return place
    return len(pieces)


def _gap(pieces: Iterable[_Piece], ending: str) -> str:
    """Return what is missing behind the pieces to start after a blank line."""
    head = "".join(_shown(piece) for piece in pieces)
    if re.search(r"\n\r?\n\Z|\A\r?\n?\Z", head):
        return ""
    return ending if head.endswith("\n") else ending * 2


def _write(body: _Body, written: _Written, ending: str) -> None:
    for place, piece in enumerate(body.pieces):
        if isinstance(piece, _Line):
            body.pieces[place] = piece._replace(written=written)
            return
    body.pieces.extend([_Text(_gap(body.pieces, ending)), _Line(written, ending)])


def _parsed(body: str) -> _Body:
    marks = list(_MARKER.finditer(body))
    next_of: dict[int, int] = {}
    seen: dict[str, int] = {}
    for place in reversed(range(len(marks))):
        if name := marks[place]["name"]:
            if name in seen:
                next_of[place] = seen[name]
            seen[name] = place
    sound: dict[str, tuple[int, int]] = {}
    strays: dict[str, list[str]] = {}
    place = 0
    while place < len(marks):
        mark, last = marks[place], place
        if mark["side"] == "begin" and place in next_of and marks[next_of[place]]["side"] == "end":
            last = next_of[place]
        if last == place + 1 and mark["name"] not in sound:
            sound[mark["name"]] = (place, last)
        else:
            for stray in marks[place : last + 1]:
                if stray["name"]:
                    strays.setdefault(stray["name"], []).append(stray[0].strip())
        place = last + 1
    line = next((mark for mark in reversed(marks) if mark["written"] and _read(mark["written"])), None)
    return _Body(_cut(body, marks, sound, line), {name: "\n".join(lines) for name, lines in strays.items()})


def _cut(
    body: str, marks: list[re.Match[str]], sound: dict[str, tuple[int, int]], line: re.Match[str] | None
) -> list[_Piece]:
    found: list[tuple[int, int, _Piece]] = []
    for name, (first, last) in sound.items():
        begin, end = marks[first], marks[last]
        found.append((begin.start(), end.end(), _Region(name, begin[0], body[begin.end() : end.start()], end[0])))
    if line and (written := _read(line["written"])):
        found.append((line.start(), line.end(), _Line(written, line["rest"])))
    pieces: list[_Piece] = []
    position = 0
    for start, end_of, piece in sorted(found, key=lambda item: item[0]):
        if start > position:
            pieces.append(_Text(body[position:start]))
        pieces.append(piece)
        position = end_of
    if position < len(body):
        pieces.append(_Text(body[position:]))
    return pieces


def _read(document: str) -> _Written | None:
    """Return what a written line says; None where somebody damaged it, and it is a line like any other."""
    try:
        data = json.loads(document)
    except (ValueError, RecursionError):
        return None
    fields = [data.get("keys"), data.get("regions"), data.get("strays", {})]
    for field in fields:
        if not isinstance(field, dict) or not all(isinstance(v, str) and _DIGEST.fullmatch(v) for v in field.values()):
            return None
    return _Written(*fields)


def _line(written: _Written) -> str:
    document = {"keys": written.keys, "regions": written.regions}
    if written.strays:
        document["strays"] = written.strays
    # Two hyphens end a comment of HTML for some readers.
    return f"<!-- hala:written {json.dumps(document, sort_keys=True).replace('--', '-' + chr(92) + 'u002d')} -->"


def _region(name: str, text: str, ending: str) -> _Region:
    return _Region(name, f"<!-- hala:begin {name} -->{ending}", text, f"<!-- hala:end {name} -->{ending}")


def _shown(piece: _Piece) -> str:
    match piece:
        case _Text(text):
            return text
        case _Line(written, rest):
            return _line(written) + rest
        case _Region(_, begin, text, end):
            return begin + text + end


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


def _digests(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: _digest(text) for name, text in texts.items()}


def _digests_of_keys(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {key: _digest(frontmatter.canonical(value)) for key, value in metadata.items()}


def _value(metadata: Mapping[str, Any], key: str) -> str:
    """Return the lines of a key, as people would write them."""
    return frontmatter.dump({key: metadata[key]}).strip() if key in metadata else ""
