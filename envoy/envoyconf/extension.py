"""How Envoy's configuration names an extension and the type of its settings."""

from typing import Any

EnvoyObject = dict[str, Any]


def extension(name: str, type_name: str, **settings: Any) -> EnvoyObject:
    """An extension called `name`, set up by a message of the type `envoy.<type_name>`."""
    return {"name": name, "typed_config": typed(type_name, **settings)}


def typed(type_name: str, **settings: Any) -> EnvoyObject:
    """The message `envoy.<type_name>` where the schema takes any type."""
    return {"@type": f"type.googleapis.com/envoy.{type_name}", **settings}
