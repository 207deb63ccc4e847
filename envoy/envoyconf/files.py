"""Files that Envoy watches: how the configuration names one, and how its content reads."""

from pathlib import PurePath

import yaml

from envoyconf.extension import EnvoyObject, typed


def watched(path: str) -> EnvoyObject:
    """A source of configuration that is read again when a file is renamed to `path`; writing into it goes unnoticed.

    What Envoy cannot read changes nothing. The file has to be there when Envoy starts.
    """
    folder = str(PurePath(path).parent)
    return {"resource_api_version": "V3", "path_config_source": {"path": path, "watched_directory": {"path": folder}}}


def resources(*named: tuple[str, EnvoyObject]) -> str:
    """The content of such a file: messages, each with the name of its type without `envoy.`."""
    return as_yaml({"resources": [typed(type_name, **message) for type_name, message in named]})


def as_yaml(message: EnvoyObject) -> str:
    """Readable text; the same message always gives the same."""
    return yaml.safe_dump(message, sort_keys=False, width=120, allow_unicode=True)
