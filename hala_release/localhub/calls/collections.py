"""Collections: named lists of repositories, in an order, with notes."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from typing import Any

from starlette.responses import JSONResponse, Response

from hala_release.localhub import names, store
from hala_release.localhub.refused import Refused
from hala_release.localhub.wire import Call, number, text

KINDS = (*names.KINDS, "paper", "collection", "bucket")
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
SHOWN_IN_LISTS = 4


def _slug(row: sqlite3.Row) -> str:
    plain = unicodedata.normalize("NFKD", row["title"]).encode("ascii", "ignore").decode().lower()
    title = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return f"{row['owner']}/{'-'.join(part for part in (title, row['key']) if part)}"


def _shown(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    found = db.execute("select * from collection_items where collection = ? order by position, key", (row["key"],))
    items = [
        {"_id": i["key"], "type": i["kind"], "position": at, "id": i["item"]}
        | ({"note": {"text": i["note"], "html": ""}} if i["note"] else {})
        | ({"slug": i["item"]} if i["kind"] == "collection" else {})
        for at, i in enumerate(found)
    ]
    return {
        "slug": _slug(row),
        "title": row["title"],
        "description": row["description"] or None,
        "owner": {"name": row["owner"], "type": "org"},
        "private": bool(row["private"]),
        "theme": row["theme"],
        "position": row["position"],
        "upvotes": 0,
        "lastUpdated": row["updated"],
        "items": items,
    }


def _find(call: Call, db: sqlite3.Connection) -> sqlite3.Row:
    """The collection in the path; only the last 24 digits of a slug identify it."""
    key = call.params["slug"][-24:]
    row: sqlite3.Row | None = db.execute("select * from collections where key = ?", (key,)).fetchone()
    if row is None or (row["private"] and call.caller is None):
        raise Refused(404, "Collection not found")
    return row


def listing(call: Call) -> Response:
    """GET /api/collections?owner=&item=."""
    with call.store.db() as db:
        rows = db.execute("select * from collections order by updated desc").fetchall()
        shown = [(row, _shown(db, row)) for row in rows if call.caller or not row["private"]]
    owners = {owner.lower() for owner in call.query("owner")}
    found = [value for row, value in shown if not owners or row["owner"].lower() in owners]
    for item in call.query("item"):
        found = [value for value in found if any(f"{i['type']}s/{i['id']}" == item for i in value["items"])]
    for value in found:
        value["items"] = value["items"][:SHOWN_IN_LISTS]
        del value["position"]  # the client counts it itself, and refuses a second one
    return JSONResponse(found)


def get(call: Call) -> Response:
    """GET a collection with all of its items."""
    with call.store.db() as db:
        return JSONResponse(_shown(db, _find(call, db)))


def create(call: Call) -> Response:
    """POST /api/collections; the same title of the same owner is a conflict that names the existing one."""
    caller = call.writer()
    values = call.json()
    title, owner = _title(values), text(values, "namespace", caller.name)
    names.repo_id(owner, "name")
    row = (
        store.new_key(),
        owner,
        title,
        _description(values),
        values.get("private") is True,
        THEMES[1],
        0,
        store.now(),
    )
    with call.store.db() as db:
        same = db.execute("select * from collections where lower(owner) = ? and title = ?", (owner.lower(), title))
        if existing := same.fetchone():
            raise Refused(409, "This collection already exists", body={"slug": _slug(existing)})
        db.execute("insert into collections values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        made = db.execute("select * from collections where key = ?", row[:1]).fetchone()
        return JSONResponse(_shown(db, made))


def _title(values: dict[str, Any]) -> str:
    title = text(values, "title").strip()
    if not 0 < len(title) <= 59:
        raise Refused(400, "`title` must have 1 to 59 characters")
    return title


def _description(values: dict[str, Any]) -> str:
    description = text(values, "description", "")
    if len(description) > 150:
        raise Refused(400, "`description` must have at most 150 characters")
    return description


def change(call: Call) -> Response:
    """PATCH title, description, position, private, theme."""
    call.writer()
    values = call.json()
    changes: dict[str, Any] = {"updated": store.now()}
    if "title" in values:
        changes["title"] = _title(values)
    if "description" in values:
        changes["description"] = _description(values)
    if "position" in values:
        changes["position"] = number(values, "position")
    if "private" in values:
        changes["private"] = values["private"] is True
    if "theme" in values:
        if values["theme"] not in THEMES:
            raise Refused(400, f"`theme` must be one of {', '.join(THEMES)}")
        changes["theme"] = values["theme"]
    with call.store.db() as db:
        key = _find(call, db)["key"]
        for column, value in changes.items():
            db.execute(f"update collections set {column} = ? where key = ?", (value, key))  # noqa: S608 - our names
        return JSONResponse({"success": True, "data": _shown(db, _find(call, db))})


def delete(call: Call) -> Response:
    """DELETE a collection."""
    call.writer()
    with call.store.db() as db:
        key = _find(call, db)["key"]
        db.execute("delete from collections where key = ?", (key,))
        db.execute("delete from collection_items where collection = ?", (key,))
    return JSONResponse({})


def add_item(call: Call) -> Response:
    """POST items: at the end of the list; a repository must exist."""
    call.writer()
    values = call.json()
    item = values.get("item")
    if not isinstance(item, dict):
        raise Refused(400, "`item` must be an object")
    kind, name = text(item, "type"), text(item, "id")
    if kind not in KINDS:
        raise Refused(400, f"`type` must be one of {', '.join(KINDS)}")
    if kind in names.KINDS:
        repo = call.store.find(kind, name)
        if repo is None:
            raise Refused(404, f"There is no {kind} {name}")
        name = repo.id
    with call.store.db() as db:
        key = _find(call, db)["key"]
        last = db.execute("select coalesce(max(position), -1) from collection_items where collection = ?", (key,))
        row = (store.new_key(), key, kind, name, _note(values), last.fetchone()[0] + 1)
        try:
            db.execute("insert into collection_items values (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise Refused(409, f"{name} is in the collection already") from error
        db.execute("update collections set updated = ? where key = ?", (store.now(), key))
        return JSONResponse(_shown(db, _find(call, db)))


def _note(values: dict[str, Any]) -> str:
    note = text(values, "note", "")
    if len(note) > 500:
        raise Refused(400, "`note` must have at most 500 characters")
    return note


def change_item(call: Call) -> Response:
    """PATCH an item: its note, or its place in the list."""
    call.writer()
    values = call.json()
    with call.store.db() as db:
        collection, item = _find(call, db)["key"], call.params["item"]
        rows = db.execute("select key from collection_items where collection = ? order by position", (collection,))
        order = [row["key"] for row in rows]
        if item not in order:
            raise Refused(404, "Collection item not found")
        if "note" in values:
            db.execute("update collection_items set note = ? where key = ?", (_note(values), item))
        if "position" in values:
            order.remove(item)
            order.insert(number(values, "position"), item)
            db.executemany("update collection_items set position = ? where key = ?", list(enumerate(order)))
    return JSONResponse({})


def delete_item(call: Call) -> Response:
    """DELETE an item."""
    call.writer()
    with call.store.db() as db:
        where = (_find(call, db)["key"], call.params["item"])
        if not db.execute("delete from collection_items where collection = ? and key = ?", where).rowcount:
            raise Refused(404, "Collection item not found")
    return JSONResponse({})
