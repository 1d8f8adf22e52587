"""Makes the settings: flag before environment before file before default, each parsed once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from plugin_gateway.adapters.configuration.options import GivenFlag, Option
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources import DEFAULT_RESOURCE, ResourceName, ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.file import FileContent

EVERY_PRODUCT = "*"
DEFAULT = "default"


def read_settings(
    options: Sequence[Option], flags: Mapping[str, GivenFlag], environment: Mapping[str, str]
) -> Settings:
    """Decide every option.

    ``flags`` has those that were given, by the name of the option. An empty variable counts as not set.

    Raises:
        InvalidValueError: it names the flag, the variable or the place in the file, the value, and what is allowed.
    """
    return _Reading(options, flags, environment).settings()


class _Found(NamedTuple):
    """The text that decides, and where it was found, in words for the log and in words for a complaint."""

    text: str
    source: str
    culprit: str


class _Reading:
    def __init__(
        self, options: Sequence[Option], flags: Mapping[str, GivenFlag], environment: Mapping[str, str]
    ) -> None:
        self._options = {option.name: option for option in options}
        self._flags = flags
        self._environment = environment
        self._content: FileContent | None = None
        self._sources: dict[str, str] = {}

    def settings(self) -> Settings:
        config_file = self._read("config_file")
        if config_file is not None:
            from plugin_gateway.adapters.configuration.file import read_file  # noqa: PLC0415 - YAML only where asked for

            self._content = read_file(Path(config_file), list(self._options.values()))
        values = {name: self._read(name) for name in self._options if name != "config_file"}
        values["kubelet_dir"] = Path(values["kubelet_dir"])
        values["dev_root"] = values["dev_root"] or values["driver_root"]
        values["container_driver_root"] = values["container_driver_root"] or values["driver_root"]
        resources = self._resources(values.pop("resource_name"))
        return Settings(
            **values,
            resources=resources,
            config_file=Path(config_file) if config_file is not None else None,
            sources=self._sources,
        )

    def _read(self, name: str) -> Any:
        option = self._options[name]
        found = self._find(option)
        self._sources[name] = found.source if found else DEFAULT
        text = found.text if found else option.default
        if text is None:
            return None
        try:
            return option.parse(text)
        except InvalidValueError as error:
            raise InvalidValueError(f"{found.culprit}: {error}" if found else str(error)) from error

    def _find(self, option: Option) -> _Found | None:
        given = self._flags.get(option.name)
        if given is not None:
            return _Found(text=given.text, source=f"flag {given.flag}", culprit=given.flag)
        for variable in option.variables:
            if text := self._environment.get(variable):
                return _Found(text=text, source=f"environment {variable}", culprit=f"environment variable {variable}")
        written = self._content.values.get(option.file_key or "") if self._content else None
        if written is None:
            return None
        place = written.place
        return _Found(text=written.text, source=f"file {place.line}", culprit=f"{place}: {option.file_key}")

    def _resources(self, name: ResourceName | None) -> tuple[ResourceRule, ...]:
        source = self._sources.pop("resource_name")
        if name is None and self._content is not None and self._content.resources is not None:
            self._sources["resources"] = f"file {self._content.resources.place.line}"
            return self._content.resources.rules
        self._sources["resources"] = source
        return (ResourceRule(pattern=EVERY_PRODUCT, name=name or DEFAULT_RESOURCE),)
