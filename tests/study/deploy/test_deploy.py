"""The launcher's YAML by Ray's own schema, KubeRay's manifest by its structure; both run what this package has."""

import json
import shlex
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import ray
import ray.autoscaler
import yaml

from study.config.command_line import compose
from study.config.parse import study_config

DEPLOY = files("study.deploy")


@pytest.fixture(scope="module")
def rayjob() -> Any:
    return yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())


def test_the_launcher_accepts_the_cluster() -> None:
    config = yaml.safe_load((DEPLOY / "cluster.yaml").read_text())
    schema = json.loads((files(ray.autoscaler) / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert types["head"]["resources"] == {"CPU": 0}
    assert 0 < types["worker"]["min_workers"] <= types["worker"]["max_workers"] <= config["max_workers"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "workers": 4}, schema)


def test_the_rayjob_is_one_of_kuberay(rayjob: Any) -> None:
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    spec = rayjob["spec"]
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    cluster = spec["rayClusterSpec"]
    (worker,) = cluster["workerGroupSpecs"]
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    for group in (cluster["headGroupSpec"], worker):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["image"]
        assert set(container["resources"]) == {"requests", "limits"}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_the_rayjob_runs_a_study_that_fits_its_workers(rayjob: Any) -> None:
    python, flag, module, *overrides = shlex.split(rayjob["spec"]["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "study.sweep")
    config = study_config(compose("config", overrides))
    assert config.cluster.address == "auto"
    cluster = rayjob["spec"]["rayClusterSpec"]
    (container,) = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    has = container["resources"]["requests"]
    assert config.cluster.cpus_per_worker <= float(has["cpu"])
    assert config.cluster.gpus_per_worker <= float(has["nvidia.com/gpu"])
    assert str(config.study_dir).startswith(container["volumeMounts"][0]["mountPath"])


def test_every_version_of_ray_is_the_one_that_is_tested(rayjob: Any) -> None:
    image = f"rayproject/ray:{ray.__version__}-"
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert image in (DEPLOY / "cluster.yaml").read_text()
    assert image in (DEPLOY / "Dockerfile").read_text()
