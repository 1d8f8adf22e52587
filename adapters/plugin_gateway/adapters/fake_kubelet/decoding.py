"""How a release reads bytes that are not a valid message, or whose strings are not UTF-8."""

from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from plugin_gateway.adapters.fake_kubelet.releases import Release


class UnreadableError(Exception):
    """The message cannot be read. The text is that of grpc-go."""


def readable(data: bytes, message: Any, kubelet: Release) -> bytes:
    """Return the message in a form that the generated classes can read.

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


def mended(data: bytes, message: Any) -> bytes:
    """Return the message with U+FFFD in place of whatever is not UTF-8 in its strings.

    Raises:
        DecodeError: even then the bytes are not such a message.
    """
    try:
        message.FromString(data)
    except DecodeError:
        read = _twin(message.DESCRIPTOR.file, message.DESCRIPTOR.full_name).FromString(data)
        _mend(read)
        return bytes(read.SerializeToString())
    return data


@cache
def _twin(file: FileDescriptor, name: str) -> Any:
    """Return a copy of the message type that has bytes in place of strings."""
    copy = FileDescriptorProto()
    file.CopyToProto(copy)
    for message in copy.message_type:
        _replace_strings(message)
    pool = DescriptorPool()
    pool.Add(copy)
    return GetMessageClass(pool.FindMessageTypeByName(name))


def _replace_strings(message: DescriptorProto) -> None:
    for nested in message.nested_type:
        nested.options.ClearField("map_entry")  # the key of a map cannot be of type bytes
        _replace_strings(nested)
    for field in message.field:
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES


def _mend(message: Any) -> None:
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in values:
                _mend(each)
        elif field.type == FieldDescriptor.TYPE_BYTES and field.is_repeated:
            value[:] = [_text(each) for each in values]
        elif field.type == FieldDescriptor.TYPE_BYTES:
            setattr(message, field.name, _text(value))


def _text(value: bytes) -> bytes:
    return value.decode(errors="replace").encode()
