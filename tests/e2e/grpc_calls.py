"""What tests of gRPC calls at the front door have in common."""

# The published types of grpc are generic where the classes are not.
from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def raw_method(channel: grpc.Channel, name: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that sends and receives bytes as they are."""
    return channel.unary_unary(name)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    rpc_status.from_call(error).details[0].Unpack(info)
    return info
