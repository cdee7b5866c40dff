"""YAML for kubectl."""

import re
from typing import Any

_PLAIN = re.compile(r"(?!(yes|no|on|off|true|false|null)$)[A-Za-z][A-Za-z0-9./_-]+", re.IGNORECASE)  # nor y or 1e3


def to_yaml(value: Any) -> str:
    """The value as YAML. Texts are quoted unless every YAML takes them for text."""
    import yaml

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, None if _PLAIN.fullmatch(value) else '"')

    dumper: Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda _, __: True})
    dumper.add_representer(str, text)
    return str(yaml.dump(value, Dumper=dumper, sort_keys=False, width=2**20, allow_unicode=True))
