"""Whether the kernel can start the control plane of Onload, without which no stack is accelerated. For the doctor."""

from plugin_gateway.linux.card_model import Tree, Unread

_PARAMETERS = "/sys/module/onload/parameters"
DEFAULT_PATH = "/sbin/onload_cp_server"
"""What the kernel module starts if its parameter is empty (onload/cplane_driver.h)."""


def control_plane_problem(tree: Tree) -> str:
    """Return why the kernel cannot start the control plane server, in words. Empty if it can, or it cannot be told.

    It starts one for each network namespace in which a program uses Onload, on the host. The folder of the file has to
    be seen: a pod that has only a part of the host's files cannot tell.
    """
    spawns, path = tree.text(f"{_PARAMETERS}/cplane_spawn_server"), tree.text(f"{_PARAMETERS}/cplane_server_path")
    if isinstance(path, Unread) or (not isinstance(spawns, Unread) and spawns.strip() in {"N", "0"}):
        return ""
    server = path.strip() or DEFAULT_PATH
    if tree.exists(server) or not tree.exists(server.rpartition("/")[0] or "/"):
        return ""
    origin = f"{_PARAMETERS}/cplane_server_path" if path.strip() else "the default of the module onload"
    return f"{server}, which {origin} says is Onload's control plane server, is not there: no stack is accelerated"
