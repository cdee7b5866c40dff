"""The JSON schema of a configuration file, for editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from launcher.config.base import Section, Switch

_NOISE = ("title", "gt", "ge", "lt", "le")  # names of ours, and bounds that JSON schema spells otherwise


class _OfFiles(GenerateJsonSchema):
    """A section that may be absent may also be `true` or `false`."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        table = super().model_schema(schema)
        return {"anyOf": [{"type": "boolean"}, table]} if issubclass(schema["cls"], Switch) else table


def schema_of(model: type[Section], kind: str) -> dict[str, Any]:
    schema = _without_noise(model.model_json_schema(schema_generator=_OfFiles))
    assert isinstance(schema, dict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"launch {kind}"} | schema


def _without_noise(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_noise(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _NOISE or isinstance(value, dict)}
    if kept.get("default", 0) is None:
        del kept["default"]
    return {key: _without_noise(value) for key, value in kept.items()}
