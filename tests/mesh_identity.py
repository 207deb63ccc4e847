"""Who calls a service in tests: identities that are signed with a secret which the tests know."""

import time

from meshkit.identity import HEADER, LIFETIME_SECONDS, Authentication, Identity, IdentitySigner

SECRET = b"the mesh secret of these tests, 32 bytes or more"
SIGNER = IdentitySigner(SECRET)
FORGER = IdentitySigner(b"a secret that is not that of this mesh")

Metadata = tuple[tuple[str, str], ...]


def signed(
    tenant: str = "acme",
    *,
    key_id: str = "key_1",
    authentication: Authentication = Authentication.API_KEY,
    metered: bool = False,
    lifetime_seconds: float = LIFETIME_SECONDS,
    signer: IdentitySigner = SIGNER,
) -> Metadata:
    """The metadata of a call on behalf of a tenant. Envoy adds it to requests of REST as a header."""
    expires = time.time() + lifetime_seconds
    return metadata_of(Identity(tenant, "premium", key_id, authentication, expires, metered), signer=signer)


def metadata_of(identity: Identity, *, signer: IdentitySigner = SIGNER) -> Metadata:
    """The same for any identity."""
    return ((HEADER, signer.sign(identity)),)
