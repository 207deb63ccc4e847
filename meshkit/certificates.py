"""Whether certificates in files can be used, found out as it will be: by a TLS handshake, here in memory."""

import ssl

_ROUNDS = 10
"""A handshake takes three at most."""


def server_context(cert_file: str, key_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, with that chain. Raises ValueError if the key is not that of the certificate."""
    return _with_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert_file, key_file)


def client_context(ca_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting what is in that file, authorities or not, and nobody else.

    Raises ValueError if there is no certificate in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(ca_file)
    except OSError:
        raise ValueError("holds no certificate in PEM") from None
    return context


def showing(context: ssl.SSLContext, cert_file: str, key_file: str) -> ssl.SSLContext:
    """The same context, for a client that has a certificate too. Raises ValueError as `server_context` does."""
    return _with_pair(context, cert_file, key_file)


def check_pair(cert_file: str, key_file: str) -> None:
    """Raises ValueError if a server cannot use it: key of another, expired, not yet valid, not for servers.

    Whether clients trust whoever signed it is not asked.
    """
    server = server_context(cert_file, key_file)
    client = client_context(cert_file)
    client.check_hostname = False
    try:
        shake_hands(server, client)
    except ssl.SSLError as error:
        raise ValueError(said(error)) from None


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, *, name: str | None = None) -> None:
    """Lets the two meet; the client calls the server by that name. Raises ssl.SSLError if either turns away."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for end in ends * _ROUNDS:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def said(error: ssl.SSLError) -> str:
    """What is wrong, in OpenSSL's words for users, such as `certificate has expired`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason.lower().replace("_", " ") if error.reason else str(error)


def _with_pair(context: ssl.SSLContext, cert_file: str, key_file: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without the empty password, OpenSSL would ask the terminal for the one of an encrypted key.
        context.load_cert_chain(cert_file, key_file, password="")
    except OSError:
        raise ValueError(
            "the key is not that of the certificate, or is encrypted, or one of the files is no PEM"
        ) from None
    return context
