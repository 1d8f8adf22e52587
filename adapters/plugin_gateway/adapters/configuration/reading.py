"""Decides each option: flag before environment before file before default. The text that decides is parsed once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend, alone, resolved
from plugin_gateway.adapters.configuration.file_version import FileVersion
from plugin_gateway.adapters.configuration.option import GivenFlag, Option
from plugin_gateway.adapters.configuration.options import NVIDIA, Options
from plugin_gateway.adapters.configuration.unsupported import refuse_unsupported
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path

    from plugin_gateway.adapters.configuration.card_rules import FileCards
    from plugin_gateway.adapters.configuration.config_folder import Choose
    from plugin_gateway.adapters.configuration.file import FileContent
    from plugin_gateway.adapters.configuration.health_section import FileHealth
    from plugin_gateway.adapters.configuration.resource_rules import FileResources
    from plugin_gateway.core.health.policy import HealthPolicy

    DefaultHealth = Callable[[], HealthPolicy]
    CardHealth = Callable[[str], HealthPolicy]

COMPATIBILITY = Options.config_compatibility.name
DEFAULT = "default"
"""The source of a value that was given nowhere."""


class Decisions(NamedTuple):
    """The value of each option, and its source. `make_settings` makes Settings from it, which needs more imports."""

    options: Options
    sources: Mapping[str, str]
    """The source of each value, by the name of the option: ``flag --x``, ``environment X``, ``file F:LINE`` or
    ``default``."""
    file_resources: "FileResources | None"
    file_health: "FileHealth | None"
    file_version: FileVersion | None
    """Which version of the file was read. None without a file."""
    file_ignored: Sequence[str]
    """What NVIDIA's device plugin ignores in the file, a sentence for each key."""
    default_health: "DefaultHealth"
    """Returns the policy of the GPUs, which holds where nothing else was decided."""
    card_health: "CardHealth | None" = None
    """Returns that of the network cards of a backend."""
    backends: "Callable[[str], Sequence[ChosenBackend]]" = alone
    """Returns the backends that a value of ``--backend`` chooses."""
    file_cards: "FileCards | None" = None

    @property
    def chosen(self) -> "Sequence[ChosenBackend]":
        """The backends, with those that the sections of the file add to ``auto``."""
        return self.backends(resolved(self.options.backend, self.file_cards.sections if self.file_cards else ()))


