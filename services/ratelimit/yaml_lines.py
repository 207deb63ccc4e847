"""Files in YAML, read into structs; whatever is wrong with one is told with its line.

Scalars reach the struct as they are written, and its types say what they mean: `value: 007` is the text "007" for a
field of type str. Unquoted `null`, `~` and nothing at all are None.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

MOST_CHARACTERS = 1_000_000
MOST_NODES = 100_000
"""What a file may hold with its aliases written out."""

YamlPath = Sequence[str | int]
"""The names of fields and the places in lists (from 0) that lead to a value."""

T = TypeVar("T")

_NULL = "tag:yaml.org,2002:null"
_ANY_KEY = "..."
"""How msgspec writes every key of a dict."""
_SAID = re.compile(r"(.*?)( - at `(.*))?", re.DOTALL)
_STEP = re.compile(r"\.(\w+)|\[(?:(\d+)|\.\.\.)\]")
_PLAIN = re.compile(r"[\w-]+")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class FaultyFileError(ValueError):
    """A file cannot be used. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


def read(text: str, kind: type[T]) -> T:
    """Reads a document of that kind, a struct with `forbid_unknown_fields` all the way down.

    Checks in a struct's `__post_init__` that raise ValueError are told with the struct's line.
    Raises FaultyFileError.
    """
    root = _compose(text)
    data = _Builder().build(root)
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        message, place = _parsed(error)
        path = _with_keys(data, place, error, kind)
        raise FaultyFileError(_line(root, path), f"{_written(path)}{message}") from error


def fault_at(text: str, path: YamlPath, message: str) -> FaultyFileError:
    """A fault of a document that could be read. A path that leads nowhere has the line of as much as there is."""
    return FaultyFileError(_line(_compose(text), path), message)


def _compose(text: str) -> Node:
    if len(text) > MOST_CHARACTERS:
        raise FaultyFileError(1, f"the file has more than {MOST_CHARACTERS} characters")
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FaultyFileError(line, f"the character U+{ord(text[error.position]):04X} is not allowed") from error
    root = _root(loader)
    if root is None:
        raise FaultyFileError(1, "the file is empty")
    return root


def _root(loader: yaml.SafeLoader) -> Node | None:
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FaultyFileError(mark.line + 1 if mark else 1, str(error.problem or error.context)) from error
    except RecursionError:
        raise FaultyFileError(1, "the values are nested too deeply") from None
    except (ValueError, ArithmeticError) as error:
        # The parser lets through what chr() and int() say of an escape or a version that is out of range.
        raise FaultyFileError(loader.line + 1, f"this cannot be read: {error}") from error
    finally:
        loader.dispose()


class _Builder:
    """Makes plain values of nodes: texts, None, lists, dicts with texts as keys."""

    def __init__(self) -> None:
        self._nodes = 0

    def build(self, node: Node) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise FaultyFileError(_line_of(node), f"the file holds more than {MOST_NODES} values; mind its aliases")
        try:
            return self._value(node)
        except RecursionError:
            raise FaultyFileError(_line_of(node), "the values are nested too deeply") from None

    def _value(self, node: Node) -> Any:
        if isinstance(node, ScalarNode):
            return None if node.tag == _NULL else _text(node)
        if isinstance(node, SequenceNode):
            return [self.build(item) for item in node.value]
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise FaultyFileError(_line_of(key), "a name must be a plain text")
            name = _text(key)
            if name in values:
                raise FaultyFileError(_line_of(key), f"the name {name!r} is there twice")
            values[name] = self.build(value)
        return values


def _text(node: ScalarNode) -> str:
    text = str(node.value)
    if half := _HALF_CHARACTER.search(text):
        raise FaultyFileError(_line_of(node), f"U+{ord(half[0]):04X} is half a character; write it as \\U and 8 digits")
    return text


def _parsed(error: msgspec.ValidationError) -> tuple[str, list[str | int]]:
    """What msgspec says, and where: " - at `$.a[0].b`", or " - at `key` in `$.a`" for the keys of a dict."""
    message, _, place = _SAID.fullmatch(str(error)).groups("")  # type: ignore[union-attr] # it matches any text
    path = [int(item) if item else name or _ANY_KEY for name, item in _STEP.findall(place)]
    if place.startswith("key`"):
        path.append(_ANY_KEY)
    if unknown := _UNKNOWN.fullmatch(message):
        return f"the name {unknown[1]!r} is unknown here", [*path, unknown[1]]
    return message, path


def _with_keys(data: Any, path: list[str | int], error: msgspec.ValidationError, kind: type) -> YamlPath:
    """The path with the keys of dicts, which msgspec does not tell: a dict is left with one key after the other until
    the error is the same. Changes the data."""
    if _ANY_KEY not in path:
        return path
    place = path.index(_ANY_KEY)
    entries = data
    for step in path[:place]:
        entries = entries[step]
    for key, value in dict(entries).items():
        entries.clear()
        entries[key] = value
        if _error(data, kind) == str(error):
            return _with_keys(data, [*path[:place], key, *path[place + 1 :]], error, kind)
    return path[:place]


def _error(data: Any, kind: type) -> str:
    try:
        msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _written(path: YamlPath) -> str:
    """The path as the beginning of a message, such as `tiers.free.requests: `; a name of odd characters in quotes."""
    place = ""
    for step in path:
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            place += f"{'.' if place else ''}{step if _PLAIN.fullmatch(step) else repr(step)}"
    return f"{place}: " if place else ""


def _line(root: Node, path: YamlPath) -> int:
    """The line of the last step that can be made."""
    node, line = root, _line_of(root)
    for step in path:
        if (found := _child(node, step)) is None:
            break
        node, line = found
    return line


def _child(node: Node, step: str | int) -> tuple[Node, int] | None:
    """What is there, and the line where it begins: that of its name in a mapping."""
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], _line_of(node.value[step])
    if isinstance(node, MappingNode):
        return next(((value, _line_of(key)) for key, value in node.value if key.value == step), None)
    return None


def _line_of(node: Node) -> int:
    return int(node.start_mark.line) + 1
