"""What Envoy writes about each request: one line of JSON on stdout, without query strings and credentials."""

from envoyconf.extension import EnvoyObject, extension


def access_log(listener: str) -> EnvoyObject:
    """Logs every request of `listener`."""
    return extension(
        "envoy.access_loggers.stdout",
        "extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": log_fields(listener)},
    )


def failure_log(listener: str) -> EnvoyObject:
    """Logs only the requests of `listener` that failed."""
    failed_http = {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "log.status"}}}
    failures = [
        {"status_code_filter": failed_http},
        {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}},
    ]
    return access_log(listener) | {"filter": {"or_filter": {"filters": failures}}}


def log_fields(listener: str) -> dict[str, str]:
    """Durations are in milliseconds. `limiter_ms` is the time from the request's first byte to its way upstream."""
    return {
        "timestamp": "%START_TIME%",
        "service": "envoy",
        "listener": listener,
        "request_id": "%STREAM_ID%",
        "traceparent": "%REQ(TRACEPARENT)%",
        "trace_id": "%TRACE_ID%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "protocol": "%PROTOCOL%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "code": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS(CAMEL_STRING)%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "cache": "%RESP(X-SHOAL-CACHE)%",
        "limit": "%RESP(RATELIMIT)%",
        "replica": "%RESP(X-SHOAL-REPLICA)%",
        "upstream": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "duration_ms": "%DURATION%",
        "first_byte_ms": "%RESPONSE_DURATION%",
        "limiter_ms": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
    }
