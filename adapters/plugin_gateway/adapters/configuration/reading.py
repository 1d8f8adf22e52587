"""Makes the settings: flag before environment before file before default, each parsed once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugin_gateway.adapters.configuration.options import Option
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources import DEFAULT_RESOURCE, ResourceRule, parse_resource_name

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.file import FileContent

EVERY_PRODUCT = "*"


def read_settings(options: Sequence[Option], flags: Mapping[str, str], environment: Mapping[str, str]) -> Settings:
    """Decide every option.

    ``flags`` has the text of those that were given. An empty variable counts as not set.

    Raises:
        InvalidValueError: it names the flag, the variable or the place in the file, the value, and what is allowed.
    """
    return _Reading(options, flags, environment).settings()


class _Reading:
    def __init__(self, options: Sequence[Option], flags: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._options = {option.name: option for option in options}
        self._flags = flags
        self._environment = environment
        self._sources: dict[str, str] = {}

    def settings(self) -> Settings:
        config_file = self._read("config_file", None)
        content = None
        if config_file is not None:
            from plugin_gateway.adapters.configuration.file import read_file  # noqa: PLC0415 - YAML only where asked for

            content = read_file(Path(config_file), list(self._options.values()))
        values = {name: self._read(name, content) for name in self._options if name != "config_file"}
        values["kubelet_dir"] = Path(values["kubelet_dir"])
        values["dev_root"] = values["dev_root"] or values["driver_root"]
        values["container_driver_root"] = values["container_driver_root"] or values["driver_root"]
        resources = self._resources(values.pop("resource_name"), content)
        return Settings(
            **values,
            resources=resources,
            config_file=Path(config_file) if config_file is not None else None,
            sources=self._sources,
        )

    def _read(self, name: str, content: "FileContent | None") -> Any:
        option = self._options[name]
        text, source = self._find(option, content)
        self._sources[name] = source
        if text is None:
            return None
        try:
            return option.parse(text)
        except InvalidValueError as error:
            raise InvalidValueError(f"{source}: {error}") from error

    def _find(self, option: Option, content: "FileContent | None") -> tuple[str | None, str]:
        if option.name in self._flags:
            return self._flags[option.name], option.flags[0]
        for variable in option.variables:
            if self._environment.get(variable):
                return self._environment[variable], f"environment variable {variable}"
        written = content.values.get(option.file_key or "") if content else None
        if written is None:
            return option.default, "default"
        if written.is_switch != option.is_switch:
            allowed = "true and false" if option.is_switch else "words, not a switch"
            raise InvalidValueError(f"{written.place}: {option.file_key}: {written.text!r}, allowed are {allowed}")
        return written.text, str(written.place)

    def _resources(self, name: str | None, content: "FileContent | None") -> tuple[ResourceRule, ...]:
        if name is None and content is not None and content.resources is not None:
            self._sources["resources"] = str(content.resources_place)
            return content.resources
        self._sources["resources"] = source = self._sources.pop("resource_name")
        try:
            return (ResourceRule(pattern=EVERY_PRODUCT, name=parse_resource_name(name or DEFAULT_RESOURCE)),)
        except InvalidValueError as error:
            raise InvalidValueError(f"{source}: {error}") from error
