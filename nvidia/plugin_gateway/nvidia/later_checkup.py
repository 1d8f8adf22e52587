"""The questions of a check whose answers are judged over time. The first check of a session does not ask them."""

from functools import partial

from plugin_gateway.nvidia import later_calls, nvml
from plugin_gateway.nvidia.checkup import Questions
from plugin_gateway.nvidia.evidence import FABRIC, FABRIC_DEGRADED, HARDWARE_SLOWDOWN, NVLINK_DOWN
from plugin_gateway.nvidia.fabric import view
from plugin_gateway.nvidia.history import Finding, History


def find_over_time(asked: Questions, now: float, history: History) -> Finding:
    """Ask a GPU about the fabric, its links and slowdowns, and return what is wrong."""
    findings = (
        _find_fabric(asked, now, history),
        _find_links(asked, now, history),
        _find_slowdown(asked, now, history),
    )
    return Finding(
        {kind: what for each in findings for kind, what in each.problems.items()},
        frozenset().union(*(each.unanswered for each in findings)),
    )


def _find_fabric(asked: Questions, now: float, history: History) -> Finding:
    info = asked.ask_if_supported(later_calls.fabric_info, history, FABRIC, FABRIC_DEGRADED)
    return Finding({}) if info is None else history.fabric.find(view(info), now)


def _find_links(asked: Questions, now: float, history: History) -> Finding:
    """Look at the links, if it is time. The first look of a session finds out which links the GPU has."""
    if history.links.is_due(now):
        _look_at_links(asked, now, history)
    return history.links.find(now)


def _look_at_links(asked: Questions, now: float, history: History) -> None:
    if asked.ask(nvml.is_in_mig_mode, NVLINK_DOWN):
        history.links.rest(now)
        return
    states: dict[int, bool] = {}
    for link in range(nvml.MAX_LINKS) if history.links.links is None else history.links.links:
        is_up = asked.ask(partial(nvml.is_link_up, link=link), NVLINK_DOWN)
        if NVLINK_DOWN in asked.unanswered:
            return
        if is_up is not None:
            states[link] = is_up
        elif history.links.links is not None:
            return  # the GPU had this link a moment ago, so this is no answer
    history.links.see(states, now)


def _find_slowdown(asked: Questions, now: float, history: History) -> Finding:
    reasons = asked.ask_if_supported(later_calls.slowdown, history, HARDWARE_SLOWDOWN)
    if reasons is not None:
        history.slowdown.see(reasons, now)
    return history.slowdown.find(now)