def decide(
    options: Sequence[Option[object]],
    flags: Mapping[str, GivenFlag],
    environment: Mapping[str, str],
    default_health: "DefaultHealth",
    problems: list[str] | None = None,
    choose: "Choose | None" = None,
    card_health: "CardHealth | None" = None,
) -> Decisions:
    """Decide every option. ``default_health`` returns the health policy that holds by default.

    ``card_health`` returns that of a backend with network cards.

    ``choose`` chooses a file from the folder of ``--config-dir``; without it, the label of the node counts that
    the last gateway has kept.

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
    return reading.decide(default_health, choose, card_health)


def kept_of(option: Option[object], flags: Mapping[str, GivenFlag], environment: Mapping[str, str]) -> object:
    """Return what the parser of a single option keeps of its text, without reading a file.

    Raises:
        InvalidValueError: as for `decide`.
    """
    return _Reading((option,), flags, environment, None).read(option)


class _Reading:
    def __init__(
        self,
        options: Sequence[Option[object]],
        flags: Mapping[str, GivenFlag],
        environment: Mapping[str, str],
        problems: list[str] | None,
    ) -> None:
        self._options = options
        self._flags = flags
        self._environment = environment
        self._content: FileContent | None = None
        self._values: dict[str, object] = {}
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

    def decide(
        self, default_health: "DefaultHealth", choose: "Choose | None", card_health: "CardHealth | None"
    ) -> Decisions:
        """Decide all options. How the file is read and its path come first, because it has values for others."""
        as_nvidia = any(self.read(each) == NVIDIA for each in self._options if each.name == COMPATIBILITY)
        config_file = self.read(next(each for each in self._options if each.name == Options.config_file.name))
        folder = Options.config_dir.value(self.read(Options.config_dir))
        if folder is not None:
            with self.tolerating():
                config_file = self._choose_file(folder, choose)
        if config_file is not None:
            from plugin_gateway.adapters.configuration.file import read_file  # noqa: PLC0415 - YAML only where asked for

            with self.tolerating():
                self._content = read_file(
                    str(config_file), self._options, default_health(), as_nvidia=as_nvidia, card_health=card_health
                )
        for option in self._options:
            self.read(option)
        return Decisions(
            options=Options(self._values),
            sources=self._sources,
            file_resources=self._content.resources if self._content else None,
            file_health=self._content.health if self._content else None,
            file_version=self._content.version if self._content else None,
            file_ignored=self._content.ignored if self._content else (),
            default_health=default_health,
            card_health=card_health,
            file_cards=self._content.cards if self._content else None,
        )

    def _choose_file(self, folder: "Path", choose: "Choose | None") -> object:
        """Return the path of the file of the folder for this node, and note it as that of ``--config-file``."""
        from plugin_gateway.adapters.configuration.config_folder import choose_as_kept  # noqa: PLC0415 - only where asked for

        if self._values[Options.config_file.name] is not None:
            raise InvalidValueError(
                f"--config-dir and --config-file: one of the two; the first is from {self._sources['config_dir']}, the "
                f"second from {self._sources['config_file']}"
            )
        options = Options({option.name: self.read(option) for option in self._options if not option.key})
        chosen = (choose or choose_as_kept)(folder, options)
        path = None if chosen.path is None else str(chosen.path)
        self._values[Options.config_file.name], self._sources[Options.config_file.name] = path, chosen.source
        return path

    def read(self, option: Option[object]) -> object:
        """Return what the parser of an option kept, and note it and its source."""
        if option.name not in self._values:
            self._sources[option.name], self._values[option.name] = DEFAULT, None
            with self.tolerating():
                self._values[option.name] = self._given(option)
            if self._sources[option.name] == DEFAULT:
                self._values[option.name] = self._default(option)
        return self._values[option.name]

    def _given(self, option: Option[object]) -> object:
        """Return the value from the place that takes precedence, and note that place."""
        if option.name in self._flags:
            for given in self._flags[option.name].all():
                _parse(option, given.text, given.flag)
        found = self._find(option)
        if found is None:
            return None
        text, source, culprit = found
        value = _parse(option, text, culprit)
        self._sources[option.name] = source
        return value

    def _default(self, option: Option[object]) -> object:
        if isinstance(option.default, str):
            return _parse(option, option.default, "")
        return None if option.default.option is None else self.read(option.default.option)

    def _find(self, option: Option[object]) -> tuple[str, str, str] | None:
        """Return the text from the place that takes precedence; None where only the default is left.

        The source stands beside it twice: as the log shows it, and as an error message shows it.
        """
        given = self._flags.get(option.name)
        if given is not None:
            texts = [each.text for each in given.all()] if option.is_list else [given.text]
            return ",".join(reversed(texts)), f"flag {given.flag}", given.flag
        for variable in option.variables:
            text = self._environment.get(variable, "")
            if text or (option.empty_counts and variable in self._environment):
                return text, f"environment {variable}", f"environment variable {variable}"
        written = self._content.values.get(option.key or "") if self._content else None
        if written is None:
            return None
        return written.text, f"file {written.place.line}", f"{written.place}: {option.key}"


def _parse(option: Option[object], text: str, culprit: str) -> object:
    """Return the value of a text. An error begins with the culprit: the flag, the variable or the place in the file."""
    try:
        return option.kind.parse(text)
    except InvalidValueError as error:
        raise InvalidValueError(f"{culprit}: {error}" if culprit else str(error)) from error
