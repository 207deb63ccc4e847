"""What is wrong with a request, told to the caller: the field at fault, and what it may be."""

import re
from collections.abc import Iterator

import msgspec
from msgspec import inspect

from meshkit.errors import Reason, ShoalError, field_invalid

LONGEST_NAME = 100
"""Characters of a caller's field name that are repeated to it."""

_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<kinds>[a-z |]+)`(?:, got `[^`]*`|(?P<bound>.*))", re.DOTALL)
_NO_CHOICE = "Invalid enum value "
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object",
}


def invalid(error: msgspec.ValidationError, kind: type) -> ShoalError:
    """What a validation error of a `kind` means to the caller."""
    text = str(error)
    located = _PATH.search(text)
    path = located["path"] if located else ""
    what = _PATH.sub("", text)
    field = path.removeprefix(".") or "body"
    if missing := _MISSING.fullmatch(what):
        name = f"{path}.{missing['name']}".removeprefix(".")
        return ShoalError(Reason.FIELD_REQUIRED, f"The field '{name}' is required.", field=name)
    if unknown := _UNKNOWN.fullmatch(what):
        name = f"{path}.{unknown['name'][:LONGEST_NAME]}".removeprefix(".")
        return ShoalError(Reason.FIELD_UNKNOWN, f"There is no field '{name}'; remove it.", field=name)
    if expected := _EXPECTED.fullmatch(what):
        return field_invalid(field, f"be {_in_words(expected['kinds'])}{expected['bound'] or ''}")
    if what.startswith(_NO_CHOICE):
        return field_invalid(field, f"be {_listed(list(_choices(inspect.type_info(kind), path)))}")
    return ShoalError(Reason.FIELD_INVALID, f"The field '{field}': {what}.", field=field)


def _in_words(kinds: str) -> str:
    """JSON's null goes without saying: it is the same as leaving a field out."""
    return _listed([_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null"])


def _listed(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _choices(kind: inspect.Type, path: str) -> Iterator[str]:
    """The words that may stand at a path, such as ".messages[0].role"."""
    match kind:
        case inspect.Metadata(type=inner):
            yield from _choices(inner, path)
        case inspect.UnionType(types=kinds):
            for each in kinds:
                yield from _choices(each, path)
        case inspect.ListType(item_type=item):
            yield from _choices(item, path.partition("]")[2])
        case inspect.StructType(fields=fields):
            for field in fields:
                if re.match(rf"\.{re.escape(field.encode_name)}(?=[.\[]|$)", path):
                    yield from _choices(field.type, path[len(field.encode_name) + 1 :])
        case inspect.LiteralType(values=values) if not path:
            yield from map(str, values)
