"""A kubelet of any release, as far as a device plugin can tell: for tests, demonstrations and trying a plugin out."""

from plugin_gateway.adapters.fake_kubelet.admission import Freedom
from plugin_gateway.adapters.fake_kubelet.events import (
    AdmissionError,
    Container,
    DeviceList,
    Event,
    EventKind,
    RegisterCall,
)
from plugin_gateway.adapters.fake_kubelet.kubelet import FakeKubelet
from plugin_gateway.adapters.fake_kubelet.releases import RELEASES, Release, release

__all__ = [
    "RELEASES",
    "AdmissionError",
    "Container",
    "DeviceList",
    "Event",
    "EventKind",
    "FakeKubelet",
    "Freedom",
    "RegisterCall",
    "Release",
    "release",
]
