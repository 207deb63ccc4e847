"""What checking addresses takes."""

import subprocess
import sys


def test_plain_addresses_are_checked_without_importing_a_client() -> None:
    program = """
import sys
from meshkit.server_urls import check_database_url, check_redis_url
check_redis_url("redis://127.0.0.1:6379/0")
check_database_url("")
print(sorted({"redis", "sqlalchemy"} & set(sys.modules)))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
