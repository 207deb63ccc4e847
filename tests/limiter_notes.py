"""What a limiter's buckets tell their observer, for tests to look at."""

from dataclasses import dataclass, field


@dataclass
class Notes:
    """What the store told."""

    changes: list[str] = field(default_factory=list)
    alone: int = 0

    def degraded(self, cause: BaseException | None) -> None:
        self.changes.append("degraded")

    def recovered(self) -> None:
        self.changes.append("recovered")

    def decided_alone(self) -> None:
        self.alone += 1

    def counted(self, limiters: int) -> None: ...

    def took_together(self, groups: int) -> None: ...
