"""Which models are on offer, and which one a turn gets."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshkit.errors import Reason, ShoalError
from services.agent.ports import ChatModel, ModelInfo

FRESH_SECONDS = 60.0
"""How old a provider's list may be when it is shown; it is shown on if the provider then does not answer."""
RETRY_SECONDS = 1.0
"""How soon the provider is asked again by those who cannot do with the list as it is."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model of a turn, and why, in words."""

    model: str
    why: str


class ModelCatalog:
    """The models on offer: those that the settings name, else what the provider lists. The first is the default."""

    def __init__(self, *, provider: ChatModel, names: Sequence[str], clock: Callable[[], float]) -> None:
        """`clock` is in seconds."""
        self._provider = provider
        self._clock = clock
        self._models: Sequence[ModelInfo] = [ModelInfo(name) for name in names]
        self._trouble = ""
        self._asking = asyncio.Lock()
        self._asked = self._due = math.inf if names else -math.inf

    async def models(self) -> Sequence[ModelInfo]:
        """All models, at least one. Raises ShoalError MODEL_UNAVAILABLE if none was ever listed."""
        if self._clock() >= self._due:
            await self._ask()
        if not self._models:
            raise ShoalError(Reason.MODEL_UNAVAILABLE, self._trouble)
        return self._models

    async def choose(self, requested: str) -> Choice:
        """The model for a turn. Raises ShoalError MODEL_UNKNOWN or MODEL_UNAVAILABLE.

        The list at hand will do, however old: a provider that is slow to list must not hold up the turns.
        """
        models = self._models or await self.models()
        if not requested:
            return Choice(models[0].id, "the default model")
        if not self._has(requested) and self._clock() >= self._asked + RETRY_SECONDS:
            await self._ask()
        if not self._has(requested):
            offered = ", ".join(model.id for model in self._models[:10])
            raise ShoalError(
                Reason.MODEL_UNKNOWN,
                f"The model {requested[:100]!r} is not served; choose one of: {offered}.",
                field="model",
            )
        return Choice(requested, "requested by the caller")

    def _has(self, name: str) -> bool:
        return any(model.id == name for model in self._models)

    async def _ask(self) -> None:
        """Asks the provider for its list. Those who come meanwhile wait and share the outcome."""
        arrived = self._clock()
        async with self._asking:
            if self._asked >= arrived:
                return
            try:
                models, self._trouble = await self._provider.models(), "The model's provider lists no model."
            except ShoalError as error:
                models, self._trouble = (), error.message
            self._models = models or self._models
            self._asked = self._clock()
            self._due = self._asked + (FRESH_SECONDS if self._models else RETRY_SECONDS)
