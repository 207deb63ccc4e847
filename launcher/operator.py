"""The operator of the mesh: who the command line is when it calls a service."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from launcher.settings import OperatorSettings
from meshkit.call import REQUEST_ID_HEADER, request_id
from meshkit.channel import open_channel
from meshkit.errors import Reason
from meshkit.identity import HEADER, Authentication, Identity, IdentitySigner
from meshkit.status import from_rpc_error

_TIMEOUT_SECONDS = 10.0
_SIGNED_FOR_SECONDS = 60.0

Request = TypeVar("Request")
Response = TypeVar("Response")


class OperatorError(Exception):
    """The command could not be carried out. The message says what to do."""


class Operator:
    """Calls services of the mesh through the inner listener. The channel is closed by whoever opened it."""

    def __init__(self, channel: grpc.aio.Channel, *, address: str, signer: IdentitySigner) -> None:
        self.channel = channel
        self._address = address
        self._signer = signer

    async def call(
        self,
        rpc: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        *metadata: tuple[str, str],
    ) -> Response:
        """`metadata` is sent besides what says who calls. Raises OperatorError."""
        metadata = ((HEADER, self._signed_identity()), (REQUEST_ID_HEADER, request_id(None)), *metadata)
        try:
            return await rpc(request, metadata=metadata, timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
            if error.reason is Reason.SERVICE_UNAVAILABLE:
                raise OperatorError(
                    f"The mesh does not answer at {self._address}; start it with `make run` or `shoal up`, "
                    "or set SHOAL_MESH_*_FILE for this command as they are set for the mesh."
                ) from None
            raise OperatorError(error.message) from None

    def _signed_identity(self) -> str:
        operator = Identity(
            tenant="shoal",
            tier="operator",
            key_id="operator",
            authentication=Authentication.OPERATOR,
            expires=time.time() + _SIGNED_FOR_SECONDS,
        )
        return self._signer.sign(operator)


@asynccontextmanager
async def open_operator(settings: OperatorSettings) -> AsyncIterator[Operator]:
    """The operator of the mesh whose secret and address these are. Raises OperatorError if the secret is no good."""
    try:
        signer = IdentitySigner.from_file(str(settings.secret_file()))
    except (OSError, ValueError) as error:
        raise OperatorError(f"The mesh's secret in {settings.secret_file()} is no good: {error}") from None
    async with open_channel(settings.address(), tls=settings.mesh_tls()) as channel:
        yield Operator(channel, address=settings.address(), signer=signer)
