"""What happens around every REST request: identity, request id, trace, errors, metrics, one log line."""

import time
from collections.abc import Mapping
from functools import cache

import structlog
from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshkit import call, tracing
from meshkit.call import REPLICA_HEADER, REQUEST_ID_HEADER, Call
from meshkit.errors import Reason, ShoalError, internal
from meshkit.identity import HEADER as IDENTITY_HEADER
from meshkit.identity import IdentitySigner, require_known
from meshkit.metrics import RPC_BUCKETS_SECONDS, Metrics
from services.gateway import affinity, problems

PUBLIC = ("/docs", "/openapi.json")
"""These paths, and those about health, need no key, spend no tokens, and so carry no identity."""
CLIENT_LEFT = 499
"""The status, in logs and metrics, of a request whose client did not wait for the answer."""

log = structlog.get_logger()


class CallMiddleware:
    """ASGI middleware around the whole gateway. Inside, `call.current()` says who asks."""

    def __init__(
        self, app: ASGIApp, *, signer: IdentitySigner, metrics: Metrics, replica: str, timeout_seconds: float
    ) -> None:
        self._app = app
        self._signer = signer
        self._replica = replica
        self._timeout_seconds = timeout_seconds
        self.running = 0
        """Requests in progress; those about health do not count."""
        seconds = Histogram(
            "shoal_http_seconds",
            "Time from the arrival of a REST request to the end of its answer.",
            ("method", "status"),
            buckets=RPC_BUCKETS_SECONDS,
            registry=metrics.registry,
        )
        self._measured = cache(lambda method, status: seconds.labels(method, str(status)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = call.request_id(headers.get(REQUEST_ID_HEADER))
        answer = _Answer(send, replica=self._replica)
        started = time.perf_counter()
        call.identify(request_id)
        with tracing.server_span(f"{scope['method']} {scope['path']}", headers):
            counts = not _is_health(scope["path"])
            self.running += counts
            try:
                await self._serve(scope, receive, answer, headers, request_id)
            finally:
                self.running -= counts
                seconds = time.perf_counter() - started
                self._measured(scope["method"], answer.status).observe(seconds)
                # Envoy's health checks come twice a second.
                tell = log.debug if _is_public(scope["path"]) else log.info
                tell(
                    "http", method=scope["method"], path=scope["path"], status=answer.status, seconds=round(seconds, 6)
                )

    async def _serve(
        self, scope: Scope, receive: Receive, answer: "_Answer", headers: Headers, request_id: str
    ) -> None:
        # Starlette's router raises what it cannot route, instead of answering, if it is part of an application.
        scope["app"] = self
        extra: Mapping[str, str] = {}
        try:
            if _is_public(scope["path"]):
                await self._app(scope, receive, answer)
            else:
                call.begin(self._accept(headers, request_id))
                await self._app(scope, receive, answer)
            return
        except ClientDisconnect:
            return
        except ShoalError as refusal:
            problem = refusal
        except HTTPException as unrouted:
            problem, extra = _unrouted(unrouted), unrouted.headers or {}
        except Exception:
            log.exception("request failed", path=scope["path"])
            problem = internal()
        if not answer.begun:
            response = problems.response(problem, path=scope["path"], request_id=request_id)
            response.headers.update(extra)
            await response(scope, receive, answer)

    def _accept(self, headers: Headers, request_id: str) -> Call:
        signed = headers.getlist(IDENTITY_HEADER)
        identity = self._signer.verify(signed, time.time())
        require_known(identity)
        return Call(
            request_id=request_id,
            identity=identity,
            signed_identity=signed[0],
            deadline=time.monotonic() + self._timeout_seconds,
            session_id=affinity.session_of(headers),
            client_address=affinity.address_of(headers),
        )


class _Answer:
    """Passes the answer on, and knows whether it began and with which status."""

    def __init__(self, send: Send, *, replica: str) -> None:
        self._send = send
        self._replica = replica
        self.begun = False
        self.status = CLIENT_LEFT

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            MutableHeaders(scope=message).setdefault(REPLICA_HEADER, self._replica)
        await self._send(message)


def _is_public(path: str) -> bool:
    return path in PUBLIC or _is_health(path)


def _is_health(path: str) -> bool:
    return path == "/health" or path.startswith("/health/")


def _unrouted(error: HTTPException) -> ShoalError:
    if error.status_code == 405:
        return ShoalError(Reason.METHOD_NOT_ALLOWED, "This path does not take this method; /docs lists what there is.")
    return ShoalError(Reason.PATH_NOT_FOUND, "There is nothing at this path; /docs lists what there is.")
