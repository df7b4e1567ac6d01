"""The HTTP interface of a model, by FastAPI (the extra `serve`)."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import zoo
from zoo.serving.desk import Desk, broken
from zoo.serving.engine import Engine
from zoo.serving.home import home_page, refusal_page
from zoo.serving.limits import Limits, Refusal
from zoo.serving.metrics import Metrics
from zoo.serving.service import Kind, Service
from zoo.utils.json_text import to_json
from zoo.utils.printable import printable

PATHS = ("/", "/predict", "/explain", "/page", "/health", "/ready", "/metrics", "/openapi.json")
UNREAD = (408, 413, 503)  # statuses of requests whose rest may not have been read: the connection ends
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"SAMEORIGIN"),
]
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}, "text": {"type": "string"}},
                }
            },
            "application/json": {
                "schema": {"type": "object"},
                "examples": {
                    "rows of a table": {"value": {"rows": [{"age": 30, "home": "rent"}]}},
                    "texts": {"value": {"texts": ["a warm and funny film"]}},
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
REFUSED = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "status": {"type": "integer"},
                **{name: {"type": "string"} for name in ("got", "expected", "remedy")},
            },
        }
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "content": {"application/json": {"schema": REFUSED}}}
    for status, what in {
        400: "the body is not what its type says",
        408: "the body did not come in time",
        413: "a limit of the server",
        415: "a file of a kind that the model does not read",
        422: "an input that does not fit the model",
        503: "too many requests at once",
        504: "no answer in time",
    }.items()
}
Target = Annotated[str | None, Query(max_length=200, description="class to explain instead of the predicted one")]
Top = Annotated[int | None, Query(ge=1, le=1000, description="number of units in an explanation")]
Name = Annotated[str | None, Query(max_length=1000, description="name of the file, if the body is the file itself")]
Page = Annotated[bool, Query(description="also the page, as HTML")]


class Framing:
    """Middleware: counts each request, and adds headers to its response.

    Args:
        app: the application.
        metrics: counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(b"connection", b"close")] if status in UNREAD else []
                more += [(b"retry-after", b"1")] if status == 503 else []
                message = {**message, "headers": [*message["headers"], *HEADERS, *more]}
            await send(message)

        try:
            await self.app(scope, receive, framed)
        finally:
            self.metrics.count(scope["path"], status, time.monotonic() - start)


def create_app(service: Service, limits: Limits, threads: int = 1) -> FastAPI:
    """The application; its two threads run between start-up and shut-down.

    Args:
        service: answers of a model.
        limits: of what a request may take.
        threads: of PyTorch.
    """
    metrics = Metrics(PATHS)
    made: list[Desk] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = Engine(service.run, limits.batch, threads, metrics.count_batch)
        made[:] = [Desk(service, limits, engine, metrics)]
        yield
        made.clear()
        engine.close()

    app = FastAPI(
        title=f"{service.checkpoint} explains itself",
        description=f"Scores and explanations by {service.kind}, of {service.model.domain.noun}.",
        version=zoo.__version__,
        docs_url=None,  # that page loads scripts from another server
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Framing, metrics=metrics)
    _handle_errors(app)

    @app.post("/predict", openapi_extra=BODY, responses=RESPONSES, summary="Scores of inputs")
    async def predict(request: Request, name: Name = None) -> Response:
        text = await made[0].answer(request, Kind("predict"), lambda n, s: _results(service.predictions(n, s)))
        return _json(text)

    @app.post("/explain", openapi_extra=BODY, responses=RESPONSES, summary="Scores and explanations of inputs")
    async def explain(
        request: Request, name: Name = None, target: Target = None, top: Top = None, page: Page = False
    ) -> Response:
        kind = Kind("page" if page else "explain", _class_of(target, service))
        if not page:
            text = await made[0].answer(request, kind, lambda n, told: _results(service.lines(n, told, top)))
            return _json(text)
        text = await made[0].answer(
            request,
            kind,
            lambda n, told: _results(service.lines(n, told, top), page=service.page(n, told, top)),
            limits.page_rows,
        )
        return _json(text)

    @app.post("/page", openapi_extra=BODY, responses=RESPONSES, response_class=HTMLResponse, summary="A page of inputs")
    async def page(request: Request, name: Name = None, target: Target = None, top: Top = None) -> Response:
        kind = Kind("page", _class_of(target, service))
        text = await made[0].answer(request, kind, lambda n, told: service.page(n, told, top), limits.page_rows)
        return HTMLResponse(text)

    @app.get("/", response_class=HTMLResponse, summary="A page where one drops a file")
    async def home() -> Response:
        return HTMLResponse(home_page(service.about(), limits))

    @app.get("/health", summary="Whether the process works")
    async def health() -> Response:
        alive = bool(made) and made[0].engine.alive
        return _json(to_json({"alive": alive, **service.about()}), 200 if alive else 503)

    @app.get("/ready", summary="Whether a request would be answered now")
    async def ready() -> Response:
        free = bool(made) and made[0].engine.alive and made[0].pending < limits.queue
        return _json(to_json({"ready": free}), 200 if free else 503)

    @app.get("/metrics", response_class=PlainTextResponse, summary="Counters in the format of Prometheus")
    async def counters() -> Response:
        return PlainTextResponse(metrics.text(made[0].gauges()), media_type="text/plain; version=0.0.4")

    return app


def _handle_errors(app: FastAPI) -> None:
    """Makes every error JSON of one form; a page for browsers that asked for a page."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        if request.url.path == "/page" and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(refusal_page(error), error.status)
        return _json(to_json(error.to_dict()), error.status)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        got = printable(f"{request.method} {request.url.path}")[:200]
        told = Refusal(error.status_code, got, f"one of {', '.join(PATHS)}", "See /openapi.json.")
        return _json(to_json(told.to_dict()), error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        got = printable(f"{first['loc'][-1]}={str(first.get('input'))[:100]}")
        told = Refusal(422, got, printable(first["msg"])[:300], "Correct the parameter; see /openapi.json.")
        return _json(to_json(told.to_dict()), 422)

    @app.exception_handler(Exception)
    async def broke(request: Request, error: Exception) -> Response:
        return _json(to_json(broken().to_dict()), 500)


def _class_of(target: str | None, service: Service) -> int | None:
    """Column of the class that a request names, or gives by number.

    Raises:
        Refusal: there is no such class.
    """
    if target is None:
        return None
    domain = service.model.domain
    number = target not in domain.classes and target.isascii() and target.isdigit()
    try:
        return domain.class_index(int(target) if number else target)
    except ValueError as error:
        got = f"the target '{printable(target)}': {printable(error)}"
        raise Refusal(422, got.removesuffix("."), "a class of the model", "GET /health lists them.") from None


def _results(results: list[dict[str, Any]], **more: str) -> str:
    return to_json({"results": results, **more})


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")
