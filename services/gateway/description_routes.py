"""What the API looks like: /openapi.json for programs, /docs for people."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from services.gateway import openapi
from services.gateway.bodies import json_response
from services.gateway.routing import route

_PAGE = Path(__file__).with_name("docs.html")


class DescriptionRoutes:
    """The description, made once."""

    def __init__(self) -> None:
        self._document = openapi.document()
        self._page = _PAGE.read_text(encoding="utf-8")

    def routes(self) -> list[Route]:
        return [
            route("/openapi.json", {"GET": self.openapi}),
            route("/docs", {"GET": self.docs}),
        ]

    async def openapi(self, request: Request) -> Response:
        return json_response(self._document)

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(self._page)
