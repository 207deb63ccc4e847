"""What the log says of a server that is out: one line when it goes, one when it is back."""

import structlog

log = structlog.get_logger()


class Outage:
    """`server` is its name for the log, `setting` says where it is."""

    def __init__(self, server: str, *, setting: str) -> None:
        self.is_on = False
        self._server = server
        self._setting = setting

    def begin(self, cause: BaseException | None, *, meanwhile: str) -> None:
        """`meanwhile` says what holds until it is back. Nothing is said if it is out already."""
        if not self.is_on:
            self.is_on = True
            log.warning(
                "a server cannot be used: check that it runs, and its setting",
                server=self._server,
                setting=self._setting,
                meanwhile=meanwhile,
                cause=repr(cause),
            )

    def end(self) -> None:
        """Nothing is said if it was not out."""
        if self.is_on:
            self.is_on = False
            log.info("a server can be used again", server=self._server)
