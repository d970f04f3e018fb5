"""Who executes what: the activeness safety check."""

from pylivepatch.activeness.holders import Holder

__all__ = ["Holder"]
