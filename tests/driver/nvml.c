/* A stand-in for NVIDIA's libnvidia-ml.so.1: real NVML calls, answered from a shared file that a test writes to.
 *
 * The file is named by NVML_STAND_IN and looked up at every nvmlInit. Without the variable it is where the cluster's
 * tests have it, so that a container as it is released finds it. Its layout is in control.h and control.py.
 * As in the real library, GPUs that come or go are seen by a new session only, a GPU that is lost fails its calls, and
 * only those GPUs that were registered report events.
 * Built with OLD_DRIVER it has the names that drivers before 2018 had.
 */
#define _GNU_SOURCE
#include "control.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct control *control;
static int session, initialised, visible, slots[MAX_GPUS], registered[MAX_GPUS];
static struct gpu stranger = {.error = GPU_IS_LOST};

static void wait_for_change(uint32_t generation, const struct timespec *limit) {
    syscall(SYS_futex, &control->generation, FUTEX_WAIT, generation, limit, NULL, 0);
}

static void note_thread(void) {
    int32_t me = (int32_t)syscall(SYS_gettid);
    for (int i = 0; i < MAX_THREADS; i++) {
        if (control->threads[i] == me) return;
        if (control->threads[i] == 0) { control->threads[i] = me; return; }
    }
}

/* Whether this process may open a device node. One that has no driver behind it will do. */
static int may_open(const char *node, int access) {
    int file = open(node, access | O_CLOEXEC);
    if (file < 0) return errno == ENXIO;
    close(file);
    return 1;
}

/* Whether this process may see all MIG instances. */
static int may_monitor(void) {
    return !control->monitor_node[0] || may_open(control->monitor_node, O_RDONLY);
}

/* Whether this process may use a device node of the driver. The real library never lists a GPU whose node it cannot
 * open; this one asks only where NVML_STAND_IN_NODES names the folder of the nodes. */
int may_use(const char *name) {
    const char *folder = getenv("NVML_STAND_IN_NODES");
    char node[256];
    if (!folder) return 1;
    snprintf(node, sizeof node, "%s/%s", folder, name);
    return may_open(node, O_RDWR);
}

static int may_use_gpu(const struct gpu *gpu) {
    char name[32];
    snprintf(name, sizeof name, "nvidia%u", gpu->minor);
    return may_use(name);
}

/* Hang where the test says so, and tell the error that it asked for. */
static int obey(enum call which) {
    for (;;) {
        uint32_t generation = __atomic_load_n(&control->generation, __ATOMIC_SEQ_CST);
        if (!(__atomic_load_n(&control->hanging, __ATOMIC_SEQ_CST) & (1ull << which))) break;
        wait_for_change(generation, NULL);
    }
    int error = control->error_of[which];
    if (error && control->errors_left[which] && --control->errors_left[which] == 0) control->error_of[which] = 0;
    if (error) return error;
    if ((which == GI || which == GI_PROFILE_V) && !may_monitor()) return NO_PERMISSION;
    return which != INIT && !initialised ? UNINITIALIZED : SUCCESS;
}

int enter(enum call which) {
    if (!control) return UNINITIALIZED;
    __atomic_fetch_add(&control->count_of[which], 1, __ATOMIC_SEQ_CST);
    note_thread();
    return obey(which);
}

int enter_gpu(enum call which, struct gpu *gpu) {
    int result = enter(which);
    if (result) return result;
    return gpu && !mig_device_of(gpu) ? gpu->error : INVALID_ARGUMENT;
}

int copy(char *to, unsigned room, const char *from) {
    if (!to || room == 0) return INVALID_ARGUMENT;
    strncpy(to, from, room - 1);
    to[room - 1] = 0;
    return SUCCESS;
}

static void map_control(void) {
    const char *path = getenv("NVML_STAND_IN");
    session = open(path ? path : "/run/nvidia/machine/control", O_RDWR | O_CLOEXEC);
    if (session < 0) return;
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, session, 0);
    control = memory == MAP_FAILED ? NULL : memory;
    flock(session, LOCK_SH); /* the MIG mode cannot change while this is held, which ends with the process too */
    if (!control) close(session);
}

static void unmap_control(void) {
    close(session);
    munmap(control, sizeof *control);
    control = NULL;
}

int nvmlInit_v2(void) {
    if (initialised) { initialised++; return SUCCESS; }
    map_control();
    if (!control) return DRIVER_NOT_LOADED;
    if (!may_use("nvidiactl")) { unmap_control(); return DRIVER_NOT_LOADED; }
    int result = enter(INIT);
    usleep(control->init_delay_ms * 1000);
    if (result) { unmap_control(); return result; }
    visible = 0;
    for (int slot = 0; slot < MAX_GPUS; slot++)
        if (control->gpus[slot].present && may_use_gpu(&control->gpus[slot])) slots[visible++] = slot;
    control->sessions++;
    control->read = control->written;
    initialised = 1;
    return SUCCESS;
}

int nvmlShutdown(void) {
    int result = enter(SHUTDOWN);
    if (result) return result;
    if (--initialised) return SUCCESS;
    unmap_control();
    return SUCCESS;
}

