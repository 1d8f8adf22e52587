"""NVIDIA's catalog of XIDs: the immediate action that it recommends for each, and what the other XIDs are."""

from collections.abc import Mapping
from enum import Enum

from plugin_gateway.nvidia.generation import A100, B100, GB200, H100

CATALOG_DATE = "2026-07-14"
"""The day of the sheet that this module was made from."""


class Advice(Enum):
    """The immediate action of an XID, in the catalog's own words."""

    IGNORE = "IGNORE"
    RESTART_APP = "RESTART_APP"
    XID_45 = "WORKFLOW_XID_45"
    XID_154 = "XID_154"
    CHECK_UVM = "CHECK_UVM"
    RESET_GPU = "RESET_GPU"
    XID_48 = "WORKFLOW_XID_48"
    NVLINK = "WORKFLOW_NVLINK_ERR"
    NVLINK5 = "WORKFLOW_NVLINK5_ERR"
    UPDATE_SOFTWARE = "UPDATE_SWFW"
    CONTACT_SUPPORT = "CONTACT_SUPPORT"
    CHECK_MECHANICALS = "CHECK_MECHANICALS"
    REBOOT_NODE = "RESTART_BM"
    RESTART_VM = "RESTART_VM"


_ROWS: Mapping[Advice, tuple[int | tuple[int, int], ...]] = {
    Advice.IGNORE: (14, (37, 38), (43, 44), 63, (66, 67), (92, 93), (106, 108), 121, 137, 141, (152, 153), 157,
                    (160, 161)),
    Advice.RESTART_APP: (
        8, 11, 13, 25, (31, 32), (39, 41), 60, (68, 72), (75, 77), 80, (82, 86), (88, 89), 94, (96, 105),
        (126, 135), 139,
    ),
    Advice.XID_45: (45,),
    Advice.XID_154: (154,),
    Advice.CHECK_UVM: (159,),
    Advice.RESET_GPU: (46, 62, 64, 95, (109, 110), (119, 120), 136, 140, 143, (155, 156), 158),
    Advice.XID_48: (48,),
    Advice.NVLINK: (74,),
    Advice.NVLINK5: ((144, 150),),
    Advice.UPDATE_SOFTWARE: (78,),
    Advice.CONTACT_SUPPORT: (
        (1, 7), (9, 10), 12, (15, 24), (26, 30), (33, 36), 42, 47, (49, 53), (55, 59), 61, 65, 73, 81, 87, (90, 91),
        (111, 118), (122, 125), 138, 142,
    ),
    Advice.CHECK_MECHANICALS: (54,),
    Advice.REBOOT_NODE: (79,),
    Advice.RESTART_VM: (151,),
}  # fmt: skip
"""XIDs by immediate action. A pair is a range, including both ends."""


def _numbers(row: int | tuple[int, int]) -> range:
    first, last = (row, row) if isinstance(row, int) else row
    return range(first, last + 1)


XID_CATALOG: Mapping[int, Advice] = {
    xid: advice for advice, rows in _ROWS.items() for row in rows for xid in _numbers(row)
}
"""The immediate action of each XID that has one. Source: NVIDIA's catalog of XIDs, 161 of its 172 rows."""


ONLY_FOR: Mapping[int, tuple[str, ...]] = {
    93: (A100,),
    121: (GB200,),
    **dict.fromkeys((141, 157), (H100, B100, GB200)),
    **dict.fromkeys((152, 153), ()),
    **dict.fromkeys((160, 161, *range(162, 166)), (B100, GB200)),
}
"""The generations that a row applies to, for each row that asks for nothing and does not apply to all.

The rows with another action may also lack generations, but their action is the same for all.
"""


JUDGED_FROM: Mapping[int, str] = {
    **dict.fromkeys((48, *range(62, 65), 74, 79, 94, 95, 110, 120, 136, *range(144, 151), 155, 156), "R565"),
    109: "R570",
    **dict.fromkeys((143, 160, 161), "R575"),
    **dict.fromkeys((158, 159), "its introduction"),
}
"""From which driver on the driver judges an XID by its recovery action, as the catalog says (column *XID 154 linkage*).

The other rows have no such entry.
"""


class Meaning(Enum):
    """What an XID is for which the catalog has no immediate action."""

    POWER_SMOOTHING = "information about power smoothing"
    LINK_SECURITY = "an error of NVLink's encryption"
    PCIE_TIMEOUT = "a fatal timeout of PCIe"
    SEC2_HALT = "the security processor halted"
    REDUCED_MEMORY = "the GPU has less memory than before"
    UNCORRECTABLE_MEMORY = "an uncorrectable error of memory"


XIDS_WITHOUT_ADVICE: Mapping[int, Meaning] = {
    **dict.fromkeys(range(162, 166), Meaning.POWER_SMOOTHING),
    166: Meaning.LINK_SECURITY,
    167: Meaning.PCIE_TIMEOUT,
    168: Meaning.REDUCED_MEMORY,
    169: Meaning.SEC2_HALT,
    170: Meaning.LINK_SECURITY,
    171: Meaning.UNCORRECTABLE_MEMORY,
    172: Meaning.UNCORRECTABLE_MEMORY,
}
"""The other 11 rows of the catalog. The meaning is that of the row's mnemonic."""

SUB_CODES_AGREE: Mapping[int, Advice] = {147: Advice.IGNORE, 148: Advice.IGNORE, 150: Advice.RESET_GPU}
"""NVLink 5 errors for which all cases in NVIDIA's table of sub-codes have the same action.

Events do not tell the sub-code, so only these can be decided without the driver.
"""
