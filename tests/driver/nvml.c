/* A stand-in for NVIDIA's libnvidia-ml.so.1: real NVML calls, answered from a shared file that a test writes to.
 *
 * The file is named by NVML_STAND_IN and looked up at every nvmlInit. Its layout is that of driver.py.
 * As in the real library, GPUs that come or go are seen by a new session only, and a GPU that is lost fails its calls.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_GPUS = 64, MAX_EVENTS = 1024, MAX_THREADS = 16 };
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15 };
enum { XID_CRITICAL = 8 };
enum call { INIT, SHUTDOWN, COUNT, HANDLE, UUID, INDEX, MINOR, PCI, NAME, MEMORY, SUPPORTED, REGISTER, CREATE, WAIT, FREE, CALLS };

struct gpu {
    uint32_t present, lost, has_events, minor;
    uint64_t memory;
    char uuid[96], name[96], bus_id[32];
};

struct event {
    int32_t gpu; /* -1: a device that is not in the list */
    uint32_t type;
    uint64_t data;
};

struct control {
    uint32_t init_delay_ms;
    uint32_t hanging; /* a bit for each call */
    uint32_t written, read; /* events so far */
    int32_t error_of[CALLS]; /* the result of a call, where not 0 */
    uint32_t count_of[CALLS];
    int32_t threads[MAX_THREADS];
    uint32_t sessions;
    uint32_t padding;
    struct gpu gpus[MAX_GPUS];
    struct event events[MAX_EVENTS];
};

static struct control *control;
static int initialised, visible, slots[MAX_GPUS];
static struct gpu stranger;

static void futex(uint32_t *word, int operation, uint32_t value, const struct timespec *limit) {
    syscall(SYS_futex, word, operation, value, limit, NULL, 0);
}

static void note_thread(void) {
    int32_t me = (int32_t)syscall(SYS_gettid);
    for (int i = 0; i < MAX_THREADS; i++) {
        if (control->threads[i] == me) return;
        if (control->threads[i] == 0) { control->threads[i] = me; return; }
    }
}

/* Count the call, hang where the test says so, and tell the error that it asked for. */
static int enter(enum call which) {
    if (!control) return UNINITIALIZED;
    __atomic_fetch_add(&control->count_of[which], 1, __ATOMIC_SEQ_CST);
    note_thread();
    for (;;) {
        uint32_t hanging = __atomic_load_n(&control->hanging, __ATOMIC_SEQ_CST);
        if (!(hanging & (1u << which))) break;
        futex(&control->hanging, FUTEX_WAIT, hanging, NULL);
    }
    if (control->error_of[which]) return control->error_of[which];
    return which != INIT && !initialised ? UNINITIALIZED : SUCCESS;
}

static int enter_gpu(enum call which, struct gpu *gpu) {
    int result = enter(which);
    if (result) return result;
    if (!gpu) return INVALID_ARGUMENT;
    return gpu->lost ? GPU_IS_LOST : SUCCESS;
}

static int copy(char *to, unsigned room, const char *from) {
    if (!to || room == 0) return INVALID_ARGUMENT;
    strncpy(to, from, room - 1);
    to[room - 1] = 0;
    return SUCCESS;
}

static void map_control(void) {
    const char *path = getenv("NVML_STAND_IN");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) { control = NULL; return; }
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    control = memory == MAP_FAILED ? NULL : memory;
}

int nvmlInit_v2(void) {
    if (initialised) { initialised++; return SUCCESS; }
    map_control();
    if (!control) return DRIVER_NOT_LOADED;
    int result = enter(INIT);
    usleep(control->init_delay_ms * 1000);
    if (result) return result;
    visible = 0;
    for (int slot = 0; slot < MAX_GPUS; slot++)
        if (control->gpus[slot].present) slots[visible++] = slot;
    control->sessions++;
    control->read = control->written;
    initialised = 1;
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return nvmlInit_v2();
}

int nvmlShutdown(void) {
    int result = enter(SHUTDOWN);
    if (result) return result;
    initialised--;
    return SUCCESS;
}

const char *nvmlErrorString(int result) {
    switch (result) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
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
    return (*gpu)->lost ? GPU_IS_LOST : SUCCESS;
}

int nvmlDeviceGetUUID(struct gpu *gpu, char *uuid, unsigned room) {
    int result = enter_gpu(UUID, gpu);
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

struct pci_info { char legacy_bus_id[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(struct gpu *gpu, struct pci_info *pci) {
    int result = enter_gpu(PCI, gpu);
    if (result) return result;
    memset(pci, 0, sizeof *pci);
    return copy(pci->bus_id, sizeof pci->bus_id, gpu->bus_id);
}

struct memory_info { unsigned long long total, free, used; };

int nvmlDeviceGetMemoryInfo(struct gpu *gpu, struct memory_info *memory) {
    int result = enter_gpu(MEMORY, gpu);
    if (!result) *memory = (struct memory_info){gpu->memory, gpu->memory, 0};
    return result;
}

int nvmlDeviceGetSupportedEventTypes(struct gpu *gpu, unsigned long long *types) {
    int result = enter_gpu(SUPPORTED, gpu);
    if (!result) *types = gpu->has_events ? XID_CRITICAL : 0;
    return result;
}

int nvmlDeviceRegisterEvents(struct gpu *gpu, unsigned long long types, void *set) {
    (void)types;
    (void)set;
    int result = enter_gpu(REGISTER, gpu);
    return result ? result : gpu->has_events ? SUCCESS : NOT_SUPPORTED;
}

int nvmlEventSetCreate(void **set) {
    int result = enter(CREATE);
    if (!result) *set = malloc(1);
    return result;
}

int nvmlEventSetFree(void *set) {
    int result = enter(FREE);
    free(set);
    return result;
}

struct event_data { struct gpu *gpu; unsigned long long type, data; unsigned gpu_instance, compute_instance; };

int nvmlEventSetWait_v2(void *set, struct event_data *data, unsigned milliseconds) {
    (void)set;
    struct timespec now, limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct timespec end = {now.tv_sec + limit.tv_sec, now.tv_nsec + limit.tv_nsec};
    for (;;) {
        int result = enter(WAIT);
        if (result) return result;
        uint32_t written = __atomic_load_n(&control->written, __ATOMIC_SEQ_CST);
        if (written != control->read) {
            struct event *event = &control->events[control->read++ % MAX_EVENTS];
            struct gpu *gpu = event->gpu < 0 ? &stranger : &control->gpus[event->gpu];
            *data = (struct event_data){gpu, event->type, event->data, ~0u, ~0u};
            return SUCCESS;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        long left = (end.tv_sec - now.tv_sec) * 1000000000L + end.tv_nsec - now.tv_nsec;
        if (left <= 0) return TIMEOUT;
        struct timespec rest = {left / 1000000000L, left % 1000000000L};
        futex(&control->written, FUTEX_WAIT, written, &rest);
    }
}
