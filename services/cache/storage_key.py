"""Under which name an entry is kept: no caller can name another tenant's."""

import re

from meshkit.errors import field_invalid
from services.cache.policies import PolicyName

_KEY_FORM = re.compile("[0-9a-fA-F]{64}")


def storage_key(*, tenant: str, policy: PolicyName, key: str) -> str:
    """`<tenant>/<policy>/<key>`. The last two parts hold no slash, so no two tenants share, whatever their names hold.

    `tenant` is that of the verified identity, `key` what the caller sent; its case does not matter. Raises ShoalError
    FIELD_INVALID unless the key is 64 hexadecimal digits.
    """
    if not _KEY_FORM.fullmatch(key):
        raise field_invalid("key", "be 64 hexadecimal digits")
    return f"{tenant}/{policy}/{key.lower()}"
