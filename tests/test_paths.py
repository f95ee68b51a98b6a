from __future__ import annotations

from pathlib import Path

import pytest

from lossbench.errors import RequestError
from lossbench.paths import user_path


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/data") == tmp_path / "data"
    assert user_path("data/~") == Path("data/~")
    with pytest.raises(RequestError, match="~nobody_at_all is not a home folder"):
        user_path("~nobody_at_all/data")
