"""Explains files that are not YAML, or YAML of something else. It is imported only where somebody made a mistake.

A parser tells where it noticed a mistake. Where a quote or a bracket is not closed, that is the end of the file.
"""

from collections.abc import Sequence

import yaml

_OPENING = {yaml.FlowSequenceStartToken: "[", yaml.FlowMappingStartToken: "{"}
_CLOSING = {yaml.FlowSequenceEndToken: "[", yaml.FlowMappingEndToken: "{"}
_CHART_KEYS = (
    "image",
    "config",
    "nodeSelector",
    "tolerations",
    "affinity",
    "updateStrategy",
    "nameOverride",
    "fullnameOverride",
    "imagePullSecrets",
    "podAnnotations",
    "podLabels",
    "podSecurityContext",
    "securityContext",
    "runtimeClassName",
    "gfd",
    "nfd",
    "devicePlugin",
)
"""Keys of the charts of this and of NVIDIA's plugin, and of the GPU Operator, which no configuration file has."""


def explain(data: bytes, error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str]:
    """Return the place of a mistake, and what it is."""
    if error.context == "while scanning a quoted scalar" and "end of stream" in str(error.problem):
        return error.context_mark, f"the {_character(data, error.context_mark)} that begins here is not closed"
    unclosed, quoted = _scan(data, error.problem_mark)
    if unclosed:
        *outer, (bracket, mark) = unclosed
        others = "".join(f", nor is the {each} at {_shown(at)}" for each, at in reversed(outer))
        return mark, f"the {bracket} that begins here is not closed{others}"
    problem = ": ".join(filter(None, (error.context, error.problem)))
    if "alias" in problem:
        # The usual mistake is a pattern that begins with * and has no quotes: to YAML it is an alias.
        problem += "; a value that begins with * needs quotes"
    if quoted is not None:
        problem += f"; is the {_character(data, quoted)} at {_shown(quoted)} not closed?"
    return error.problem_mark, problem


def _scan(data: bytes, problem: yaml.Mark | None) -> tuple[Sequence[tuple[str, yaml.Mark]], yaml.Mark | None]:
    """Return the brackets that are open at the end, and the begin of a text of several lines just before the problem.

    There is no open bracket if one is closed by another kind: then that is the mistake.
    """
    brackets: list[tuple[str, yaml.Mark]] = []
    quoted = None
    try:
        for token in yaml.scan(data, Loader=yaml.SafeLoader):
            if type(token) in _OPENING:
                brackets.append((_OPENING[type(token)], token.start_mark))
            elif type(token) in _CLOSING:
                while brackets and brackets[-1][0] != _CLOSING[type(token)] and len(brackets) > 1:
                    return [brackets[-1]], None
                brackets.pop()
            elif isinstance(token, yaml.ScalarToken) and problem is not None and token.end_mark.index == problem.index:
                quoted = token.start_mark if token.style and token.start_mark.line < token.end_mark.line else None
    except (yaml.YAMLError, IndexError):
        return (), quoted
    return brackets, quoted


def _character(data: bytes, mark: yaml.Mark | None) -> str:
    """Return the quote at a place."""
    line = data.split(b"\n")[mark.line].decode(errors="replace") if mark is not None else ""
    return line[mark.column] if mark is not None and mark.column < len(line) else "quote"


def _shown(mark: yaml.Mark) -> str:
    return f"{mark.line + 1}:{mark.column + 1}"


def explain_other(root: yaml.Node) -> tuple[yaml.Node, str] | None:
    """Return the place and the name of a document that is YAML, but no configuration file; None if it may be one."""
    keys = _scalars(root)
    if {"apiVersion", "kind"} <= keys.keys():
        kind = keys["kind"][1]
        word = kind.value[:80] if isinstance(kind, yaml.ScalarNode) else "?"
        return kind, f"this is a Kubernetes manifest ({word}) and no configuration file{_instead(_below(keys, 'data'))}"
    if "version" in keys:
        return None
    if "apiVersion" in keys:
        return keys["apiVersion"][0], "apiVersion is called version in this file: version: v1"
    of_chart = [key for key in keys if key in _CHART_KEYS]
    if not of_chart:
        return None
    config = _scalars(keys["config"][1]) if "config" in keys else {}
    paths = ["config.file"] if "file" in config else [f"config.{path}" for path in _below(config, "map")]
    words = f"these are values of a Helm chart ({', '.join(of_chart)}) and no configuration file"
    return keys[of_chart[0]][0], f"{words}{_instead(paths)}"


def _below(keys: dict[str, tuple[yaml.Node, yaml.Node]], name: str) -> Sequence[str]:
    """Return the paths of the first entries below a key."""
    return [f"{name}.{key[:80]}" for key in _scalars(keys[name][1])][:3] if name in keys else []


def _instead(paths: Sequence[str]) -> str:
    """Return the end of the message: below which of these keys the configuration is, or how it begins."""
    return f": give the text below {' or '.join(paths)}" if paths else ", which begins with version: v1"


def _scalars(node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Return key and value of the entries of a mapping, by the text of the key; empty for anything else."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
