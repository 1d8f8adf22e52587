/* How GPUs are connected: NVLinks, and the nearest common ancestor on the PCI bus. */
#include "control.h"

#ifndef OLD_DRIVER
enum { TO_GPU = 0, TO_SWITCH = 2, FIRST_SWITCH_BUS = 0xc0 };

static int enter_link(enum call which, struct gpu *gpu, unsigned link) {
    int result = enter_gpu(which, gpu);
    if (result) return result;
    if (!gpu->links) return NOT_SUPPORTED;
    return link < gpu->links ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetNvLinkState(struct gpu *gpu, unsigned link, unsigned *is_up) {
    int result = enter_link(LINK, gpu, link);
    if (!result) *is_up = !(gpu->links_down >> link & 1);
    return result;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(struct gpu *gpu, unsigned link, struct pci_info *pci) {
    int result = enter_link(LINK_REMOTE, gpu, link);
    if (result) return result;
    const struct gpu *other = gpu->link_to[link] < 0 ? 0 : &control->gpus[gpu->link_to[link]];
    if (other) write_pci(pci, other->domain, other->bus, other->device);
    else write_pci(pci, 0, FIRST_SWITCH_BUS + link % 6, 0);
    return SUCCESS;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(struct gpu *gpu, unsigned link, unsigned *type) {
    int result = enter_link(LINK_TYPE, gpu, link);
    if (!result) *type = gpu->link_to[link] < 0 ? TO_SWITCH : TO_GPU;
    return result;
}

int nvmlDeviceGetTopologyCommonAncestor(struct gpu *one, struct gpu *other, unsigned *level) {
    int result = enter_gpu(ANCESTOR, one);
    if (result) return result;
    if (!other || mig_device_of(other)) return INVALID_ARGUMENT;
    if (other->error) return other->error;
    *level = control->ancestors[one - control->gpus][other - control->gpus];
    return SUCCESS;
}
#endif
