"""Certificates and keys for Envoy, one watched file for each: Envoy takes no file with two of them."""

from envoyconf.extension import EnvoyObject
from envoyconf.files import resources, watched

FRONT = "front"
MESH = "mesh"
MESH_CA = "mesh-ca"


def front_secret_file(files: str) -> str:
    """Where the front door's certificate and key are."""
    return _secret_file(files, FRONT)


def mesh_secret_file(files: str) -> str:
    """Where the certificate and the key are by which the processes of the mesh know each other."""
    return _secret_file(files, MESH)


def mesh_ca_file(files: str) -> str:
    """Where the authority is that signed the certificates of the mesh."""
    return _secret_file(files, MESH_CA)


def render_certificate(cert_pem: str, key_pem: str) -> str:
    """The content of the front door's file. It holds the key, so nobody else may read it."""
    return _render_pair(FRONT, cert_pem, key_pem)


def render_mesh(cert_pem: str, key_pem: str) -> str:
    """The content of the mesh's file. It holds the key, so nobody else may read it."""
    return _render_pair(MESH, cert_pem, key_pem)


def render_mesh_ca(ca_pem: str) -> str:
    """The content of the authority's file."""
    return _render(MESH_CA, {"validation_context": {"trusted_ca": {"inline_string": ca_pem}}})


def secret_config(files: str, name: str) -> EnvoyObject:
    """How a TLS context names one of these secrets."""
    return {"name": name, "sds_config": watched(_secret_file(files, name))}


def _secret_file(files: str, name: str) -> str:
    return f"{files}/secrets/{name}/secret.yaml"


def _render_pair(name: str, cert_pem: str, key_pem: str) -> str:
    pair = {"certificate_chain": {"inline_string": cert_pem}, "private_key": {"inline_string": key_pem}}
    return _render(name, {"tls_certificate": pair})


def _render(name: str, secret: EnvoyObject) -> str:
    return resources(("extensions.transport_sockets.tls.v3.Secret", {"name": name, **secret}))
