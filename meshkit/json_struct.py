"""JSON objects as google.protobuf.Struct and back."""

import math
from typing import Any

from google.protobuf import struct_pb2

from meshkit.errors import field_invalid

EXACT_INTEGERS = 2**53
"""A Struct knows only floats: integers up to this size survive the way."""


def to_struct(values: dict[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(values)
    return message


def from_struct(struct: struct_pb2.Struct, *, field: str) -> dict[str, Any]:
    """A Struct as JSON-like Python, whole numbers as ints again.

    Raises ShoalError naming `field` for infinity and NaN.
    """
    return {key: _plain(value, field) for key, value in struct.fields.items()}


def _plain(value: struct_pb2.Value, field: str) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value, field=field)
        case "list_value":
            return [_plain(item, field) for item in value.list_value.values]
        case "number_value":
            return _number(value.number_value, field)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _number(number: float, field: str) -> int | float:
    if not math.isfinite(number):
        raise field_invalid(field, "hold only finite numbers")
    return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGERS else number
