"""The table of everything that is served. What the Hub has and this one has not yet answers 501 and says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.responses import Response

from hala_release.localhub.calls import (
    cards,
    clone,
    collections,
    info,
    pages,
    preupload,
    pulls,
    refs,
    repos,
    resolve,
    spaces,
    tree,
)
from hala_release.localhub.calls.commits import Commits
from hala_release.localhub.calls.lfs import Lfs
from hala_release.localhub.calls.local import Local
from hala_release.localhub.calls.preview import Previews
from hala_release.localhub.calls.xet import Xet
from hala_release.localhub.faults import Faults
from hala_release.localhub.refused import Refused
from hala_release.localhub.router import Route, Router
from hala_release.localhub.signing import Signer
from hala_release.localhub.store import Store
from hala_release.localhub.traffic import Traffic
from hala_release.localhub.wire import Call

ANY = "GET HEAD POST PUT PATCH DELETE"
REPO = "/api/{T}/{ns}/{name}"
PAGE = "/{P}{ns}/{name}"

SPACE_CONTROLS = "sleeptime dev-mode volumes events"
UNBUILT = {
    "Discussions, and pull requests after they are opened": (REPO + "/discussions", REPO + "/discussions/{rest*}"),
    "Squashing history": (REPO + "/super-squash/{rev}",),
    "Managing and copying large files": (REPO + "/lfs-files", REPO + "/lfs-files/{rest*}"),
    "Duplicating repositories": (REPO + "/duplicate",),
    "Access requests": (REPO + "/user-access-request/{rest*}",),
    "Likes": (REPO + "/like", REPO + "/likers"),
    "Webhooks": ("/api/settings/webhooks", "/api/settings/webhooks/{rest*}"),
    "Sleep, development mode, volumes and events of Spaces, and lists of what one can choose for them": (
        *(f"/api/spaces/{{ns}}/{{name}}/{what}" for what in SPACE_CONTROLS.split()),
        *(f"/api/spaces/{what}" for what in ("hardware", "templates", "semantic-search", "zero-gpu/quota")),
    ),
    "Users and organisations": ("/api/users/{rest*}", "/api/organizations/{rest*}", "/api/settings/repositories"),
    "Papers": ("/api/papers/{rest*}", "/api/daily_papers"),
    "Lists of tags": ("/api/models-tags-by-type", "/api/datasets-tags-by-type"),
    "Leaderboards and metadata of weights": (REPO + "/leaderboard", REPO + "/safetensors-metadata/{path*}"),
    "Resource groups": ("/api/collections/{ns}/{slug}/resource-group",),
    "Token exchange": ("/oauth/{rest*}",),
    "Buckets": ("/api/buckets/{rest*}", "/buckets/{rest*}"),
    "Jobs": ("/api/jobs/{rest*}", "/api/scheduled-jobs/{rest*}"),
    "Kernels": ("/api/kernels", "/api/kernels/{rest*}"),
    "Raw files": (PAGE + "/raw/{rev}/{path*}",),
}


def unbuilt(what: str) -> Callable[[Call], Response]:
    """A handler that says what is missing."""

    def refuse(_: Call) -> Response:
        raise Refused(501, f"{what}: not built yet in this Hub")

    return refuse


def nothing(_: Call) -> Response:
    """A handler for what is deliberately absent."""
    raise Refused(404, "This store does not have that")


def build(store: Store) -> Router:
    """The application over a store."""
    traffic, faults, signer = Traffic(), Faults(), Signer(store.root)
    commits, lfs, xet = Commits(faults, traffic), Lfs(signer, traffic), Xet(signer, traffic)
    local, previews = Local(traffic, faults), Previews()
    routes = [
        Route("GET", "/_local/health", local.health, keyless=True),
        Route("GET", "/_local/stats", local.stats),
        Route("POST", "/_local/faults", local.arm),
        Route("POST", "/_local/tokens", local.token),
        Route("POST", "/_local/preview", previews.make),
        Route("GET HEAD", "/_local/preview/{id}/", previews.show, keyless=True),
        Route("GET HEAD", "/_local/preview/{id}/{path*}", previews.file, keyless=True),
        Route("GET", REPO + "/discussions", pulls.listing),
        Route("GET", REPO + "/discussions/{num}", pulls.details),
        *(Route(ANY, pattern, unbuilt(what)) for what, patterns in UNBUILT.items() for pattern in patterns),
        Route("GET", "/api/whoami-v2", repos.whoami),
        Route("POST", "/api/repos/create", repos.create),
        Route("DELETE", "/api/repos/delete", repos.delete),
        Route("POST", "/api/repos/move", repos.move),
        Route("POST", "/api/validate-yaml", cards.validate),
        Route("GET", "/api/collections", collections.listing),
        Route("POST", "/api/collections", collections.create),
        Route("GET", "/api/collections/{ns}/{slug}", collections.get),
        Route("PATCH", "/api/collections/{ns}/{slug}", collections.change),
        Route("DELETE", "/api/collections/{ns}/{slug}", collections.delete),
        Route("POST", "/api/collections/{ns}/{slug}/items", collections.add_item),
        Route("PATCH", "/api/collections/{ns}/{slug}/items/{item}", collections.change_item),
        Route("DELETE", "/api/collections/{ns}/{slug}/items/{item}", collections.delete_item),
        Route("GET", "/api/{T}", repos.listing),
        Route("GET", REPO, info.of),
        Route("GET", REPO + "/revision/{rev}", info.of),
        Route("PUT", REPO + "/settings", repos.settings),
        Route("GET", REPO + "/auth-check", repos.auth_check),
        Route("GET", REPO + "/auth-check/{write}", repos.auth_check),
        Route("GET", REPO + "/tree/{rev}", tree.tree),
        Route("GET", REPO + "/tree/{rev}/{path*}", tree.tree),
        Route("POST", REPO + "/paths-info/{rev}", tree.paths_info),
        Route("GET", REPO + "/refs", refs.refs),
        Route("GET", REPO + "/commits/{rev}", refs.commits),
        Route("POST", REPO + "/branch/{branch}", refs.create_branch),
        Route("DELETE", REPO + "/branch/{branch}", refs.delete_branch),
        Route("POST", REPO + "/tag/{rev}", refs.create_tag),
        Route("DELETE", REPO + "/tag/{rev}", refs.delete_tag),
        Route("POST", REPO + "/preupload/{rev}", preupload.preupload),
        Route("POST", REPO + "/commit/{rev}", commits.commit),
        Route("GET", REPO + "/xet-{access}-token/{rev}", xet.token),
        Route("GET", REPO + "/runtime", spaces.runtime),
        Route("POST", REPO + "/restart", spaces.restart),
        Route("POST", REPO + "/pause", spaces.pause),
        Route("POST", REPO + "/hardware", spaces.hardware),
        Route("GET", REPO + "/logs/{log}", spaces.logs),
        *(
            Route(method, f"{REPO}/{kind}", handler)
            for kind in spaces.SETTINGS
            for method, handler in (
                ("GET", partial(spaces.settings, kind)),
                ("POST", partial(spaces.set_one, kind)),
                ("DELETE", partial(spaces.delete_one, kind)),
            )
        ),
        Route("POST", "/_xet/{store}/v1/xorbs/default/{hash}", xet.xorb, keyless=True),
        Route("POST", "/_xet/{store}/v1/shards", xet.shard, keyless=True),
        Route(ANY, "/_xet/{rest*}", nothing, keyless=True),
        Route("POST", PAGE + ".git/info/lfs/objects/batch", lfs.batch),
        Route("POST", PAGE + ".git/info/lfs/verify", lfs.verify),
        Route("PUT", "/_lfs/{grant}", lfs.put, keyless=True),
        Route("GET", "/_lfs/{grant}", lfs.get, keyless=True),
        *(
            Route(method, PAGE + suffix, handler)
            for git in (".git", "")
            for method, suffix, handler in (
                ("GET", git + "/info/refs", clone.info_refs),
                ("POST", git + "/git-upload-pack", clone.upload_pack),
                ("POST", git + "/git-receive-pack", clone.no_push),
            )
        ),
        Route("GET HEAD", PAGE + "/resolve/{rev}/{path*}", resolve.resolve),
        Route("GET HEAD", "/", pages.index),
        Route("GET HEAD", PAGE, pages.repository),
        Route("GET HEAD", PAGE + "/discussions/{num}", pulls.page_of),
        Route("POST", PAGE + "/_run", spaces.run_here),
        Route("POST", PAGE + "/_stop", spaces.stop_here),
        Route("GET", "/api/{T}/{name}", repos.without_namespace),
        Route("GET", "/api/{T}/{name}/revision/{rev}", repos.without_namespace),
        Route("GET", "/api/{T}/{name}/tree/{rev}", repos.without_namespace),
        Route("GET HEAD", "/{P}{name}/resolve/{rev}/{path*}", repos.without_namespace),
    ]
    return Router(routes, store, traffic)
