"""The arguments of `plugin-gateway bundle`. Collects the parts, writes the archive, and says what is in it."""

import argparse
import io
import os
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from plugin_gateway.adapters.commands.bundle.collecting import (
    AbsentError,
    Content,
    Part,
    UnavailableError,
    within,
)
from plugin_gateway.adapters.commands.bundle.parts import Place, parts_of, settings_content, state_parts
from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_options, decide_flag, given_flags
from plugin_gateway.adapters.commands.gateway_settings import view_as_the_gateway
from plugin_gateway.adapters.configuration.options import Options, is_nvidias
from plugin_gateway.adapters.control.running_gateway import find_start
from plugin_gateway.adapters.support.terminal import as_json, printable
from plugin_gateway.core.errors import GatewayError, InvalidValueError

DESCRIPTION = """\
Collects in one file what support needs to know of this node and its gateway. The list of
what is in it, and of what is not and why, is printed, and is manifest.json in the file. It takes at most some minutes,
also where the gateway or the driver hangs.

FILE must not exist yet. With - the file goes to standard output, such as through kubectl exec.

Ends with 0 where all was collected, 1 where something could not be, 2 for a wrong argument."""
FLAGS = (Options.kubelet_dir, Options.state_dir, Options.backend, Options.config_file, Options.record)
"""The options that replace what the gateway has."""
_TAKEN: Mapping[str, Sequence[str]] = {
    "doctor": ("kubelet_dir", "state_dir", "backend", "config_file"),
    "status": ("state_dir",),
    "devices": ("state_dir", "backend", "config_file"),
}
"""The names of the options that the commands have whose output is collected."""
STDOUT = "-"
MANIFEST = "manifest.json"
FOLDER = "plugin-gateway-bundle"
"""The folder in the archive."""
CONTAINS = "ids of devices, names of products, of the node and of pods, and paths"
LACKS = "no tokens, no environment variables but the gateway's own, and no answers of other device plugins"
_SETTINGS_LIMIT = 30.0
"""Seconds. The control socket of each gateway has 5 s for each step."""


class NotWrittenError(GatewayError):
    """The file cannot be written. The message is for the administrator."""


