"""Decides every option: flag before environment before file before default, each parsed once."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from plugin_gateway.adapters.configuration.options import GivenFlag, Option
from plugin_gateway.adapters.configuration.unsupported import refuse_unsupported
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.file import FileContent, FileRules
    from plugin_gateway.adapters.configuration.health_section import FileHealth
    from plugin_gateway.core.health.policy import HealthPolicy

    DefaultHealth = Callable[[], HealthPolicy]

DEFAULT = "default"


class Decisions(NamedTuple):
    """What was decided: all that Settings are made of, before anything heavy is imported to make them."""

    values: Mapping[str, Any]
    """As parsed, by the name of the option; None where it was decided nowhere and has no default."""
    sources: Mapping[str, str]
    """Where each value came from, by the name of the option."""
    file_rules: "FileRules | None"
    file_health: "FileHealth | None"
    default_health: "DefaultHealth"


def decide(
    options: Sequence[Option],
    flags: Mapping[str, GivenFlag],
    environment: Mapping[str, str],
    default_health: "DefaultHealth",
) -> Decisions:
    """Decide every option; ``default_health`` makes what is decided about health by default.

    ``flags`` has those that were given, by the name of the option, or their own where NVIDIA's plugin alone has them.
    An empty variable counts as not set.

    Raises:
        InvalidValueError: it names the flag, the variable or the place in the file, the value, and what is allowed.
    """
    refuse_unsupported(flags, environment)
    return _Reading(options, flags, environment).decide(default_health)


def decide_one(option: Option, flags: Mapping[str, GivenFlag], environment: Mapping[str, str]) -> Any:
    """Decide an option by itself, without a file.

    Raises:
        InvalidValueError: as `decide`.
    """
    return _Reading((option,), flags, environment).read(option.name)


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

    def decide(self, default_health: "DefaultHealth") -> Decisions:
        config_file = self.read("config_file")
        if config_file is not None:
            from plugin_gateway.adapters.configuration.file import read_file  # noqa: PLC0415 - YAML only where asked for

            self._content = read_file(config_file, list(self._options.values()), default_health().kinds)
        values = {name: self.read(name) for name in self._options if name != "config_file"}
        values["dev_root"] = values["dev_root"] or values["driver_root"]
        values["container_driver_root"] = values["container_driver_root"] or values["driver_root"]
        return Decisions(
            values={**values, "config_file": config_file},
            sources=self._sources,
            file_rules=self._content.resources if self._content else None,
            file_health=self._content.health if self._content else None,
            default_health=default_health,
        )

    def read(self, name: str) -> Any:
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
