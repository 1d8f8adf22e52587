"""One option of the table of options, and a flag as it was given."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar, cast, overload

from plugin_gateway.adapters.configuration.kinds import Kind

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class GivenFlag(NamedTuple):
    """A flag as the user wrote it, and its value. The name is kept because an option can have several flags."""

    flag: str
    text: str
    earlier: "GivenFlag | None" = None
    """The same option, where it was given before. The last one counts, but none may be wrong."""

    def all(self) -> "Iterator[GivenFlag]":
        """Yield the flag each time that it was given, the last one first."""
        given: GivenFlag | None = self
        while given is not None:
            yield given
            given = given.earlier


class Values:
    """What was decided: an attribute for each option. Sub-classes declare the options."""

    __slots__ = ("values",)
    heading: ClassVar[str]
    """The heading below which the help shows the options of a sub-class."""
    values: Mapping[str, object]
    """What the parsers kept, by the name of the option. None where an option was given nowhere and has no default."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def __init_subclass__(cls, heading: str = "", **others: object) -> None:
        super().__init_subclass__(**others)
        cls.heading = heading


class NoText(Generic[T_co]):
    """A default that is no text. `nothing` and `same_as` make one."""

    __slots__ = ("option", "words")

    def __init__(self, words: str, option: "Option[T_co] | None") -> None:
        """``words`` say what holds then: the value of ``option``, or None."""
        self.words = words
        self.option = option


class Option(Generic[T_co]):
    """One setting: where it can be given, what is allowed, and its default.

    It is declared in a sub-class of `Values`, and its value is an attribute there. The type of the attribute is that of
    the kind. The flag and the variable have the name of the attribute if nothing else is said.
    """

    name: str
    table: type[Values]
    """The class that declares it."""

    def __init__(
        self,
        kind: Kind[T_co],
        default: "str | NoText[T_co]",
        meaning: str,
        *,
        key: str | None = None,
        flags: Sequence[str] = (),
        variables: Sequence[str] = (),
        example: str | None = None,
        empty_counts: bool = False,
        word: str = "",
    ) -> None:
        """``default`` is a text like one that was given, and ``meaning`` the help. Of the variables the first counts.

        ``key`` is the full path of the key in the file; None if the file cannot change the setting. ``example`` shows
        what the option can do, where the default does not show it. ``empty_counts`` is true if an empty variable is a
        value, and not the same as none. ``word`` is given where `word` is another one than follows from the key.
        """
        self.kind = kind
        self.default = default
        self.meaning = meaning
        self.key = key
        self.flags = tuple(flags)
        self.variables = tuple(variables)
        self.example = example
        self.empty_counts = empty_counts
        self.own_word = word

    def __set_name__(self, owner: type[Values], name: str) -> None:
        self.name = name
        self.table = owner
        self.flags = self.flags or (f"--{name.replace('_', '-')}",)
        self.variables = self.variables or (name.upper(),)

    @overload
    def __get__(self, given: None, owner: type[Values]) -> "Option[T_co]": ...
    @overload
    def __get__(self, given: Values, owner: type[Values]) -> T_co: ...
    def __get__(self, given: Values | None, owner: type[Values]) -> "Option[T_co] | T_co":
        return self if given is None else self.value(given.values[self.name])

    def value(self, kept: object) -> T_co:
        """Return the value from what the parser kept. It is None only where that is the default."""
        return cast("T_co", None) if kept is None else self.kind.make(kept)

    @property
    def is_switch(self) -> bool:
        """Whether it is true or false. A switch needs no value as a flag, and a boolean in the file."""
        return self.kind.schema.get("type") == "boolean"

    @property
    def is_list(self) -> bool:
        """Whether it can have several values: with commas, as a flag that is given several times, as a list in YAML."""
        return "array" in str(self.kind.schema.get("type"))

    @property
    def word(self) -> str:
        """The last word of its key in the file; without a key the word that it would be. The chart has it too."""
        if self.own_word:
            return self.own_word
        first, *others = self.name.split("_")
        return self.key.rpartition(".")[2] if self.key else "".join((first, *(other.title() for other in others)))

    @property
    def default_in_words(self) -> str:
        """The default as people read it."""
        return (self.default or "none") if isinstance(self.default, str) else self.default.words

    def narrowed(self, kind: "Kind[object]", meaning: str) -> "Option[T_co]":
        """Return the option with a kind that allows less, and with another meaning."""
        return self._changed(kind=kind, meaning=meaning)

    def with_default(self, default: str) -> "Option[T_co]":
        """Return the option with another default."""
        return self._changed(default=default)

    def with_variables(self, *first: str) -> "Option[T_co]":
        """Return the option with variables that go before its own."""
        return self._changed(variables=(*first, *self.variables))

    def _changed(self, **attributes: object) -> "Option[T_co]":
        twin: Option[T_co] = object.__new__(type(self))
        vars(twin).update(vars(self), **attributes)
        return twin


def nothing(words: str) -> NoText[None]:
    """Return a default for an option that has no value unless one is given."""
    return NoText(words, None)


def same_as(option: Option[T], words: str) -> NoText[T]:
    """Return a default that is the value of another option."""
    return NoText(words, option)


def options_of(table: type[Values]) -> tuple[Option[object], ...]:
    """Return the options that a class and its bases declare, in their order."""
    return tuple(each for base in table.__mro__ for each in vars(base).values() if isinstance(each, Option))
