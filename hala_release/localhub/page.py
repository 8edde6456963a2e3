"""How every page looks: one stylesheet, one frame, and a card with what surrounds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from hala_release.localhub.markdown import Targets, render

POLICY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ACTING = {
    **POLICY,
    "Content-Security-Policy": POLICY["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'"),
    "Referrer-Policy": "same-origin",
}
"""For a page with buttons: without a referrer, a browser would not say from which page a button was pressed."""
SANDBOX = "allow-scripts allow-same-origin allow-forms allow-popups allow-downloads allow-modals"
"""An app may do what an app does; it may not lead the page around it elsewhere."""
LOOK_AGAIN = 3
STAGES = {
    "PAUSED": "This Space is resting. Its app starts when somebody asks.",
    "NO_APP_FILE": "This Space has no app file yet.",
    "BUILDING": "The app is being built. This page looks again every few seconds.",
    "APP_STARTING": "The app is built, and starts now. This page looks again every few seconds.",
    "RUNNING": "The app is running.",
    "RUNNING_BUILDING": "A newer version is being built. Until it is there, the one before it answers.",
    "RUNNING_APP_STARTING": "A newer version starts now. Until it answers, the one before it does.",
    "CONFIG_ERROR": "The card does not say how to run this Space.",
    "BUILD_ERROR": "The app could not be built. These are the last words of the build:",
    "RUNTIME_ERROR": "The app ended, or never answered. These are its last words:",
}
STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1f2328; --faint: #59636e; --line: #d1d9e0; --soft: #f6f8fa;
  --link: #0a5bc4; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --text: #e6edf3; --faint: #9aa4af; --line: #3d444d; --soft: #161b22; --link: #6cb0ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.6 system-ui, "Noto Sans", "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
a { color: var(--link); }
h1, h2, h3, h4, h5, h6 { line-height: 1.3; margin: 1.6em 0 .6em; }
header h1 { margin: .2em 0; font-size: 1.5rem; }
small, .faint { color: var(--faint); }
.badges { display: flex; flex-wrap: wrap; gap: .4rem; margin: .8rem 0 1.2rem; padding: 0; list-style: none; }
.badges li { border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .7rem; font-size: .85rem;
  background: var(--soft); max-width: 100%; }
article { border-top: 1px solid var(--line); padding-top: .5rem; }
article > :first-child { margin-top: .8rem; }
article h1, article h2 { border-bottom: 1px solid var(--line); padding-bottom: .25em; }
img { max-width: 100%; height: auto; }
img.hidden { display: none; }
@media (prefers-color-scheme: dark) {
  img.dark\\:hidden { display: none; }
  img.hidden.dark\\:block { display: block; }
}
table { display: block; width: max-content; max-width: 100%; overflow-x: auto; border-collapse: collapse;
  margin: 1rem 0; }
th, td { border: 1px solid var(--line); padding: .35rem .75rem; text-align: start; overflow-wrap: normal; }
th[align=right], td[align=right] { text-align: right; }
th[align=center], td[align=center] { text-align: center; }
th[align=left], td[align=left] { text-align: left; }
th { background: var(--soft); }
blockquote { margin: 1rem 0; padding-inline-start: 1rem; border-inline-start: .25rem solid var(--line);
  color: var(--faint); }
iframe { width: 100%; height: 42rem; border: 1px solid var(--line); border-radius: .4rem; background: #fff; }
form { margin: 1rem 0; }
button { font: inherit; padding: .3rem 1.1rem; border: 1px solid var(--line); border-radius: .4rem; cursor: pointer;
  background: var(--soft); color: var(--text); }
code, kbd, samp { direction: ltr; unicode-bidi: isolate;
  font: .9em ui-monospace, "DejaVu Sans Mono", "Noto Sans Mono", monospace; background: var(--soft);
  border-radius: .25rem; padding: .1em .3em; }
pre { direction: ltr; text-align: left; unicode-bidi: isolate; overflow-x: auto; background: var(--soft);
  border-radius: .4rem; padding: .8rem 1rem; line-height: 1.45; }
pre code { background: none; padding: 0; }
:lang(ar) { font-family: "Noto Naskh Arabic", "Noto Sans Arabic", "DejaVu Sans", sans-serif; }
[dir=rtl], [lang|=ar] { line-height: 1.95; }
[dir=rtl] { text-align: start; font-family: "Noto Naskh Arabic", "Noto Sans Arabic", "DejaVu Sans", sans-serif; }
[dir=rtl] :is(code, kbd, samp, pre), :lang(ar):is(code, kbd, samp, pre) {
  font-family: ui-monospace, "DejaVu Sans Mono", "Noto Sans Mono", monospace; }
:is([lang|=ar]:not([dir]), [lang|=ar]:not([dir]) :is(p, li, h1, h2, h3, h4, h5, h6, td, th)) {
  unicode-bidi: plaintext; text-align: start; }
"""


