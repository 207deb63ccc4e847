"""Calls of a measured cache are like those of a mesh."""

import time
from pathlib import Path

from load.cache.caller import metadata
from load.measuring.home import Home
from meshkit.call import request_id
from meshkit.identity import HEADER
from tests.mesh_identity import SECRET, SIGNER


def test_a_call_carries_an_identity_of_this_mesh_and_a_request_id_that_is_taken_over(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.secret_file.write_bytes(SECRET)
    told = metadata(home)
    assert SIGNER.verify([told[HEADER]], time.time()).tenant == "load"
    assert request_id(told["x-request-id"]) == told["x-request-id"]
