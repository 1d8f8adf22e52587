"""Texts and times as HTML."""

from datetime import UTC, datetime
from html import escape

from plugin_gateway.adapters.support.terminal import printable


def text(words: str) -> str:
    """Return a text for the page, without markup and control characters."""
    return escape(printable(words))


def joined(*words: str | None) -> str:
    """Return the texts that are not empty, with dots between them."""
    return " · ".join(text(each) for each in words if each)


def moment(epoch: float) -> str:
    """Return a time in seconds since the epoch as people read it, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(epoch: float) -> str:
    """Return the time of the day, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%H:%M:%S")