class File(NamedTuple):
    """A file that a page lists."""

    path: str
    size: int


class Panel(NamedTuple):
    """What the page of a Space shows of its app."""

    stage: str
    app: str
    """Where the app answers; empty if it does not."""
    words: str
    """What it printed, or why it failed."""
    buttons: str
    """The address below which the buttons are; empty if this Space is not run here."""
    why: str = ""
    """Why it is not run here."""


class View(NamedTuple):
    """What the page of a repository shows."""

    kind: str
    repo: str
    metadata: Mapping[str, Any]
    card: str
    files: list[File]
    address: str
    """Where the files are: the address of a file is this one, a slash, and its path."""
    caption: str
    """What stands above the title: of what kind, and at which revision."""
    tags: list[str]
    here: Mapping[tuple[str, str], str]
    """Kind and id of the repositories that the card names and that can be opened here, to their pages."""
    panel: Panel | None = None


def frame(title: str, *parts: str, status: int = 200, panel: Panel | None = None) -> Response:
    """A whole page; with a panel it may press buttons, look again by itself, and show the app."""
    headers = POLICY if panel is None else _acting(panel)
    again = panel and panel.stage.endswith(("BUILDING", "STARTING"))
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        + (f"<meta http-equiv=refresh content={LOOK_AGAIN}>" if again else "")
        + f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    return HTMLResponse("\n".join((head, *parts)), status, headers=headers)


def _acting(panel: Panel) -> dict[str, str]:
    if not panel.app:
        return ACTING
    return {**ACTING, "Content-Security-Policy": f"{ACTING['Content-Security-Policy']}; frame-src {panel.app}"}


def headed(title: str, *parts: str) -> Response:
    """A page of little more than its title."""
    return frame(title, f"<header><h1 dir=auto>{escape(title)}</h1></header>", *parts)


def listed(lines: list[str]) -> str:
    """A list of HTML lines."""
    return f"<ul>{''.join(f'<li dir=auto>{line}' for line in lines)}</ul>"


def show(view: View) -> Response:
    """The page of a repository: title, badges, results, the card, files and tags."""
    named = next((v for k in ("title", "pretty_name") if isinstance(v := view.metadata.get(k), str)), "")
    head = (
        f"<header><small>{escape(view.caption)}</small><h1 dir=auto>{escape(view.repo)}</h1>"
        + (f"<p class=faint dir=auto>{escape(named)}</p>" if named else "")
        + f"</header><ul class=badges>{''.join(_badges(view))}</ul>"
    )
    card = render(view.card, Targets(view.address)) if view.card.strip() else "<p>No card.</p>"
    files = [
        f"<a href='{view.address}/{quote(file.path)}'>{escape(file.path)}</a> <small>{size(file.size)}</small>"
        for file in view.files
    ]
    tags = [f"<a href='?rev={quote(tag, safe='')}'>{escape(tag)}</a>" for tag in view.tags]
    return frame(
        view.repo,
        head,
        _app(view.panel, view.repo) if view.panel else "",
        f"<article>{card}</article>",
        _results(view.metadata),
        f"<h2>Files</h2>{listed(files)}",
        f"<h2>Tags</h2>{listed(tags) if tags else '<p>None.</p>'}",
        panel=view.panel,
    )


