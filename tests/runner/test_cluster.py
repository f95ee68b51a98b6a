"""Connecting to a cluster, without starting one."""

import os
import socket

import pytest

from lossbench.errors import RequestError
from lossbench.runner import cluster
from lossbench.runner.cluster import ray_cluster
from lossbench.suite.schema import Resources


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with (
        pytest.raises(RequestError, match="no Ray cluster there"),
        ray_cluster(address, Resources()),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("AuthenticationError", "neither RAY_AUTH_TOKEN nor RAY_AUTH_TOKEN_PATH is set"),
        ("ConnectionError", "no Ray cluster there: .*; if it requires a token"),
    ],
)
def test_a_missing_or_wrong_token_is_reported(
    error: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    def refuse(**_: object) -> None:
        raise {"AuthenticationError": AuthenticationError}.get(error, ConnectionError)(
            "first\nrest"
        )

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RequestError, match=message), ray_cluster(address, Resources()):
            pass


@pytest.mark.parametrize("address", [None, "auto"])
def test_ray_gets_no_credentials_of_mlflow(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private import utils

    seen: dict[str, str] = {}

    def init(**_: object) -> None:
        seen.update(os.environ, command=utils.get_entrypoint_name())

    command = "lossbench run a.yaml --tracking-uri http://me:hunter2@host"
    monkeypatch.setattr(utils, "get_entrypoint_name", lambda: command)
    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    for name in cluster.DRIVER_ONLY:
        monkeypatch.setenv(name, f"hunter2 of {name}")
    with cluster.ray_cluster(address, Resources()):
        for name in cluster.DRIVER_ONLY:
            assert os.environ[name] == f"hunter2 of {name}"
    assert utils.get_entrypoint_name() == command
    assert seen["command"] == "lossbench run a.yaml --tracking-uri http://***@host"
    assert "hunter2" not in str(seen)
