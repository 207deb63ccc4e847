"""An RPC that is measured, found by the name of its stubs."""

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

PROTOS = Path(__file__).resolve().parents[2] / "protos"


@dataclass(frozen=True)
class Rpc:
    """A unary method. Its proto must be under protos/ as its stubs are under gen/."""

    stubs: str
    """The module of its messages, such as shoal.cache.v1.cache_pb2."""
    service: str
    name: str

    @cached_property
    def descriptor(self) -> MethodDescriptor:
        """Raises KeyError if there is no such method, ImportError if there are no such stubs."""
        file = importlib.import_module(self.stubs).DESCRIPTOR
        method: MethodDescriptor = file.services_by_name[self.service].methods_by_name[self.name]
        return method

    @property
    def full_service(self) -> str:
        """The service's name with its package."""
        return str(self.descriptor.containing_service.full_name)

    @property
    def path(self) -> str:
        """As in HTTP/2: /package.Service/Method."""
        return f"/{self.full_service}/{self.name}"

    @property
    def proto(self) -> Path:
        return PROTOS / str(self.descriptor.containing_service.file.name)
