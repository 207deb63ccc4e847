"""Several processes invalidate, compute and hear of each other late, lose their log and restart: nothing comes back."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from services.cache.generations.generation_watcher import GenerationWatcher
from services.cache.generations.generations import Generations, News
from tests.memory_generation_log import MemoryGenerationLog

PROCESSES = 3
SCOPES = ("a", "b", "c")

Fact = tuple[int, str]
"""At that step of the history the scope was invalidated."""


@dataclass
class SharedLog:
    """The log that all processes use, and what it ought to know."""

    most_scopes: int
    step: int = 1
    losses: int = -1
    facts: set[Fact] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.lose()

    def lose(self) -> None:
        self.losses += 1
        self.facts = set()
        self._log = MemoryGenerationLog(micros=lambda: self.step, most_scopes=self.most_scopes)

    async def since(self, generation: int, *, epoch: str) -> News:
        return await self._log.since(generation, epoch=epoch)

    async def invalidate(self, scope: str) -> int:
        return await self._log.invalidate(scope)

    async def restore(self, epoch: str, known: News) -> str:
        return await self._log.restore(epoch, known)


class Process:
    """A view that is kept by a real watcher, and what it ought to know."""

    def __init__(self, log: SharedLog) -> None:
        self.facts: set[Fact] = set()
        self.losses = 0
        """So many it has heard of."""
        self.view = Generations()
        self._log = log
        self._watcher = GenerationWatcher(log, self.view, clock=lambda: float(log.step))

    async def hear(self) -> None:
        await self._watcher.hear()
        self.losses = self._log.losses
        self._log.facts |= self.facts
        self.facts |= self._log.facts

    async def invalidate(self, scope: str) -> None:
        fact = (self._log.step, scope)
        self._log.facts.add(fact)
        self.facts.add(fact)
        await self._watcher.invalidate(scope)
        await self.hear()

    async def invalidate_and_hear_no_more(self, scope: str) -> None:
        """As when the log is gone right after it."""
        fact = (self._log.step, scope)
        self._log.facts.add(fact)
        self.facts.add(fact)
        self.view.invalidated(scope, await self._log.invalidate(scope))


@dataclass(frozen=True)
class Answer:
    """`began` is the step at which its oldest part was computed; `losses` is how many there had been in the end."""

    began: int
    losses: int
    generation: int
    scopes: tuple[str, ...]


@dataclass
class World:
    """`wish` is one step of a history: what is done, by which process, with which scopes."""

    log: SharedLog
    processes: list[Process] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    async def begin(self) -> None:
        self.processes = [Process(self.log) for _ in range(PROCESSES)]
        for process in self.processes:
            await process.hear()

    async def do(self, wish: str, number: int, scopes: tuple[str, ...]) -> None:
        self.log.step += 1
        process = self.processes[number]
        match wish:
            case "hear":
                await process.hear()
            case "invalidate":
                await process.invalidate(scopes[0])
            case "invalidate and hear no more":
                await process.invalidate_and_hear_no_more(scopes[0])
            case "compute":
                self.answers.append(self._computed(process, scopes))
            case "lose":
                self.log.lose()
            case "restart":
                self.processes[number] = Process(self.log)

    def _computed(self, process: Process, scopes: tuple[str, ...]) -> Answer:
        """An answer that is made of all those that the process finds with the same scopes."""
        parts = [
            answer.began
            for answer in self.answers
            if answer.scopes == scopes and process.view.is_valid(answer.generation, scopes)
        ]
        return Answer(min([self.log.step, *parts]), self.log.losses, process.view.latest, scopes)


def is_outdated(answer: Answer, facts: set[Fact]) -> bool:
    return any(step > answer.began and scope in answer.scopes for step, scope in facts)


some_scopes = st.lists(st.sampled_from(SCOPES), min_size=1, max_size=2, unique=True).map(tuple)


def histories(*wishes: str) -> st.SearchStrategy[list[tuple[str, int, tuple[str, ...]]]]:
    return st.lists(st.tuples(st.sampled_from(wishes), st.integers(0, PROCESSES - 1), some_scopes), max_size=30)


@settings(max_examples=300)
@given(
    histories("hear", "hear", "compute", "compute", "invalidate", "invalidate and hear no more", "lose", "restart"),
    st.sampled_from([2, 100]),
)
async def test_what_a_process_knows_to_be_outdated_it_never_finds(
    history: list[tuple[str, int, tuple[str, ...]]], most_scopes: int
) -> None:
    """But for what others made of it after a loss that it has not heard of: it cannot have told them yet."""
    world = World(SharedLog(most_scopes))
    await world.begin()
    for wish in history:
        await world.do(*wish)
        for process in world.processes:
            for answer in world.answers:
                if answer.losses <= process.losses and is_outdated(answer, process.facts):
                    assert not process.view.is_valid(answer.generation, answer.scopes), (wish, answer)


@settings(max_examples=200)
@given(histories("hear", "compute", "invalidate", "invalidate and hear no more", "lose"))
async def test_what_nobody_ever_invalidated_stays_valid_everywhere_as_long_as_one_process_lives(
    history: list[tuple[str, int, tuple[str, ...]]],
) -> None:
    world = World(SharedLog(most_scopes=100))
    await world.begin()
    for wish, number, scopes in history:
        await world.do(wish, number, scopes if wish != "compute" else ("untouched",))
        await world.processes[0].hear()
        newcomer = Process(world.log)
        await newcomer.hear()
        for process in (*world.processes, newcomer):
            assert all(process.view.is_valid(answer.generation, answer.scopes) for answer in world.answers)


@settings(max_examples=200)
@given(histories("hear", "compute", "invalidate"))
async def test_what_is_computed_by_one_who_has_heard_everything_is_valid_until_it_is_invalidated(
    history: list[tuple[str, int, tuple[str, ...]]],
) -> None:
    world = World(SharedLog(most_scopes=100))
    await world.begin()
    for wish, number, scopes in history:
        if wish == "compute":
            await world.processes[number].hear()
        await world.do(wish, number, scopes)
    for process in world.processes:
        await process.hear()
        for answer in world.answers:
            valid = process.view.is_valid(answer.generation, answer.scopes)
            assert valid is not is_outdated(answer, world.log.facts)


async def test_without_anybody_who_knows_nothing_from_before_a_loss_is_trusted() -> None:
    world = World(SharedLog(most_scopes=100))
    await world.begin()
    await world.do("invalidate", 0, ("a",))
    await world.do("compute", 0, ("b",))
    await world.do("lose", 0, ("a",))
    (before,) = world.answers
    newcomer = Process(world.log)
    await newcomer.hear()
    assert not newcomer.view.is_valid(before.generation, before.scopes)
    await world.do("hear", 0, ("a",))
    await newcomer.hear()
    assert newcomer.view.is_valid(before.generation, before.scopes), "one who knew told the log"
