"""NVIDIA's catalog of XIDs: the immediate action that it recommends for each."""

from collections.abc import Mapping
from enum import Enum


class Advice(Enum):
    """The immediate action of an XID, in the catalog's own words."""

    IGNORE = "IGNORE"
    RESTART_APP = "RESTART_APP"
    WORKFLOW = "WORKFLOW"
    SEE_LINKED_XID = "SEE_LINKED_XID"
    CHECK_UVM = "CHECK_UVM"
    RESET_GPU = "RESET_GPU"
    DOUBLE_BIT_ECC_WORKFLOW = "DOUBLE_BIT_ECC_WORKFLOW"
    NVLINK_WORKFLOW = "NVLINK_WORKFLOW"
    NVLINK5_WORKFLOW = "NVLINK5_WORKFLOW"
    UPDATE_SOFTWARE = "UPDATE_SOFTWARE"
    CONTACT_SUPPORT = "CONTACT_SUPPORT"
    CHECK_MECHANICALS = "CHECK_MECHANICALS"
    REBOOT_NODE = "REBOOT_NODE"
    RESTART_VM = "RESTART_VM"


_ROWS: Mapping[Advice, tuple[int | tuple[int, int], ...]] = {
    Advice.IGNORE: (14, (37, 38), (43, 44), 63, (66, 67), (92, 93), (106, 107), 121, 137, 141, (152, 153), 157, 161),
    Advice.RESTART_APP: (
        8, 11, 13, 25, (31, 32), (39, 41), 60, (68, 72), (75, 77), 80, (82, 86), (88, 89), 94, (96, 105),
        (126, 135), 139,
    ),
    Advice.WORKFLOW: (45,),
    Advice.SEE_LINKED_XID: (154,),
    Advice.CHECK_UVM: (159,),
    Advice.RESET_GPU: (46, 62, 64, 95, (109, 110), (119, 120), 136, 140, 143, (155, 156), 158, 162),
    Advice.DOUBLE_BIT_ECC_WORKFLOW: (48,),
    Advice.NVLINK_WORKFLOW: (74,),
    Advice.NVLINK5_WORKFLOW: ((144, 150),),
    Advice.UPDATE_SOFTWARE: (78,),
    Advice.CONTACT_SUPPORT: (
        (1, 7), (9, 10), 12, (15, 24), (26, 30), (33, 36), 42, 47, (49, 53), (55, 59), 61, 65, 73, 81, 87, (90, 91),
        108, (111, 118), (122, 125), 138, 142,
    ),
    Advice.CHECK_MECHANICALS: (54,),
    Advice.REBOOT_NODE: (79, 160),
    Advice.RESTART_VM: (151,),
}  # fmt: skip
"""XIDs by immediate action. A pair is a range, including both ends."""


def _numbers(row: int | tuple[int, int]) -> range:
    first, last = (row, row) if isinstance(row, int) else row
    return range(first, last + 1)


XID_CATALOG: Mapping[int, Advice] = {
    xid: advice for advice, rows in _ROWS.items() for row in rows for xid in _numbers(row)
}
"""The immediate action of each XID. Source: NVIDIA's catalog, as used by NVSentinel (162 rows)."""
