"""lossbench: classification losses, trained under identical recipes, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossbench.losses import create_loss as create_loss

__version__ = "0.1.0"
__all__ = ["create_loss"]


# imported on first use: torch takes a second to import, and `lossbench --help` does not need it
def __getattr__(name: str) -> Any:
    if name == "create_loss":
        from lossbench.losses import create_loss

        return create_loss
    raise AttributeError(f"module 'lossbench' has no attribute {name!r}")
