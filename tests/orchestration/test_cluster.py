"""Finding a cluster, without starting one."""

import socket

import pytest

from lossbench.errors import RequestError
from lossbench.orchestration.cluster import connect
from lossbench.suite import Resources


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="no Ray cluster there"), connect(address, Resources()):
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("AuthenticationError", "neither RAY_AUTH_TOKEN nor RAY_AUTH_TOKEN_PATH has one"),
        ("ConnectionError", "no Ray cluster there: .*; if it asks for a token"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_told(
    error: str, told: str, monkeypatch: pytest.MonkeyPatch
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
        with pytest.raises(RequestError, match=told), connect(address, Resources()):
            pass
