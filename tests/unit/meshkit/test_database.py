"""Where an owner's tables are."""

import pytest

from meshkit.database import database_url


def test_without_a_url_they_are_in_a_file_of_the_home() -> None:
    assert str(database_url("", home="/data", owner="cache")) == "sqlite+aiosqlite:////data/cache.db"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_with_one_all_owners_share_it_whichever_driver_it_names(scheme: str) -> None:
    url = database_url(f"{scheme}://user@host/name", home="/data", owner="cache")
    assert str(url) == "postgresql+asyncpg://user@host/name"


@pytest.mark.parametrize(
    ("url", "complaint"), [("mysql://host/name", "speaks sqlite and postgresql"), ("name", "no database")]
)
def test_what_names_no_database_of_ours_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        database_url(url, home="/data", owner="cache")
