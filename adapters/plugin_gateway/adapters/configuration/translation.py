"""Translates a configuration of NVIDIA's device plugin: what it means there, as the gateway reads it strictly.

Keys that NVIDIA's plugin ignores are left out, because they would be followed. What asks for something that the gateway
does not do is lost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.configuration.document import Document, compose
from plugin_gateway.adapters.configuration.file import VERSION, FileContent, read_document
from plugin_gateway.adapters.configuration.health_section import NO_HEALTH
from plugin_gateway.adapters.configuration.kinds import parse_switch
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.resource_rules import SharedResources
from plugin_gateway.adapters.configuration.unsupported import UnsupportedSettingError
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import HealthPolicy


class Translation(NamedTuple):
    """A configuration of ours, and what became of the rest."""

    document: Mapping[str, Any]
    lost: tuple[str, ...] = ()
    """What asked for something that it does not get here."""
    left_out: tuple[str, ...] = ()
    """What NVIDIA's plugin ignores, too."""


Translate = Callable[[str, bytes], Translation]
"""Translates the content of a configuration file. The first argument is what complaints call it."""


class _LenientDocument(Document):
    """Collects what is not supported apart from what is wrong."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lost: list[str] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        with super().collecting():
            try:
                yield
            except UnsupportedSettingError as error:
                self.lost += error.problems


def translator(options: Sequence[Option[object]], health: HealthPolicy) -> Translate:
    """Return the function that translates the content of a configuration file. It raises `InvalidValueError`."""

    def translate(name: str, data: bytes) -> Translation:
        document = _LenientDocument(Path(name))
        root = compose(document.path, data)
        content = read_document(document, root, options, health, as_nvidia=True)
        return Translation(_written(name, content, options), tuple(document.lost), content.ignored)

    return translate


def _written(name: str, content: FileContent, options: Sequence[Option[object]]) -> Mapping[str, Any]:
    """Return the configuration as a document.

    Raises:
        InvalidValueError: it has keys of the gateway's own.
    """
    resources = content.resources
    if content.health != NO_HEALTH or content.cards is not None or (resources is not None and resources.own):
        raise InvalidValueError(
            f"{name}: it has health, resources.rules, resources.rdma or resources.onload, which NVIDIA's device plugin "
            "does not know; a configuration of the gateway needs no translation"
        )
    switches = {option.key for option in options if option.is_switch}
    document: dict[str, Any] = {"version": VERSION}
    for key, value in content.values.items():
        put(document, key, parse_switch(value.text) if key in switches else value.text)
    if resources is not None and resources.shared.resources:
        document["sharing"] = {resources.shared.way.word: _sharing(resources.shared)}
    return document


def _sharing(shared: SharedResources) -> Mapping[str, Any]:
    section: dict[str, Any] = {}
    if shared.rename_by_default:
        section["renameByDefault"] = True
    if shared.one_per_request != shared.way.one_per_request:
        section["failRequestsGreaterThanOne"] = shared.one_per_request
    section["resources"] = [{"name": str(each.name), "replicas": each.replicas} for each in shared.resources]
    return section


def put(document: dict[str, Any], path: str, value: object) -> None:
    """Write a value at a path such as ``flags.migStrategy``."""
    *sections, last = path.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[last] = value
