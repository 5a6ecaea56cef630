"""The Kubernetes manifests: as they stand in the files, and as Kustomize puts them together."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its stubs would be one more dependency

from tests.documents import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job"})
#: All components together, which no overlay of ours has.
EVERYTHING = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: photo-archive
images: [{{name: photo-archive, newTag: "1"}}]
resources: [{base}]
components: [{components}]
"""

Manifest = dict[str, Any]


def in_files(folder: Path = KUBERNETES) -> list[Manifest]:
    """Return all manifests below a folder, as they stand in the files."""
    return [
        document
        for path in sorted(folder.rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def rendered(name: str, scratch: Path) -> list[Manifest]:
    """Return what Kustomize makes of an overlay, of `servers`, or of `everything`.

    Skips where neither kubectl nor kustomize is installed.
    """
    if name == "everything":
        copied = shutil.copytree(KUBERNETES, scratch / "kubernetes")
        folder = copied / "overlays" / name
        folder.mkdir()
        components = ", ".join(
            f"../../components/{one.name}" for one in sorted((copied / "components").iterdir())
        )
        text = EVERYTHING.format(base="../../base", components=components)
        (folder / "kustomization.yaml").write_text(text)
    else:
        folder = KUBERNETES / (name if name == "servers" else f"overlays/{name}")
    done = subprocess.run([*_kustomize(), folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def _kustomize() -> tuple[str, ...]:
    for command in (("kubectl", "kustomize"), ("kustomize", "build")):
        if shutil.which(command[0]):
            return command
    return pytest.skip("neither kubectl nor kustomize is installed")


def workloads(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Yield name, manifest and pod of each workload."""
    for one in manifests:
        if one["kind"] in WORKLOADS:
            yield one["metadata"]["name"], one, one["spec"]["template"]["spec"]


def environment(container: Manifest) -> dict[str, Manifest]:
    """Return the variables that a container is given by name."""
    return {one["name"]: one for one in container.get("env", ())}


def settings(manifests: list[Manifest]) -> dict[str, str]:
    """Return the settings that all processes share."""
    (found,) = (
        one["data"]
        for one in manifests
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "settings")
    )
    return dict(found)
