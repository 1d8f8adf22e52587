/* MIG: the devices of a GPU in MIG mode, and the GPU instances that they are in. */
#include <stddef.h>
#include "control.h"

struct mig_device *mig_device_of(const void *handle) {
    if (!control) return NULL;
    uintptr_t offset = (uintptr_t)handle - (uintptr_t)control->mig_devices;
    if (offset >= sizeof control->mig_devices || offset % sizeof(struct mig_device)) return NULL;
    return (struct mig_device *)handle;
}

#ifndef OLD_DRIVER
enum { ALL_CALLS = -1 };

static int gpu_of(const struct mig_device *device) {
    return (int)((device - &control->mig_devices[0][0]) / MAX_SLOTS);
}

/* The same as enter_mig_device, for a call that was entered. */
static int obey_mig_device(enum call which, struct mig_device *device) {
    if (control->gpus[gpu_of(device)].error) return control->gpus[gpu_of(device)].error;
    if (device->calls_left && --device->calls_left == 0) device->present = 0;
    if (!device->present) return INVALID_ARGUMENT;
    int is_shared = which == GI || which == GI_INFO; /* by all devices of the GPU instance */
    int fails = device->error_call == (int)which || (device->error_call == ALL_CALLS && !is_shared);
    return fails ? device->error : SUCCESS;
}

int enter_mig_device(enum call which, struct mig_device *device) {
    int result = enter(which);
    if (result) return result;
    return mig_device_of(device) ? obey_mig_device(which, device) : INVALID_ARGUMENT;
}

/* Return the MIG device whose GPU instance has this handle. NULL if none has it. */
static struct mig_device *owner_of(const void *gpu_instance) {
    return mig_device_of((const char *)gpu_instance - offsetof(struct mig_device, gpu_instance));
}

int nvmlDeviceGetMigMode(struct gpu *gpu, unsigned *current, unsigned *pending) {
    int result = enter_gpu(MIG, gpu);
    if (result) return result;
    if (!gpu->max_mig_devices) return NOT_SUPPORTED;
    *current = gpu->in_mig_mode;
    *pending = gpu->pending_mig_mode;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(struct gpu *gpu, unsigned *count) {
    int result = enter_gpu(MIG_COUNT, gpu);
    if (!result) *count = gpu->max_mig_devices;
    return result;
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct gpu *gpu, unsigned index, struct mig_device **device) {
    int result = enter_gpu(MIG_HANDLE, gpu);
    if (result) return result;
    if (index >= gpu->max_mig_devices) return INVALID_ARGUMENT;
    if (!gpu->in_mig_mode || index >= MAX_SLOTS) return NOT_FOUND;
    *device = &control->mig_devices[gpu - control->gpus][index];
    if (!(*device)->present) return NOT_FOUND;
    result = obey_mig_device(MIG_HANDLE, *device);
    return (*device)->present ? result : NOT_FOUND;
}

int nvmlDeviceIsMigDeviceHandle(void *device, unsigned *is_mig) {
    int result = enter(IS_MIG);
    if (!result) *is_mig = mig_device_of(device) != NULL;
    return result;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct mig_device *device, struct gpu **gpu) {
    int result = enter_mig_device(MIG_PARENT, device);
    if (!result) *gpu = &control->gpus[gpu_of(device)];
    return result;
}

int nvmlDeviceGetGpuInstanceId(struct mig_device *device, unsigned *id) {
    int result = enter_mig_device(GI_ID, device);
    if (!result) *id = device->gi;
    return result;
}

int nvmlDeviceGetComputeInstanceId(struct mig_device *device, unsigned *id) {
    int result = enter_mig_device(CI_ID, device);
    if (!result) *id = device->ci;
    return result;
}

struct attributes {
    unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gi_slices, ci_slices;
    unsigned long long memory_mb;
};

int nvmlDeviceGetAttributes_v2(struct mig_device *device, struct attributes *attributes) {
    int result = enter_mig_device(ATTRIBUTES, device);
    if (result) return result;
    *attributes = (struct attributes){
        device->multiprocessors, device->copy, device->decoder, device->encoder, device->jpeg, device->ofa,
        device->gi_slices, device->ci_slices, device->memory_mb,
    };
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceById(struct gpu *gpu, unsigned id, void **gpu_instance) {
    int result = enter_gpu(GI, gpu);
    if (result) return result;
    for (int slot = 0; slot < MAX_SLOTS; slot++) {
        struct mig_device *device = &control->mig_devices[gpu - control->gpus][slot];
        if (!device->present || device->gi != id) continue;
        *gpu_instance = &device->gpu_instance;
        return obey_mig_device(GI, device);
    }
    return NOT_FOUND;
}

struct placement { unsigned start, size; };
struct gi_info { struct gpu *gpu; unsigned id, profile_id; struct placement placement; };

int nvmlGpuInstanceGetInfo(void *gpu_instance, struct gi_info *info) {
    int result = enter(GI_INFO);
    if (result) return result;
    struct mig_device *device = owner_of(gpu_instance);
    if (!device) return INVALID_ARGUMENT;
    result = obey_mig_device(GI_INFO, device);
    if (!result) *info = (struct gi_info){.gpu = &control->gpus[gpu_of(device)], .id = device->gi, .profile_id = device->profile_id};
    return result;
}

struct gi_profile_info {
    unsigned id, has_p2p, slices, instances, multiprocessors, copy, decoder, encoder, jpeg, ofa;
    unsigned long long memory_mb;
};
struct gi_profile_info_v2 {
    unsigned version, id, has_p2p, slices, instances, multiprocessors, copy, decoder, encoder, jpeg, ofa;
    unsigned long long memory_mb;
    char name[96];
};

static int find_profile(struct gpu *gpu, unsigned number, struct gi_profile **profile) {
    if (number >= gpu->gi_profiles) return INVALID_ARGUMENT;
    *profile = &control->gi_profiles[gpu - control->gpus][number];
    return (*profile)->slices ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetGpuInstanceProfileInfo(struct gpu *gpu, unsigned number, struct gi_profile_info *info) {
    struct gi_profile *profile;
    int result = enter_gpu(GI_PROFILE, gpu);
    if (result || (result = find_profile(gpu, number, &profile))) return result;
    *info = (struct gi_profile_info){.id = profile->id, .slices = profile->slices, .memory_mb = profile->memory_mb};
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceProfileInfoV(struct gpu *gpu, unsigned number, struct gi_profile_info_v2 *info) {
    struct gi_profile *profile;
    int result = enter_gpu(GI_PROFILE_V, gpu);
    if (result) return result;
    if (info->version != (2u << 24 | sizeof *info)) return ARGUMENT_VERSION_MISMATCH;
    if ((result = find_profile(gpu, number, &profile))) return result;
    info->id = profile->id;
    info->slices = profile->slices;
    info->memory_mb = profile->memory_mb;
    return copy(info->name, sizeof info->name, profile->name);
}
#else
int enter_mig_device(enum call which, struct mig_device *device) {
    (void)device;
    int result = enter(which);
    return result ? result : INVALID_ARGUMENT;
}
#endif
