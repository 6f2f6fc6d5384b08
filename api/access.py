"""What each operation takes: the one place that says so. An operation that is not here is refused
when the app is made.
"""

from collections.abc import Iterable
from typing import TypeGuard

from fastapi import APIRouter
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from api.deps import principal_of
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.errors import Forbidden

PUBLIC = None

ACCESS: dict[str, Scope | None] = {
    "index": PUBLIC,  # the page where the dashboard is not built
    "healthz": PUBLIC,
    "readyz": PUBLIC,
    "sign_in": PUBLIC,
    "show_sign_in": PUBLIC,
    "begin_login": PUBLIC,
    "end_login": PUBLIC,
    "show_session": Scope.VIEWER,
    "sign_out": Scope.VIEWER,
    "show_about": Scope.VIEWER,
    "list_jobs": Scope.VIEWER,
    "show_job": Scope.VIEWER,
    "quote_job": Scope.VIEWER,
    "follow_logs": Scope.VIEWER,
    "submit_job": Scope.OPERATOR,
    "change_job": Scope.OPERATOR,
    "cancel_job": Scope.OPERATOR,
    "retry_job": Scope.OPERATOR,
    "show_run": Scope.VIEWER,
    "list_tiles": Scope.VIEWER,
    "list_gpus": Scope.VIEWER,
    "list_samples": Scope.VIEWER,
    "list_models": Scope.VIEWER,
    "show_model": Scope.VIEWER,
    "list_scenes": Scope.VIEWER,
    "show_scene": Scope.VIEWER,
    "add_scene": Scope.OPERATOR,
    "list_areas": Scope.VIEWER,
    "show_area": Scope.VIEWER,
    "add_area": Scope.OPERATOR,
    "remove_area": Scope.OPERATOR,
    "stream": Scope.VIEWER,
    "show_usage": Scope.VIEWER,
    "show_leaderboard": Scope.VIEWER,
    "show_classes": Scope.VIEWER,
    "show_series": Scope.VIEWER,
    "list_coverage": Scope.VIEWER,
    "show_coverage": Scope.VIEWER,
    "show_map_tile": Scope.VIEWER,
    "list_webhooks": Scope.OPERATOR,
    "add_webhook": Scope.OPERATOR,
    "remove_webhook": Scope.OPERATOR,
    "list_deliveries": Scope.OPERATOR,
    "list_audit": Scope.ADMIN,
    "show_metrics": Scope.ADMIN,
}


async def authorise(connection: HTTPConnection) -> None:
    """Let an operation begin. Raises Unauthenticated and Forbidden."""
    needed = ACCESS[connection.scope["endpoint"].__name__]
    if needed is PUBLIC:
        return
    held = principal_of(connection).scope
    if not held.covers(needed):
        raise Forbidden(f"this takes the scope {needed}, and yours is {held}")


def check_complete(routers: Iterable[APIRouter]) -> None:
    """Raise LookupError for an operation that the table does not know."""
    names = {route.name for router in routers for route in router.routes if is_operation(route)}
    if unknown := sorted(names - {*ACCESS}):
        raise LookupError(f"api/access.py does not say who may use {', '.join(unknown)}")


def is_operation(route: BaseRoute) -> TypeGuard[APIRoute | APIWebSocketRoute]:
    """Whether this is one of ours."""
    return isinstance(route, APIRoute | APIWebSocketRoute)
