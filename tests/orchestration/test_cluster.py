"""Finding a cluster, without starting one."""

import pytest

from lossbench.errors import RequestError
from lossbench.orchestration.cluster import connect
from lossbench.suite import Resources


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nonsense"])
def test_an_address_without_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="no Ray cluster there"), connect(address, Resources()):
        pass
