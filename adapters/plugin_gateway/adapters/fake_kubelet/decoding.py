"""What a release makes of bytes that are no message, or whose strings are not UTF-8."""

from typing import Any

from google.protobuf.message import DecodeError

from plugin_gateway.adapters.fake_kubelet.any_bytes import mended
from plugin_gateway.adapters.fake_kubelet.releases import Release


class UnreadableError(Exception):
    """The message cannot be read; in the words of grpc-go."""


def readable(data: bytes, message: Any, kubelet: Release) -> bytes:
    """Give the bytes as they can be read.

    Raises:
        UnreadableError: the release cannot read them.
    """
    try:
        if kubelet.takes_any_bytes:
            return mended(data, message)
        message.FromString(data)
    except DecodeError as error:
        raise UnreadableError(kubelet.bad_utf8 if "UTF-8" in str(error) else kubelet.undecodable) from error
    return data
