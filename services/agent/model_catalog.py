"""Which models are on offer, and which one a turn gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshkit.errors import Reason, ShoalError
from services.agent.ports import ChatModel, ModelInfo

FRESH_SECONDS = 60.0
"""How long a provider's list is believed."""
RETRY_SECONDS = 5.0
"""How soon an unknown name may have the list fetched again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model of a turn, and why, in words."""

    model: str
    why: str


class ModelCatalog:
    """The models on offer: those that the settings name, else what the provider lists. The first is the default."""

    def __init__(self, *, provider: ChatModel, names: Sequence[str], clock: Callable[[], float]) -> None:
        self._provider = provider
        self._clock = clock
        self._fixed = bool(names)
        self._models: Sequence[ModelInfo] = [ModelInfo(name) for name in names]
        self._fetched = float("-inf")

    async def models(self) -> Sequence[ModelInfo]:
        """All models. Raises ShoalError MODEL_UNAVAILABLE if none were ever listed and the provider does not answer."""
        await self._refresh(older_than=FRESH_SECONDS)
        return self._models

    async def choose(self, requested: str) -> Choice:
        """The model for a turn. Raises ShoalError MODEL_UNKNOWN or MODEL_UNAVAILABLE."""
        models = await self.models()
        if not requested:
            return Choice(models[0].id, "the default model")
        if not self._has(requested):
            await self._refresh(older_than=RETRY_SECONDS)
        if not self._has(requested):
            offered = ", ".join(model.id for model in self._models[:10])
            raise ShoalError(
                Reason.MODEL_UNKNOWN, f"The model {requested!r} is not served; choose one of: {offered}.", field="model"
            )
        return Choice(requested, "requested by the caller")

    def _has(self, name: str) -> bool:
        return any(model.id == name for model in self._models)

    async def _refresh(self, *, older_than: float) -> None:
        if self._fixed or self._clock() - self._fetched <= older_than:
            return
        try:
            models = await self._provider.models()
        except ShoalError:
            if not self._models:
                raise
            return
        if models:
            self._models, self._fetched = models, self._clock()
        elif not self._models:
            raise ShoalError(Reason.MODEL_UNAVAILABLE, "The model's provider lists no model.")
