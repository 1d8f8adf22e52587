"""The table of sub-codes in health.md."""

from collections.abc import Callable
from itertools import groupby

from generated import table
from plugin_gateway.core.health.policy import Action
from plugin_gateway.nvidia.kernel_evidence import ACTIONS
from plugin_gateway.nvidia.sub_codes import ROWS, Row, SubCodeAction


def sub_code_table(refined: Callable[[int, Action], str]) -> list[str]:
    """Return what each sub-code asks for, and what the state function does with it, which ``refined`` tells."""
    lines = []
    rows = sorted(ROWS, key=lambda each: (each.xid, each.unit, each.number, each.action))
    for (xid, unit, number, second, action), group in groupby(rows, key=_sub_code):
        statuses = [f"`0x{each.status:08x}`" for each in group if each.status is not None]
        name = f"{unit}, {number}" if number else f"{unit}, bit set" if second else unit
        status = ", ".join(statuses) or "any"
        lines.append((str(xid), name, status, f"`{action.name}`", refined(xid, ACTIONS[action])))
    return table(("XID", "sub-code", "error status", "NVIDIA's action", "with `--kernel-log`"), lines)


def _sub_code(each: Row) -> tuple[int, str, int, bool, SubCodeAction]:
    return each.xid, each.unit, each.number, each.below_r575 == "10011000010", each.action
