"""Where a request belongs: its session and its caller's address, by which Envoy may choose the agent."""

import re

from starlette.datastructures import Headers

from meshkit.call import SESSION_HEADER
from meshkit.ids import NEW_SESSION, is_id

_TRUSTED_ADDRESS_HEADER = "x-envoy-external-address"
"""Envoy sets it to the caller's address, whatever the caller and the proxies before Envoy wrote."""
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")


def session(text: str) -> str:
    """The text if it is the id of a session; else none: the form is checked elsewhere, and a new session has no id."""
    return text if is_id(text) and text != NEW_SESSION else ""


def session_of(headers: Headers) -> str:
    """The session that the caller names beside the body; empty if there is none."""
    return session(headers.get(SESSION_HEADER, ""))


def address_of(headers: Headers) -> str:
    """The caller's address as Envoy saw it; empty if Envoy was not asked."""
    address = headers.get(_TRUSTED_ADDRESS_HEADER, "")
    return address if _ADDRESS.fullmatch(address) else ""