class Entry(NamedTuple):
    """What became of a part."""

    name: str
    outcome: str
    """``included``, ``absent`` if this gateway has no such part, ``failed`` if it could not be collected."""
    size: int = 0
    """Bytes."""
    remark: str = ""
    """Why it is not there, or what is missing from it, for people."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, FLAGS)
        parser.usage = "%(prog)s FILE.tar.gz [flags]"
        parser.add_argument("file", metavar="FILE", help="a new file, such as bundle.tar.gz; - for standard output")

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts), DESCRIPTION)


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Write the bundle, and print what is in it. Return 1 if something could not be collected.

    Raises:
        InvalidValueError: a flag is wrong, or standard output is a terminal.
        NotWrittenError: the file exists, or cannot be written. What was written of it is removed.
    """
    begun = time.time()
    with _opened(parsed.file) as file:
        say = sys.stderr if parsed.file == STDOUT else sys.stdout
        entries = [*_write(file, _collected(parsed, parts), begun)]
    _show(entries, parsed.file, say)
    return 1 if any(each.outcome == "failed" for each in entries) else 0


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Open the new file, which only its owner may read, or standard output. After an error the file is removed."""
    if path == STDOUT:
        if sys.stdout.isatty():
            raise InvalidValueError("FILE: invalid value '-'; standard output is a terminal, send it to a file: > FILE")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise NotWrittenError(f"{path} exists already; give a new file") from error
    except OSError as error:
        raise NotWrittenError(f"{path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except OSError as error:
        _remove(path)
        hint = "; write it to another file system, or to standard output with -"
        raise NotWrittenError(f"{path}: {error.strerror or error}{hint}") from error
    except BaseException:
        _remove(path)
        raise


def _remove(path: str) -> None:
    with suppress(OSError):
        Path(path).unlink()


def _collected(parsed: argparse.Namespace, parts: Parts) -> Iterator[tuple[str, Content | GatewayError]]:
    """Yield each part with its name, as soon as it is there; the error if it is not."""
    folders = Place(decide_flag(parsed, Options.state_dir), decide_flag(parsed, Options.kubelet_dir))
    place = folders
    try:
        place, content = within(_SETTINGS_LIMIT, lambda: _settings(parsed, parts))
        yield "settings.json", content
    except UnavailableError as error:
        yield "settings.json", error
    given = {name: f"{flag.flag}={flag.text}" for name, flag in given_flags(FLAGS, parsed).items()}
    flags = {command: [given[name] for name in names if name in given] for command, names in _TAKEN.items()}
    for part in parts_of(place, flags):
        yield part.name, _made(part)
    try:
        of_state = within(_SETTINGS_LIMIT, lambda: state_parts(place.state_dir))
    except (UnavailableError, OSError) as error:
        yield "state/", UnavailableError(_words(error))
        return
    for part in of_state:
        yield part.name, _made(part)


def _settings(parsed: argparse.Namespace, parts: Parts) -> tuple[Place, Content]:
    """Return where the parts are, and the part of the settings."""
    view = view_as_the_gateway(parsed, parts)
    settings = view.settings
    pid = find_start(settings.state_dir, is_nvidias).pid
    place = Place(settings.state_dir, settings.kubelet_dir, settings.record, settings.listen, pid)
    return place, settings_content(settings, view.problems)


def _made(part: Part) -> Content | GatewayError:
    try:
        return within(part.limit, part.make)
    except GatewayError as error:
        return error
    except OSError as error:
        return UnavailableError(_words(error))


def _words(error: Exception) -> str:
    """Return why something could not be read, for people."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


def _write(file: BinaryIO, collected: Iterator[tuple[str, Content | GatewayError]], begun: float) -> Iterator[Entry]:
    """Write the archive, and yield what became of each part. The manifest is its last file, because it has all sizes.

    Raises:
        OSError: the file cannot be written.
    """
    entries: list[Entry] = []
    with tarfile.open(fileobj=file, mode="w|gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in collected:
            if isinstance(content, Content):
                _add(archive, name, content.data, begun)
            entries.append(_entry(name, content))
            yield entries[-1]
        _add(archive, MANIFEST, _manifest(entries, begun), begun)


def _add(archive: tarfile.TarFile, name: str, data: bytes, modified: float) -> None:
    member = tarfile.TarInfo(f"{FOLDER}/{name}")
    member.size, member.mode, member.mtime = len(data), 0o600, int(modified)
    archive.addfile(member, io.BytesIO(data))


def _entry(name: str, content: Content | GatewayError) -> Entry:
    if isinstance(content, Content):
        return Entry(name, "included", len(content.data), content.remark)
    return Entry(name, "absent" if isinstance(content, AbsentError) else "failed", remark=str(content))


def _manifest(entries: Sequence[Entry], begun: float) -> bytes:
    """Return the list of what is in the bundle, and what is not."""
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun))
    parts = [each._asdict() for each in entries]
    return f"{as_json({'made_at': made_at, 'contains': CONTAINS, 'lacks': LACKS, 'parts': parts})}\n".encode()


def _show(entries: Sequence[Entry], path: str, out: TextIO) -> None:
    """Print what became of each part, and what the bundle contains."""
    width = max(len(each.name) for each in entries)
    for each in entries:
        size = f"{each.size} bytes" if each.outcome == "included" else each.outcome
        remark = f"  {each.remark}" if each.remark else ""
        out.write(f"{printable(f'{each.name:{width}}  {size:>14}{remark}')}\n")
    name = "the bundle" if path == STDOUT else path
    lines = (f"{name} contains {CONTAINS}.", f"It has {LACKS}.", "Look through it before you send it.")
    out.writelines(f"{printable(line)}\n" for line in lines)
