"""The documents say what the code does."""

import re
from pathlib import Path

import pytest

from envoyconf.route_names import AGENT_API, PATHS, ROUTE_NAMES, RPCS
from launcher.settings_table import markdown
from meshkit.errors import Code, Reason, ShoalError
from services.cache.policies import DEFAULT_POLICIES
from services.gateway.problems import http_status

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_is_the_table_of_the_code() -> None:
    assert (ROOT / "docs/settings.md").read_text() == markdown()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    assert not [target for target in targets if "://" not in target and not (page.parent / target).exists()]


@pytest.mark.parametrize("reason", Reason)
def test_every_error_is_on_the_page_as_it_is_in_the_table(reason: Reason) -> None:
    error = ShoalError(reason, "")
    expected = f"| {reason} | {error.code} | {http_status(error)} | {'yes' if error.retryable else 'no'} |"
    assert expected in (ROOT / "docs/errors.md").read_text()


def test_the_errors_page_names_nothing_else() -> None:
    listed = re.findall(r"^\| ([A-Z_]+) \| ([A-Z_]+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert {reason for reason, _ in listed} == set(Reason)
    assert {code for _, code in listed} <= set(Code)


def test_the_limits_page_names_the_routes_as_envoy_does() -> None:
    _, _, after = (ROOT / "docs/limits.md").read_text().partition("- Routes are ")
    told = dict(re.findall(r"`([a-z]+)`\s\(([^)]+)\)", after.partition("\n- ")[0]))
    assert set(told) == ROUTE_NAMES
    for path, name in PATHS.items():
        assert f"`{path}`" in told[name]
    for rpc, name in RPCS.items():
        if rpc != AGENT_API:
            assert rpc.rpartition("/")[2] in told[name]


def test_the_cache_page_tells_the_policies_as_they_are() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) s \| ([L1-3, ]+) \| (?:(\d+) s)? ?\|", (ROOT / "docs/cache.md").read_text(), re.MULTILINE
    )
    told = {name: (float(ttl), levels.lower().split(", "), float(stale or 0)) for name, ttl, levels, stale in rows}
    assert told == {
        name: (policy.ttl_seconds, list(policy.levels), policy.stale_seconds)
        for name, policy in DEFAULT_POLICIES.items()
    }


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target


def test_the_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


def test_the_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
