"""Scenarios: who asks what, how many at once, for how long. They are read from TOML files."""

import re
from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from load.front_door.tiers import TIERS
from load.simulated_model.directives import DirectiveError, parse_directives

FOLDER = Path(__file__).resolve().parents[1] / "scenarios"
NUMBER = "{number}"
"""In the words of a task it stands for a number that no other request has, so that no answer is cached."""

Model = Literal["simulated", "local"]
Words = Annotated[str, Meta(min_length=1, max_length=20_000)]
Short = Annotated[str, Meta(min_length=1, max_length=40)]
Tokens = Annotated[int, Meta(ge=1, le=100_000)]
AtOnce = Annotated[int, Meta(ge=1, le=256)]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


class ScenarioError(ValueError):
    """A scenario cannot be run. The message names the file and the fault."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field that is not known is refused, not ignored."""


class Task(_Part, frozen=True, kw_only=True):
    """Something to ask."""

    words: Words
    share: Annotated[int, Meta(ge=1, le=100)] = 1
    """How often it is asked, beside the other tasks of the same callers."""


class Callers(_Part, frozen=True, kw_only=True):
    """Callers of one kind. Each asks again when it has its answer."""

    name: Short
    tasks: Annotated[list[Task], Meta(min_length=1, max_length=20)]
    at_once: AtOnce
    """How many callers there are."""
    at_once_local: AtOnce | None = None
    """The same on the local model, which computes; as many if nothing is said."""
    tier: str = "bench"
    """Of their API key, which they share."""
    stream: bool = False
    """Whether they read the answer as it is written: ExecuteStream, or server-sent events."""
    max_tokens: Tokens | None = None
    """How long an answer may be; as long as the model likes if nothing is said."""
    max_tokens_local: Tokens | None = None
    """The same on the local model; as on the other if nothing is said."""
    simulated: str = ""
    """Directives to the simulated model, such as `[[tokens=50]]`."""

    def number_at_once(self, model: Model) -> int:
        return self.at_once_local or self.at_once if model == "local" else self.at_once

    def tokens_at_most(self, model: Model) -> int | None:
        return self.max_tokens_local or self.max_tokens if model == "local" else self.max_tokens

    def cycle(self, model: Model) -> list[str]:
        """The tasks as the model reads them, each as often as its share says."""
        directives = f"{self.simulated} " if self.simulated and model == "simulated" else ""
        unit = gcd(*(task.share for task in self.tasks))
        return [directives + task.words for task in self.tasks for _ in range(task.share // unit)]

    def faults(self) -> list[str]:
        faults = [] if self.tier in TIERS else [f"there is no tier {self.tier!r}; there are {', '.join(TIERS)}"]
        # ghz would take them for a template.
        if any("{{" in task.words for task in self.tasks):
            faults.append("the words of a task cannot hold {{")
        try:
            _, rest = parse_directives(self.simulated)
        except DirectiveError as error:
            return [*faults, str(error)]
        return [*faults, f"`simulated` holds more than directives: {rest!r}"] if rest else faults


class Scenario(_Part, frozen=True, kw_only=True):
    """What a file says; its name is the file's."""

    title: Short
    shows: Words
    """What is seen by it."""
    callers: Annotated[list[Callers], Meta(min_length=1, max_length=5)]
    """All at the same time."""
    models: tuple[Model, ...] = ("simulated", "local")
    """Those that it makes sense on."""

    def faults(self) -> list[str]:
        names = [callers.name for callers in self.callers]
        twice = [f"there are several callers named {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1]
        return [*twice, *(f"{callers.name}: {fault}" for callers in self.callers for fault in callers.faults())]


def read(path: Path) -> tuple[str, Scenario]:
    """The scenario in a file, and its name. Raises ScenarioError."""
    name = path.stem
    if not _NAME.fullmatch(name):
        raise ScenarioError(
            f"{path.name}: name the file by a-z 0-9 _ -, beginning with a letter; plots are named by it"
        )
    try:
        scenario = msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path.name} cannot be read: {error}") from None
    except msgspec.DecodeError as error:
        raise ScenarioError(f"{path.name}: {error}") from None
    if faults := scenario.faults():
        raise ScenarioError(f"{path.name}: {'; '.join(faults)}")
    return name, scenario


def own(only: Sequence[str]) -> dict[str, Scenario]:
    """Those of load/scenarios by name; all, or some. Raises ScenarioError."""
    paths = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
    if unknown := set(only) - set(paths):
        raise ScenarioError(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(paths)}")
    return dict(read(paths[name]) for name in only or paths)
