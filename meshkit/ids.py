"""Ids that callers choose: of sessions and of users."""

import re

NEW_SESSION = "new"
"""As a session id: let the server mint one."""
ID_RULE = "be 1 to 128 characters of A-Z a-z 0-9 . _ : -"

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_id(text: str) -> bool:
    """Whether it has the form of an id, which may travel in headers as it is."""
    return _ID.fullmatch(text) is not None
