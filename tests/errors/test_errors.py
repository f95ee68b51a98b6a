from __future__ import annotations

from lossbench.errors import DataError, TrackingError, UnknownNameError


def test_messages_of_errors_have_no_secrets() -> None:
    for kind in (DataError, TrackingError):
        assert str(kind("http://me:pw@host: no")) == "http://***@host: no"
    assert "pw@" not in str(UnknownNameError("data set", "http://me:pw@host", ["digits"]))
