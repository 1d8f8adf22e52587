"""The options for a folder of configuration files, of which each node uses one. They are part of the table of options.

The flags and variables that stand second are those of NVIDIA's config-manager, which the gateway makes needless.
"""

from plugin_gateway.adapters.configuration.kinds import FOLDER, MAX_NODE_NAME_LENGTH, kind, list_of
from plugin_gateway.adapters.configuration.option import Option, Values, nothing
from plugin_gateway.core.errors import InvalidValueError

LABEL = "nvidia.com/device-plugin.config"
"""The label that NVIDIA's config-manager reads."""
NAMED, SINGLE, EMPTY = "named", "single", "empty"
"""The fallback strategies: the file called ``default``, the only file, and no file at all."""
_STRATEGIES = (NAMED, SINGLE, EMPTY)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_MAX_LABEL_NAME = 63
"""Characters of a label behind its prefix."""


def parse_file_name(text: str) -> str:
    """Return the name of a key of a ConfigMap; an empty text is allowed and means that none was named."""
    if not set(text) <= _LETTERS or len(text) > MAX_NODE_NAME_LENGTH or text.startswith("..") or text == ".":
        raise InvalidValueError(
            f"invalid value {text[:80]!r}; expected the name of a file: letters, digits, -, _ and ."
        )
    return text


def parse_label(text: str) -> str:
    """Return the key of a label, such as ``example.com/config``."""
    prefix, slash, name = text.rpartition("/")
    is_name = 0 < len(name) <= _MAX_LABEL_NAME and set(name) <= _LETTERS and name[0].isalnum() and name[-1].isalnum()
    is_prefix = not slash or (0 < len(prefix) <= MAX_NODE_NAME_LENGTH and set(prefix) <= _LETTERS - {"_"})
    if not is_name or not is_prefix:
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected the key of a label, such as {LABEL}")
    return text


FILE_NAME = kind(parse_file_name, "NAME", {"type": "string"})


class FolderOptions(Values, heading="a configuration for each node"):
    """Which file of a folder is the configuration file of this node."""

    __slots__ = ()

    config_dir = Option(
        FOLDER,
        nothing("none"),
        "a folder of configuration files, such as a mounted ConfigMap, in place of --config-file; the label of the "
        "node says which one it uses, and changes of the label and the files take effect at once",
        flags=("--config-dir", "--config-file-srcdir"),
        variables=("CONFIG_DIR", "CONFIG_FILE_SRCDIR"),
        example="/available-configs",
    )
    config_name = Option(
        FILE_NAME, "", "the file of --config-dir to use, whatever the label says; no API access is needed then"
    )
    config_label = Option(
        kind(parse_label, "LABEL", {"type": "string"}),
        LABEL,
        "the label of the node whose value is the name of a file of --config-dir",
        flags=("--config-label", "--node-label"),
        variables=("CONFIG_LABEL", "NODE_LABEL"),
    )
    config_default = Option(
        FILE_NAME,
        "",
        "the file of --config-dir for a node without the label",
        flags=("--config-default", "--default-config"),
        variables=("CONFIG_DEFAULT", "DEFAULT_CONFIG"),
    )
    config_fallback_strategies = Option(
        list_of(_STRATEGIES, "STRATEGIES"),
        f"{NAMED},{SINGLE}",
        "what to use without label and --config-default, the first that is there: named for the file called default, "
        "single for the only file, empty for none",
        flags=("--config-fallback-strategies", "--fallback-strategies"),
        variables=("CONFIG_FALLBACK_STRATEGIES", "FALLBACK_STRATEGIES"),
    )