def _app(panel: Panel, repo: str) -> str:
    """The app of a Space, what it is doing, and what one can ask of it."""
    parts = [f"<p>{escape(panel.why or STAGES.get(panel.stage, panel.stage))} <small>{escape(panel.stage)}</small>"]
    if panel.app:
        parts.append(f" <a href='{panel.app}/' target=_blank rel=noreferrer>Open the app alone</a>")
    if panel.app and panel.stage == "RUNNING":
        what = escape(f"The app of {repo}", quote=True)
        parts.append(f"<iframe title='{what}' src='{panel.app}/' sandbox='{SANDBOX}' allow=clipboard-write></iframe>")
    if panel.words:
        parts.append(f"<pre>{escape(panel.words)}</pre>")
    if panel.buttons and panel.stage in ("PAUSED", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR"):
        parts.append(
            f"<form method=post action='{panel.buttons}/_run'><button>Run it here</button> "
            "<small>The app will run on this computer, with the rights of whoever runs this Hub. "
            "Run what you trust.</small></form>"
        )
    elif panel.buttons and panel.stage != "NO_APP_FILE":
        parts.append(f"<form method=post action='{panel.buttons}/_stop'><button>Stop</button></form>")
    return f"<section>{''.join(parts)}</section>"


def size(count: int) -> str:
    """A number of bytes for people, never rounded up to the next unit."""
    for unit, bytes_in_unit in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= bytes_in_unit:
            return f"{count // (bytes_in_unit // 10) / 10:.1f} {unit}"
    return f"{count} bytes"


def _badges(view: View) -> Iterator[str]:
    """What the metadata says, one word or name at a time."""

    def badge(what: str, value: str, kind: str = "") -> str:
        page = view.here.get((kind, value))
        shown = f"<a href='{quote(page)}'>{escape(value)}</a>" if page else escape(value)
        return f"<li dir=auto>{f'<small>{escape(what)}</small> ' if what else ''}{shown}</li>"

    values = view.metadata
    for key, what in (("pipeline_tag", "task"), ("task_categories", "task"), ("library_name", "library")):
        yield from (badge(what, value) for value in _texts(values.get(key)))
    yield from (badge("license", value) for value in _texts(values.get("license_name") or values.get("license")))
    yield from (badge("language", value) for value in _texts(values.get("language")))
    relation = values.get("base_model_relation")
    base = f"{relation} of" if isinstance(relation, str) else "base model"
    yield from (badge(base, value, "model") for value in _texts(values.get("base_model")))
    yield from (badge("dataset", value, "dataset") for value in _texts(values.get("datasets")))
    yield from (badge("", value) for value in _texts(values.get("tags")))


def _texts(value: object) -> list[str]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]


def _results(metadata: Mapping[str, Any]) -> str:
    """The evaluation results in the metadata as a table; what has another form is left out."""
    rows = "".join(
        f"<tr>{''.join(f'<td dir=auto>{escape(cell)}</td>' for cell in row)}</tr>" for row in _measured(metadata)
    )
    head = "<tr><th>Task</th><th>Dataset</th><th>Metric</th><th>Value</th></tr>"
    return f"<h2>Evaluation results</h2><table>{head}{rows}</table>" if rows else ""


def _measured(metadata: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for result in (r for model in _maps(metadata.get("model-index")) for r in _maps(model.get("results"))):
        task, dataset = _map(result.get("task")), _map(result.get("dataset"))
        where = ", ".join(str(dataset[key]) for key in ("config", "split") if dataset.get(key))
        name = str(dataset.get("name") or dataset.get("type") or "") + (f" ({where})" if where else "")
        for metric in _maps(result.get("metrics")):
            what = metric.get("name") or metric.get("type") or ""
            yield str(task.get("name") or task.get("type") or ""), name, str(what), str(metric.get("value", ""))


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
