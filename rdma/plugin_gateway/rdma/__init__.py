"""The backend for RDMA devices: HCAs and their virtual functions.

`RdmaModel` is an opinion about the facts that the room `linux` reads. `discovery` says which PCI functions are RDMA
devices, and what keeps one from being used whatever its cable does: no kernel driver, a module that is not loaded, a
device node that is missing. `offering` makes devices of them. `diagnosis` says what the state of ports and interfaces
means: a physical function is judged by its own link, a virtual one by that of its physical function, because one that
nobody uses is switched off and no fault.

While a pod has a function, its RDMA device can be in the network namespace of the pod, where nobody else sees it. Such
a device is given away, and not gone. `memory` keeps what was seen of it before, over a restart of the gateway too.

Everything here is pure but for the looks at single paths of a `Tree`. Nothing here asks a driver.
"""
