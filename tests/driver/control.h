/* What the stand-in shares with the test, and the functions that its files share. Its layout is that of control.py. */
#ifndef CONTROL_H
#define CONTROL_H
#include <stdint.h>

enum { MAX_GPUS = 64, MAX_EVENTS = 1024, MAX_THREADS = 16, MAX_LINKS = 36, MAX_SLOTS = 8, MAX_PROFILES = 24 };
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, TIMEOUT = 10 };
enum { GPU_IS_LOST = 15, RM_VERSION_MISMATCH = 18, ARGUMENT_VERSION_MISMATCH = 25 };
enum { DOUBLE_BIT_ECC = 2, XID_CRITICAL = 8, GPU_UNAVAILABLE = 0x4000, RECOVERY_ACTION_CHANGED = 0x8000 };
enum { GET_GPU_RECOVERY_ACTION = 230 };
enum call { INIT, SHUTDOWN, COUNT, HANDLE, UUID, INDEX, MINOR, PCI, NAME, MEMORY, SUPPORTED, REGISTER, CREATE, WAIT, FREE, VERSION, FIELDS, REMAPPED, RETIRED, FABRIC, LINK, MIG, CLOCKS, CAPABILITY,
    MIG_COUNT, MIG_HANDLE, MIG_PARENT, IS_MIG, GI_ID, CI_ID, ATTRIBUTES, GI, GI_INFO, GI_PROFILE, GI_PROFILE_V, LINK_REMOTE, LINK_TYPE, ANCESTOR, CUDA, CALLS };

struct gpu {
    uint32_t present;
    int32_t error; /* what its calls return, where not 0 */
    uint32_t has_events, minor;
    uint64_t memory;
    char uuid[96], name[96];
    uint32_t domain, bus, device;
    uint32_t event_types; /* what it can report */
    int32_t recovery_action; /* field 230; -1: it has none */
    uint32_t remap_failed, remap_pending, retirement_pending;
    int32_t fabric_state; /* -1: it has none */
    uint32_t fabric_status, fabric_mask, fabric_summary;
    uint8_t cluster[16]; /* all 0: it is in none */
    uint32_t clique;
    uint32_t links, in_mig_mode, pending_mig_mode;
    uint32_t max_mig_devices; /* 0: it has no MIG */
    uint32_t gi_profiles; /* the driver knows so many numbers of GPU instance profiles */
    uint64_t links_down; /* a bit for each */
    uint64_t clocks; /* why it is not as fast as it can be, a bit for each reason */
    uint32_t capability[2]; /* major and minor number */
    int8_t link_to[MAX_LINKS]; /* the GPU at the other end of each link; -1: a switch */
};

struct gi_profile { /* a profile of GPU instances; its place in the table is NVML's number of it */
    uint32_t id, slices; /* 0 slices: the GPU does not have it */
    uint64_t memory_mb;
    char name[32];
};

struct mig_device { /* its address is its handle, so a handle can stand for another device later, as in NVML */
    uint32_t present;
    int32_t error, error_call; /* what this call returns, or all of them with -1; 0: no error */
    uint32_t calls_left; /* the device vanishes in this one of the next calls; 0: it stays */
    uint32_t gi, ci, profile_id;
    uint32_t multiprocessors, copy, decoder, encoder, jpeg, ofa, gi_slices, ci_slices;
    uint32_t gpu_instance; /* its address is the handle of the GPU instance */
    uint64_t memory_mb;
    char uuid[96];
};

struct event {
    int32_t gpu; /* -1: a device that is not in the list */
    uint32_t type;
    uint64_t data;
    uint32_t gi, ci; /* all bits: it belongs to no instance */
};

struct control {
    uint32_t generation; /* everybody who waits, waits for this to change */
    uint32_t init_delay_ms;
    uint64_t hanging; /* a bit for each call */
    uint32_t written, read; /* events so far */
    uint32_t sessions;
    char version[32];
    uint32_t cuda; /* the version of CUDA that the driver supports, such as 13000; 0: it does not tell */
    uint32_t fabric_version; /* the newest structure that it knows; 0: none */
    char monitor_node[64]; /* the privileged calls need access to it; empty: they need nothing */
    int32_t error_of[CALLS]; /* the result of a call, where not 0 */
    uint32_t errors_left[CALLS]; /* how often it is still returned; 0: without end */
    uint32_t count_of[CALLS];
    int32_t threads[MAX_THREADS];
    struct gpu gpus[MAX_GPUS];
    struct event events[MAX_EVENTS];
    struct gi_profile gi_profiles[MAX_GPUS][MAX_PROFILES];
    struct mig_device mig_devices[MAX_GPUS][MAX_SLOTS];
    uint8_t ancestors[MAX_GPUS][MAX_GPUS]; /* NVML's level of the nearest common ancestor */
};

struct pci_info { char legacy_bus_id[16]; unsigned domain, bus, device, device_id, subsystem_id; char bus_id[32]; };

#pragma GCC visibility push(hidden) /* no name of ours is mixed up with one of the process */
extern struct control *control;

/* Count a call, hang where the test says so, and return the error that it asked for. */
int enter(enum call which);
int enter_gpu(enum call which, struct gpu *gpu);
/* The same for a MIG device, which vanishes when the test says so. */
int enter_mig_device(enum call which, struct mig_device *device);
/* Return the MIG device of a handle. NULL if it is the handle of something else. */
struct mig_device *mig_device_of(const void *handle);
int copy(char *to, unsigned room, const char *from);
int may_use(const char *name); /* whether this process may use a device node of the driver, where the test asks */
void write_pci(struct pci_info *pci, unsigned domain, unsigned bus, unsigned device);
#pragma GCC visibility pop
#endif
