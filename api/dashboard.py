"""The dashboard's files at `/`, or a page that says where to go while it is not built."""

from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent.parent / "web" / "out"

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


def mount(app: FastAPI, *, folder: Path = FOLDER, dagster_url: str | None = None) -> None:
    """Serve the dashboard. Call it last: it takes every path that is left."""
    if (folder / "index.html").is_file():
        app.mount("/", StaticFiles(directory=folder, html=True), name="dashboard")
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
