"""The dashboard's files at `/`, or a page that says where to go while it is not built."""

from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent.parent / "web" / "out"

KEEP = "public, max-age=31536000, immutable"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Constellation</title>
<style>body {{ font: 16px/1.5 system-ui; margin: 10vh auto; max-width: 36rem }}</style>
<h1>Constellation</h1>
<p>The API answers here. The dashboard is not built in this checkout.</p>
<ul>
<li><a href="/docs">API reference</a>
<li><a href="/api/v1/jobs">Jobs</a>, <a href="/api/v1/gpus">GPUs</a>,
<a href="/api/v1/scenes">scenes</a>, <a href="/api/v1/models">models</a>
<li><a href="/readyz">Readiness</a>
{dagster}
</ul>
</html>
"""


class Dashboard(StaticFiles):
    """The built pages."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or the page of what is missing. Only files named by their content are kept."""
        response = await super().get_response(path, scope)
        named_by_content = path.startswith("_next/static/") and response.status_code < 400
        response.headers["Cache-Control"] = KEEP if named_by_content else "no-cache"
        return response


class Pages(Mount):
    """Every path that is left, but none of the API's: what is wrong there is a problem, no page."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Nothing of /api/, so that a path of its own with another method is known for that."""
        if scope["path"].startswith("/api/"):
            return Match.NONE, {}
        return super().matches(scope)


def mount(app: FastAPI, *, folder: Path = FOLDER, dagster_url: str | None = None) -> None:
    """Serve the dashboard. Call it last: it takes every path that is left, but those of the API."""
    if (folder / "index.html").is_file():
        app.routes.append(Pages("/", Dashboard(directory=folder, html=True), name="dashboard"))
        return
    text = page(dagster_url)

    @app.get("/", include_in_schema=False)
    def index() -> HTMLResponse:
        return HTMLResponse(text)


def page(dagster_url: str | None) -> str:
    """The page without a dashboard."""
    if dagster_url is None:
        return PAGE.format(dagster="")
    return PAGE.format(dagster=f'<li><a href="{escape(dagster_url, quote=True)}">Dagster</a>')
