"""Decides each option: flag before environment before file before default. The text that decides is parsed once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from plugin_gateway.adapters.configuration.file_version import FileVersion
from plugin_gateway.adapters.configuration.option import GivenFlag, Option
from plugin_gateway.adapters.configuration.unsupported import refuse_unsupported
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.file import FileContent, FileRules
    from plugin_gateway.adapters.configuration.health_section import FileHealth
    from plugin_gateway.core.health.policy import HealthPolicy

    DefaultHealth = Callable[[], HealthPolicy]

DEFAULT = "default"
"""The source of a value that was given nowhere."""


class Decisions(NamedTuple):
    """The value of each option, and its source. `make_settings` makes Settings from it, which needs more imports."""

    values: Mapping[str, Any]
    """Parsed values by the name of the option. None where it was given nowhere and has no default."""
    sources: Mapping[str, str]
    """The source of each value, by the name of the option: ``flag --x``, ``environment X``, ``file F:LINE`` or
    ``default``."""
    file_rules: "FileRules | None"
    file_health: "FileHealth | None"
    file_version: FileVersion | None
    """Which version of the file was read. None without a file."""
    default_health: "DefaultHealth"
    """Returns the policy of the backend, which holds where nothing else was decided."""


def decide(
    options: Sequence[Option],
    flags: Mapping[str, GivenFlag],
    environment: Mapping[str, str],
    default_health: "DefaultHealth",
    problems: list[str] | None = None,
) -> Decisions:
    """Decide every option. ``default_health`` returns the health policy that holds by default.

    ``flags`` has the flags that were given, by the name of the option. A flag that only NVIDIA's plugin has stands
    there by its own name. An empty environment variable counts as not set. With a list for ``problems``, nothing is
    raised: what is not allowed is added to it, and the default holds instead.

    Raises:
        InvalidValueError: a value is not allowed. The message names the flag, the variable or the place in the file,
            the
        value, and what is allowed.
    """
    reading = _Reading(options, flags, environment, problems)
    with reading.tolerating():
        refuse_unsupported(flags, environment)
    return reading.decide(default_health)


def decide_one(option: Option, flags: Mapping[str, GivenFlag], environment: Mapping[str, str]) -> Any:
    """Return the value of a single option, without reading a file.

    Raises:
        InvalidValueError: as for `decide`.
    """
    return _Reading((option,), flags, environment, None).read(option.name)


class _Found(NamedTuple):
    """The text that decides, and its source: once as the log shows it, and once as an error message shows it."""

    text: str
    source: str
    culprit: str


class _Reading:
    def __init__(
        self,
        options: Sequence[Option],
        flags: Mapping[str, GivenFlag],
        environment: Mapping[str, str],
        problems: list[str] | None,
    ) -> None:
        self._options = {option.name: option for option in options}
        self._flags = flags
        self._environment = environment
        self._content: FileContent | None = None
        self._sources: dict[str, str] = {}
        self._problems = problems

    @contextmanager
    def tolerating(self) -> Iterator[None]:
        """Note what the block does not allow, and go on behind it, if problems are to be noted."""
        try:
            yield
        except InvalidValueError as error:
            if self._problems is None:
                raise
            self._problems.extend(error.problems)

    def decide(self, default_health: "DefaultHealth") -> Decisions:
        """Decide all options. The path of the file comes first, because the file has values for others."""
        config_file = self.read("config_file")
        if config_file is not None:
            from plugin_gateway.adapters.configuration.file import read_file  # noqa: PLC0415 - YAML only where asked for

            with self.tolerating():
                self._content = read_file(config_file, list(self._options.values()), default_health())
        values = {name: self.read(name) for name in self._options if name != "config_file"}
        values["dev_root"] = values["dev_root"] or values["driver_root"]
        values["container_driver_root"] = values["container_driver_root"] or values["driver_root"]
        return Decisions(
            values={**values, "config_file": config_file},
            sources=self._sources,
            file_rules=self._content.resources if self._content else None,
            file_health=self._content.health if self._content else None,
            file_version=self._content.version if self._content else None,
            default_health=default_health,
        )

    def read(self, name: str) -> Any:
        """Return the value of one option, and note its source."""
        option = self._options[name]
        with self.tolerating():
            return self._read(option)
        self._sources[name] = DEFAULT
        return None if option.default is None else _parse(option, option.default, "")

    def _read(self, option: Option) -> Any:
        name = option.name
        if name in self._flags:
            for given in self._flags[name].all():
                _parse(option, given.text, given.flag)
        found = self._find(option)
        self._sources[name] = found.source if found else DEFAULT
        text = found.text if found else option.default
        return None if text is None else _parse(option, text, found.culprit if found else "")

    def _find(self, option: Option) -> _Found | None:
        """Return the text from the place that takes precedence; None where only the default is left."""
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


def _parse(option: Option, text: str, culprit: str) -> Any:
    """Return the value of a text. An error begins with the culprit: the flag, the variable or the place in the file."""
    try:
        return option.parse(text)
    except InvalidValueError as error:
        raise InvalidValueError(f"{culprit}: {error}" if culprit else str(error)) from error
