"""Makes tests/k8s/jobset.schema.json: the schema of a JobSet, with Kubernetes' own of the jobs in it.

    python tests/k8s/make_schema.py CRD SWAGGER > tests/k8s/jobset.schema.json

CRD is config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml of kubernetes-sigs/jobset, SWAGGER is
kubernetes/swagger.json.unprocessed of kubernetes-client/python: the OpenAPI of Kubernetes. What is left out is text for
people, fields that only a server writes, and definitions that no JobSet reaches. A field that neither knows is an error
here; a server would drop it.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = "io.k8s.api.batch.v1.JobTemplateSpec"
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
COMMENT = (
    "JobSet v0.12.0 (kubernetes-sigs/jobset) and Kubernetes 1.36 (kubernetes-client/python), both Apache-2.0, "
    "Copyright The Kubernetes Authors; trimmed by tests/k8s/make_schema.py"
)


def trimmed(node: Any) -> Any:
    """Without descriptions and vendor extensions, and closed to fields that are not known."""
    if isinstance(node, list):
        return [trimmed(each) for each in node]
    if not isinstance(node, dict):
        return node
    names = "properties" in node
    found = {
        key: {name: trimmed(value) for name, value in inner.items()} if key == "properties" else trimmed(inner)
        for key, inner in node.items()
        if not key.startswith("x-")
        and not (key in ("description", "format", "default") and not isinstance(inner, dict))
    }
    return found | ({"additionalProperties": False} if names else {})


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rpartition("/")[2]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def schema(crd: dict[str, Any], swagger: dict[str, Any]) -> dict[str, Any]:
    found = trimmed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    del found["properties"]["status"]
    found["properties"]["metadata"] = {"$ref": f"#/definitions/{METADATA}"}
    found["properties"]["apiVersion"]["enum"] = ["jobset.x-k8s.io/v1alpha2"]
    found["properties"]["kind"]["enum"] = ["JobSet"]
    found["required"] = ["apiVersion", "kind", "metadata", "spec"]
    jobs = found["properties"]["spec"]["properties"]["replicatedJobs"]["items"]
    jobs["properties"]["template"] = {"$ref": f"#/definitions/{TEMPLATE}"}
    claims = found["properties"]["spec"]["properties"]
    claims.pop("volumeClaimPolicies", None)
    definitions: dict[str, Any] = {}
    missing = {TEMPLATE, METADATA}
    while missing:
        definitions |= {name: trimmed(swagger["definitions"][name]) for name in missing}
        missing = set(references(definitions)) - definitions.keys()
    definitions[QUANTITY] = {"type": ["string", "number"]}
    return {"$comment": COMMENT, **found, "definitions": dict(sorted(definitions.items()))}


if __name__ == "__main__":
    crd, swagger = (Path(name).read_text(encoding="utf-8") for name in sys.argv[1:])
    print(json.dumps(schema(yaml.safe_load(crd), json.loads(swagger)), indent=1))
