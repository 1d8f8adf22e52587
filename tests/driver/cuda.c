/* A stand-in for NVIDIA's libcuda.so.1: it lists the GPUs that nvml.c lists, and needs the nodes for computing as well.
 *
 * Both are in one library, so that a program which loads this one alone has all of it.
 */
#include "control.h"
#include <stdio.h>
#include <string.h>

enum { CUDA_SUCCESS = 0, CUDA_INVALID_VALUE = 1, CUDA_NOT_INITIALIZED = 3, CUDA_NO_DEVICE = 100, CUDA_INVALID_DEVICE = 101 };
enum { UUID_BYTES = 16 };

int nvmlInit_v2(void);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct gpu **gpu);
int nvmlDeviceGetUUID(struct gpu *gpu, char *uuid, unsigned room);

static int is_ready;

int cuInit(unsigned flags) {
    if (flags) return CUDA_INVALID_VALUE;
    if (nvmlInit_v2() || !may_use("nvidia-uvm")) return CUDA_NO_DEVICE;
    is_ready = 1;
    return CUDA_SUCCESS;
}

int cuDeviceGetCount(int *count) {
    unsigned found = 0;
    if (!is_ready) return CUDA_NOT_INITIALIZED;
    if (nvmlDeviceGetCount_v2(&found)) return CUDA_NO_DEVICE;
    *count = (int)found;
    return CUDA_SUCCESS;
}

int cuDeviceGet(int *device, int ordinal) {
    int count = 0;
    int result = cuDeviceGetCount(&count);
    if (result) return result;
    if (ordinal < 0 || ordinal >= count) return CUDA_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

/* The UUID as bytes: two digits of the text each, without "GPU-" and the other dashes. */
int cuDeviceGetUuid(unsigned char *uuid, int device) {
    struct gpu *gpu;
    char text[96];
    if (!is_ready) return CUDA_NOT_INITIALIZED;
    if (nvmlDeviceGetHandleByIndex_v2((unsigned)device, &gpu) || nvmlDeviceGetUUID(gpu, text, sizeof text))
        return CUDA_INVALID_DEVICE;
    const char *digit = strchr(text, '-');
    for (int i = 0; i < UUID_BYTES; i++) {
        unsigned byte;
        while (digit && *digit == '-') digit++;
        if (!digit || sscanf(digit, "%2x", &byte) != 1) return CUDA_INVALID_DEVICE;
        uuid[i] = (unsigned char)byte;
        digit += 2;
    }
    return CUDA_SUCCESS;
}
