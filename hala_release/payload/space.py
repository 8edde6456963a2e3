"""Spaces: facts from the front matter of README.md, which is what the Hub builds from."""

from __future__ import annotations

from pathlib import Path

from hala_release import frontmatter
from hala_release.errors import PayloadInvalid
from hala_release.manifest import SpaceFacts


def space_facts(files: Path, paths: list[str]) -> SpaceFacts:
    """Read the facts of the Space whose files lie at `paths` under `files`.

    Raises:
        PayloadInvalid: no README.md, no `sdk` in it, or an `app_file` that is not there.
    """
    if "README.md" not in paths:
        raise PayloadInvalid("the Space has no README.md", fix="add one whose YAML block names `sdk` and `app_file`")
    try:
        text = (files / "README.md").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PayloadInvalid(f"README.md is not UTF-8 text: {error}", fix="save it as UTF-8") from error
    metadata = frontmatter.split(text, where="README.md").metadata
    sdk, version, app = (metadata.get(key) for key in ("sdk", "sdk_version", "app_file"))
    if sdk not in ("gradio", "docker", "static"):
        raise PayloadInvalid(f"README.md names the sdk {sdk!r}", fix="set `sdk` to gradio, docker or static")
    if app is not None and not isinstance(app, str):
        raise PayloadInvalid(f"README.md names the app_file {app!r}", fix="set `app_file` to the path of a file")
    if sdk == "gradio" and (app or "app.py") not in paths:
        raise PayloadInvalid(f"the Space has no {app or 'app.py'}", fix="set `app_file` in README.md to the app's file")
    return SpaceFacts(sdk=sdk, sdk_version=str(version) if version is not None else None, app_file=app)
