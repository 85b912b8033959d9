"""Kubernetes manifests, read and checked as strictly as an API server would."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

OBJECT_META = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,45}[a-z0-9])?$"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
"""What these manifests use of it; CRDs leave metadata to the API server. Names of RayJobs and
RayClusters end after 47 characters."""


class _OnceOnly(yaml.SafeLoader):
    """Refuses a key that is there twice, where YAML readers keep one of the two."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in seen if seen.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"twice: {', '.join(sorted(twice))}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read(text: str) -> list[dict[str, Any]]:
    """All documents of a YAML file; what it says by reference is there each time, as a copy."""
    documents = [document for document in yaml.load_all(text, _OnceOnly) if document is not None]
    plain: list[dict[str, Any]] = json.loads(json.dumps(documents))
    return plain


def rendered(kustomization: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send to the API server.

    Args:
        kustomization: a folder with a `kustomization.yaml`.

    Raises:
        subprocess.CalledProcessError: kustomize cannot build it. Its message is shown.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, which is not there")
    command = [kubectl, "kustomize", str(kustomization)]
    return read(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def crd_schema(definition: Path, version: str) -> dict[str, Any]:
    """The schema of a custom resource, made strict.

    Args:
        definition: its CustomResourceDefinition.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    spec = yaml.load(definition.read_text(), loader)["spec"]
    (served,) = [served for served in spec["versions"] if served["name"] == version]
    schema = strict(served["schema"]["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": f"{spec['group']}/{version}"},
        "kind": {"const": spec["names"]["kind"]},
        "metadata": OBJECT_META,
    }
    return schema | {"required": ["apiVersion", "kind", "metadata", "spec"]}


def strict(schema: Any) -> Any:
    """A structural schema in which unknown fields are errors, which Kubernetes would drop."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: strict(part) for name, part in value.items()}
        if key == "properties"
        else strict(value)
        for key, value in schema.items()
    }
    if schema.get("x-kubernetes-int-or-string") and "anyOf" not in schema:
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_to_more = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in schema and "additionalProperties" not in schema and not open_to_more:
        made["additionalProperties"] = False
    return made


def problems(document: Any, schema: dict[str, Any]) -> list[str]:
    """What is wrong with a document, each with its place in it."""
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return sorted(f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors)


def pods_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every pod template in a manifest, at whatever depth."""
    yield from _with_containers(document)


def _with_containers(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "containers" in value:
            yield value
        for part in value.values():
            yield from _with_containers(part)
    elif isinstance(value, list):
        for part in value:
            yield from _with_containers(part)
