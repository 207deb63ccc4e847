"""Somebody else's Envoy: the rules of its domain, and what it asks."""

from pathlib import Path

from load.limits import questions

DOMAIN = "load"

_RULES = f"""\
domain: {DOMAIN}
descriptors:
  - key: route
    rate_limit: {{unit: second, requests_per_unit: 1000000}}
"""


def settings(folder: Path) -> dict[str, str]:
    """What a limiter must be told to know the domain, whose file is put into the folder."""
    file = folder / "domain.yaml"
    file.write_text(_RULES)
    return {"SHOAL_DOMAINS_PATH": str(file)}


def passing() -> bytes:
    """A question whose limit is never reached."""
    return questions.asked(DOMAIN, {"route": "checkout"})
