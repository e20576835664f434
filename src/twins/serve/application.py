"""The routes of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from .every_request import EveryRequest
from .metrics import Metrics
from .models import ServedModel
from .page_files import HEADERS, INDEX, PageFile, read_page
from .problems import ProblemError
from .request_log import RequestRecord
from .rooms import Room
from .schema import ATTENDED, ATTENTION_BODY, CONF, PREDICT_BODY, PREDICTED, PROBLEMS, TOPK
from .service import Service
from .settings import ServeSettings
from .stopping import Gate
from .uploads import UploadReader, too_busy_with_bytes

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
ModelName = Annotated[str | None, Query(description="name of a model (default: the first)", examples=["flowers"])]
Topk = Annotated[int | None, Query(ge=1, description=f"classifiers: how many classes to name (default: {TOPK})")]
Conf = Annotated[float | None, Query(ge=0, le=1, description=f"detectors: least score (default: {CONF})")]


def create_application(
    models: Sequence[ServedModel], settings: ServeSettings, gate: Gate, replica: str | None = None
) -> FastAPI:
    """The whole server but its socket: routes over a `Service`, which lives as long as the application does.

    `replica` is what it is called where it is one of several behind a proxy of Ray's.
    """
    metrics = Metrics(replica)
    service = Service(models, settings, metrics)
    uploads = UploadReader(settings, Room(settings.max_bytes_at_once, too_busy_with_bytes))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.close()

    app = FastAPI(
        title="twins serve",
        description="Predictions of Twins vision transformers for images.",
        version=__version__,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(EveryRequest, settings=settings, gate=gate, metrics=metrics, sends_id=replica is None)
    _add_problems(app)
    _add_page(app, read_page())
    _add_predictions(app, service, settings, uploads, metrics)
    _add_state(app, service, settings, gate, metrics)
    return app


def _record(request: Request) -> RequestRecord:
    record: RequestRecord = request.scope["state"]["record"]
    return record


def _add_problems(app: FastAPI) -> None:
    """Everything that goes wrong is answered alike."""

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> JSONResponse:
        return error.response(_record(request).id)

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        detail = {404: f"no such address: {request.url.path}", 405: f"{request.method} is not for {request.url.path}"}
        text = detail.get(error.status_code, str(error.detail))
        return ProblemError(error.status_code, text, error.headers).response(_record(request).id)

    @app.exception_handler(RequestValidationError)
    async def of_a_value(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "query")
        return ProblemError(422, f"{where}: {first['msg']}").response(_record(request).id)


def _add_page(app: FastAPI, page: dict[str, PageFile]) -> None:
    def answer(name: str) -> Response:
        if name not in page:
            raise ProblemError(404, f"the page has no {name!r}")
        return Response(page[name].content, headers=HEADERS, media_type=page[name].media_type)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index() -> Response:
        return answer(INDEX)

    @app.api_route("/page/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def file(name: str) -> Response:
        return answer(name)


def _add_predictions(
    app: FastAPI, service: Service, settings: ServeSettings, uploads: UploadReader, metrics: Metrics
) -> None:
    @app.post("/predict", summary="Predict images", responses=PREDICTED | PROBLEMS, openapi_extra=PREDICT_BODY)
    async def predict(request: Request, model: ModelName = None, topk: Topk = None, conf: Conf = None) -> JSONResponse:
        """Files in the field `images` of a form, or base64 in JSON, where the other values may stand as well."""
        asked = {"model": model, "topk": topk, "conf": conf}
        async with uploads.body(request, "images", settings.max_images, json=True) as body:
            metrics.bytes.inc(body.size)
            return JSONResponse(await service.predict(body.images, **(asked | body.fields), record=_record(request)))

    @app.post("/attention", summary="What a place attends to", responses=ATTENDED | PROBLEMS,
              openapi_extra=ATTENTION_BODY, response_class=Response)  # fmt: skip
    async def attention(request: Request, x: int, y: int, model: ModelName = None) -> Response:
        """From the pixel (x, y) of the upright image in the field `image`."""
        async with uploads.body(request, "image", most=1) as body:
            metrics.bytes.inc(body.size)
            attended = await service.look(body.images[0], model, x, y, _record(request))
        seen = ",".join(map(str, attended.seen))
        return Response(attended.png, headers={"X-Seen": seen}, media_type="image/png")


def _add_state(app: FastAPI, service: Service, settings: ServeSettings, gate: Gate, metrics: Metrics) -> None:
    limits = {
        "max_images": settings.max_images,
        "max_bytes": settings.max_bytes,
        "max_megapixels": max(line.model.max_megapixels for line in service.lines.values()),
    }

    @app.get("/models", summary="What is served, and its limits")
    async def models() -> dict[str, Any]:
        return {"models": service.described(), "limits": limits}

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="Whether the server is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", summary="Whether it takes requests", responses={503: PROBLEMS[503]})
    async def readyz() -> dict[str, str]:
        if gate.stopping:
            raise ProblemError(503, "the server stops")
        return {"status": "ready"}

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def prometheus() -> Response:
        return Response(metrics.exposition(), media_type=PROMETHEUS)
