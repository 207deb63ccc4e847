"""TLS: at the front door with the operator's certificate, inside with one that all processes of the mesh share."""

from envoyconf.extension import EnvoyObject, extension
from envoyconf.secrets import FRONT, MESH, MESH_CA, secret_config

MESH_NAME = "shoal-mesh"
"""The name in every certificate of the mesh."""


def front_socket(files: str) -> EnvoyObject:
    """TLS for everybody, who may choose between HTTP/2 and HTTP/1.1."""
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [secret_config(files, FRONT)],
        },
    )


def inner_socket(files: str) -> EnvoyObject:
    """TLS for processes of the mesh, which show their certificate."""
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=mesh_context(files, "h2", "http/1.1"),
    )


def upstream_socket(files: str) -> EnvoyObject:
    """TLS to a process of the mesh, to which Envoy shows its certificate."""
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=MESH_NAME,
        common_tls_context=mesh_context(files, "http/1.1"),
    )


def mesh_context(files: str, *alpn: str) -> EnvoyObject:
    """Both sides inside show the mesh's certificate and take none but one of that name by the same authority."""
    named = {"san_type": "DNS", "matcher": {"exact": MESH_NAME}}
    return {
        "alpn_protocols": list(alpn),
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [secret_config(files, MESH)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [named]},
            "validation_context_sds_secret_config": secret_config(files, MESH_CA),
        },
    }
