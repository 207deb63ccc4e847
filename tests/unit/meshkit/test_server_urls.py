"""What is said about the addresses of servers before anything starts."""

import pytest

from meshkit.server_urls import check_database_url, check_redis_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379",
        "redis://127.0.0.1:6379/0",
        "redis://valkey-0.valkey:16379/15",
        "redis://localhost",
        "rediss://user:secret@cache:6380/1",
        "redis://[::1]:6379/0?socket_timeout=1",
        "unix:///run/valkey.sock",
    ],
)
def test_addresses_that_the_client_takes_are_good(url: str) -> None:
    check_redis_url(url)


@pytest.mark.parametrize(
    "url", ["", "http://localhost", "127.0.0.1:6379", "redis://user:secret@host:port/0", "redis://h:70000/0"]
)
def test_others_are_not_and_are_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a URL such as redis://127\.0\.0\.1:6379/0$"):
        check_redis_url(url)


def test_no_database_is_good_and_so_is_one_that_we_speak_to() -> None:
    check_database_url("")
    check_database_url("postgresql://user@host/name")


def test_a_database_that_we_do_not_speak_to_is_named() -> None:
    with pytest.raises(ValueError, match="names 'mysql'; Shoal speaks sqlite and postgresql"):
        check_database_url("mysql://host/name")