const char *nvmlErrorString(int result) {
    switch (result) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned room) {
    int result = enter(VERSION);
    return result ? result : copy(version, room, control->version);
}

int nvmlSystemGetCudaDriverVersion(int *version) {
    int result = enter(CUDA);
    if (!result && !control->cuda) return NOT_SUPPORTED;
    if (!result) *version = (int)control->cuda;
    return result;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int result = enter(COUNT);
    if (!result) *count = (unsigned)visible;
    return result;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu) {
    int result = enter(HANDLE);
    if (result) return result;
    if (index >= (unsigned)visible) return INVALID_ARGUMENT;
    *gpu = &control->gpus[slots[index]];
    return (*gpu)->error;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct gpu **gpu) {
    int result = enter(HANDLE);
    if (result) return result;
    for (int index = 0; index < visible; index++) {
        *gpu = &control->gpus[slots[index]];
        if (!strcmp((*gpu)->uuid, uuid)) return (*gpu)->error;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(struct gpu *gpu, unsigned *index) {
    int result = enter_gpu(INDEX, gpu);
    if (result) return result;
    for (*index = 0; *index < (unsigned)visible; ++*index)
        if (gpu == &control->gpus[slots[*index]]) return SUCCESS;
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(struct gpu *gpu, char *uuid, unsigned room) {
    struct mig_device *mig = mig_device_of(gpu);
    int result = mig ? enter_mig_device(UUID, mig) : enter_gpu(UUID, gpu);
    if (mig) return result ? result : copy(uuid, room, mig->uuid);
    return result ? result : copy(uuid, room, gpu->uuid);
}

int nvmlDeviceGetMinorNumber(struct gpu *gpu, unsigned *minor) {
    int result = enter_gpu(MINOR, gpu);
    if (!result) *minor = gpu->minor;
    return result;
}

int nvmlDeviceGetName(struct gpu *gpu, char *name, unsigned room) {
    int result = enter_gpu(NAME, gpu);
    return result ? result : copy(name, room, gpu->name);
}

struct pci_info_v2 { char bus_id[16]; unsigned domain, bus, device, device_id, subsystem_id, reserved[4]; };

#ifdef OLD_DRIVER
int nvmlDeviceGetPciInfo_v2(struct gpu *gpu, struct pci_info_v2 *pci) {
    int result = enter_gpu(PCI, gpu);
    if (result) return result;
    *pci = (struct pci_info_v2){.domain = gpu->domain, .bus = gpu->bus, .device = gpu->device, .reserved = {~0u, ~0u, ~0u, ~0u}};
    snprintf(pci->bus_id, sizeof pci->bus_id, "%04X:%02X:%02X.0", gpu->domain & 0xffff, gpu->bus & 0xff, gpu->device & 0xff);
    return SUCCESS;
}
#else
int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return nvmlInit_v2();
}

void write_pci(struct pci_info *pci, unsigned domain, unsigned bus, unsigned device) {
    *pci = (struct pci_info){.domain = domain, .bus = bus, .device = device};
    snprintf(pci->bus_id, sizeof pci->bus_id, "%08X:%02X:%02X.0", domain, bus & 0xff, device & 0xff);
}

int nvmlDeviceGetPciInfo_v3(struct gpu *gpu, struct pci_info *pci) {
    int result = enter_gpu(PCI, gpu);
    if (result) return result;
    write_pci(pci, gpu->domain, gpu->bus, gpu->device);
    return SUCCESS;
}
#endif

struct memory_info { unsigned long long total, free, used; };

int nvmlDeviceGetMemoryInfo(struct gpu *gpu, struct memory_info *memory) {
    struct mig_device *mig = mig_device_of(gpu);
    int result = mig ? enter_mig_device(MEMORY, mig) : enter_gpu(MEMORY, gpu);
    if (result) return result;
    uint64_t total = mig ? mig->memory_mb << 20 : gpu->memory;
    *memory = (struct memory_info){total, total, 0};
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(struct gpu *gpu, int *major, int *minor) {
    int result = enter_gpu(CAPABILITY, gpu);
    if (result) return result;
    *major = (int)gpu->capability[0];
    *minor = (int)gpu->capability[1];
    return SUCCESS;
}

int nvmlDeviceGetSupportedEventTypes(struct gpu *gpu, unsigned long long *types) {
    int result = enter_gpu(SUPPORTED, gpu);
    if (!result) *types = gpu->has_events ? gpu->event_types : 0;
    return result;
}

int nvmlDeviceRegisterEvents(struct gpu *gpu, unsigned long long types, void *set) {
    int result = enter_gpu(REGISTER, gpu);
    if (result) return result;
    if (!set || types & ~(unsigned long long)gpu->event_types) return INVALID_ARGUMENT;
    if (!gpu->has_events) return NOT_SUPPORTED;
    registered[gpu - control->gpus] = (int)types;
    return SUCCESS;
}

struct field_value {
    unsigned id, scope;
    long long timestamp, latency;
    unsigned value_type;
    int result;
    union { double d; unsigned ui; unsigned long ul; unsigned long long ull; } value;
};

#ifndef OLD_DRIVER
int nvmlDeviceGetFieldValues(struct gpu *gpu, int count, struct field_value *values) {
    int result = enter_gpu(FIELDS, gpu);
    if (result) return result;
    for (int i = 0; i < count; i++) {
        int known = values[i].id == GET_GPU_RECOVERY_ACTION && gpu->recovery_action >= 0;
        values[i].result = known ? SUCCESS : NOT_SUPPORTED;
        values[i].value_type = 1;
        values[i].value.ui = known ? (unsigned)gpu->recovery_action : 0;
    }
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(struct gpu *gpu, unsigned *correctable, unsigned *uncorrectable, unsigned *pending, unsigned *failed) {
    int result = enter_gpu(REMAPPED, gpu);
    if (result) return result;
    *correctable = *uncorrectable = 0;
    *pending = gpu->remap_pending;
    *failed = gpu->remap_failed;
    return SUCCESS;
}

struct fabric_info_v2 { unsigned version; unsigned char cluster[16]; int status; unsigned clique; unsigned char state; unsigned mask; };
struct fabric_info_v3 { struct fabric_info_v2 v2; unsigned char summary; };

int nvmlDeviceGetGpuFabricInfoV(struct gpu *gpu, struct fabric_info_v3 *info) {
    int result = enter_gpu(FABRIC, gpu);
    if (result) return result;
    unsigned version = info->v2.version >> 24;
    unsigned size = version == 2 ? sizeof info->v2 : sizeof *info;
    if (version < 2 || version > control->fabric_version || info->v2.version != (version << 24 | size))
        return ARGUMENT_VERSION_MISMATCH;
    if (gpu->fabric_state < 0) return NOT_SUPPORTED;
    memcpy(info->v2.cluster, gpu->cluster, sizeof info->v2.cluster);
    info->v2.clique = gpu->clique;
    info->v2.state = (unsigned char)gpu->fabric_state;
    info->v2.status = (int)gpu->fabric_status;
    info->v2.mask = gpu->fabric_mask;
    if (version > 2) info->summary = (unsigned char)gpu->fabric_summary;
    return SUCCESS;
}
#endif

#ifdef OLD_DRIVER
int nvmlDeviceGetCurrentClocksThrottleReasons(struct gpu *gpu, unsigned long long *reasons) {
#else
int nvmlDeviceGetCurrentClocksEventReasons(struct gpu *gpu, unsigned long long *reasons) {
#endif
    int result = enter_gpu(CLOCKS, gpu);
    if (!result) *reasons = gpu->clocks;
    return result;
}

int nvmlDeviceGetRetiredPagesPendingStatus(struct gpu *gpu, unsigned *pending) {
    int result = enter_gpu(RETIRED, gpu);
    if (!result) *pending = gpu->retirement_pending;
    return result;
}

int nvmlEventSetCreate(void **set) {
    int result = enter(CREATE);
    if (result) return result;
    memset(registered, 0, sizeof registered);
    *set = malloc(1);
    return SUCCESS;
}

int nvmlEventSetFree(void *set) {
    int result = enter(FREE);
    if (!result) free(set);
    return result;
}

struct event_data_v1 { struct gpu *gpu; unsigned long long type, data; };
struct event_data { struct gpu *gpu; unsigned long long type, data; unsigned gpu_instance, compute_instance; };

/* Take the next event of a registered GPU, or of the stranger. */
static int take_event(struct event_data *data) {
    while (__atomic_load_n(&control->written, __ATOMIC_SEQ_CST) != control->read) {
        struct event *event = &control->events[control->read++ % MAX_EVENTS];
        if (event->gpu >= 0 && !(registered[event->gpu] & (int)event->type)) continue;
        struct gpu *gpu = event->gpu < 0 ? &stranger : &control->gpus[event->gpu];
        *data = (struct event_data){gpu, event->type, event->data, event->gi, event->ci};
        return 1;
    }
    return 0;
}

static int wait_for_event(struct event_data *data, unsigned milliseconds) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end = now.tv_sec * 1000000000LL + now.tv_nsec + milliseconds * 1000000LL;
    int result = enter(WAIT);
    while (!result) {
        uint32_t generation = __atomic_load_n(&control->generation, __ATOMIC_SEQ_CST);
        if ((result = obey(WAIT))) break;
        if (take_event(data)) return SUCCESS;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t left = end - now.tv_sec * 1000000000LL - now.tv_nsec;
        if (left <= 0) return TIMEOUT;
        struct timespec rest = {left / 1000000000LL, left % 1000000000LL};
        wait_for_change(generation, &rest);
    }
    return result;
}

#ifdef OLD_DRIVER
int nvmlEventSetWait(void *set, struct event_data_v1 *data, unsigned milliseconds) {
    struct event_data event;
    int result = set ? wait_for_event(&event, milliseconds) : INVALID_ARGUMENT;
    if (!result) *data = (struct event_data_v1){event.gpu, event.type, event.data};
    return result;
}
#else
int nvmlEventSetWait_v2(void *set, struct event_data *data, unsigned milliseconds) {
    return set ? wait_for_event(data, milliseconds) : INVALID_ARGUMENT;
}
#endif
