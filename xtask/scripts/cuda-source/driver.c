// A library that takes the place of NVIDIA's driver, `libcuda.so`, on a machine without a card.
// It says that there is one card of the compute capability CARD (80, 90, ...), keeps its memory in
// that of the process, starts no kernel and copies nothing to the card, so every number that is read
// back is zero. A program runs through all its calls this way. CARD_OUT is a folder for the modules
// that are loaded (`PROCESS-NUMBER.ptx`) and for the counts of calls (`counts-PROCESS`), which are
// written at the end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long Pointer;
typedef void *Handle;

static struct {
    unsigned long long launches, uploads, upload_bytes, reads, read_bytes, copies, allocations, waits;
} counts;
static unsigned modules;
static char a_handle;

#define COUNT(what, by) __atomic_fetch_add(&counts.what, (by), __ATOMIC_RELAXED)

static int card(void) {
    const char *text = getenv("CARD");
    return text ? atoi(text) : 80;
}

static FILE *opened(const char *name) {
    const char *folder = getenv("CARD_OUT");
    char path[4096];
    if (!folder) return NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "wb");
}

__attribute__((destructor)) static void write_counts(void) {
    char name[64];
    snprintf(name, sizeof name, "counts-%d", getpid());
    FILE *file = opened(name);
    if (!file) return;
    fprintf(file, "launches %llu\nuploads %llu\nupload_bytes %llu\nreads %llu\nread_bytes %llu\n"
        "copies %llu\nallocations %llu\nwaits %llu\nmodules %u\n",
        counts.launches, counts.uploads, counts.upload_bytes, counts.reads, counts.read_bytes,
        counts.copies, counts.allocations, counts.waits, modules);
    fclose(file);
}

static int made(Handle *handle) { *handle = &a_handle; return 0; }

// What there is: one card.
int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDriverGetVersion(int *version) { *version = 12090; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? 101 : 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { (void)device; *bytes = (size_t)80 << 30; return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *free = *total = (size_t)80 << 30; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    snprintf(name, length, "no card, as compute capability %d", card());
    return 0;
}
int cuDeviceGetPCIBusId(char *id, int length, int device) {
    (void)device;
    snprintf(id, length, "0000:00:00.0");
    return 0;
}
int cuDeviceGetUuid_v2(char *uuid, int device) { (void)device; memset(uuid, 0, 16); return 0; }

// The attributes by their numbers in `cuda.h`, as NVIDIA's programming guide lists them for compute
// capabilities 8.0 and 9.0; what is not listed is 0.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 1: *value = 1024; break;                                  // threads of a block
    case 2: case 3: *value = 1024; break;                          // block, x and y
    case 4: *value = 64; break;                                    // block, z
    case 5: *value = 2147483647; break;                            // grid, x
    case 6: case 7: *value = 65535; break;                         // grid, y and z
    case 8: *value = 48 << 10; break;                              // shared memory of a block
    case 10: *value = 32; break;                                   // warp
    case 12: *value = 65536; break;                                // registers of a block
    case 16: *value = card() >= 90 ? 132 : 108; break;             // multiprocessors
    case 39: *value = 2048; break;                                 // threads of a multiprocessor
    case 41: *value = 1; break;                                    // one address space
    case 75: *value = card() / 10; break;                          // compute capability
    case 76: *value = card() % 10; break;
    case 97: *value = (card() >= 90 ? 227 : 163) << 10; break;     // shared memory, on request
    case 115: *value = 1; break;                                   // pools of memory
    case 120: *value = card() >= 90; break;                        // clusters
    default: *value = 0;
    }
    return 0;
}

// Contexts, streams and events: everything happens at once.
int cuDevicePrimaryCtxRetain(Handle *context, int device) { (void)device; return made(context); }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxSetCurrent(Handle context) { (void)context; return 0; }
int cuCtxGetCurrent(Handle *context) { return made(context); }
int cuCtxSynchronize(void) { COUNT(waits, 1); return 0; }
int cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return 0; }
int cuStreamCreate(Handle *stream, unsigned flags) { (void)flags; return made(stream); }
int cuStreamCreateWithPriority(Handle *stream, unsigned flags, int priority) {
    (void)flags, (void)priority;
    return made(stream);
}
int cuStreamDestroy_v2(Handle stream) { (void)stream; return 0; }
int cuStreamQuery(Handle stream) { (void)stream; return 0; }
int cuStreamSynchronize(Handle stream) { (void)stream; COUNT(waits, 1); return 0; }
int cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) {
    (void)stream, (void)event, (void)flags;
    return 0;
}
int cuEventCreate(Handle *event, unsigned flags) { (void)flags; return made(event); }
int cuEventDestroy_v2(Handle event) { (void)event; return 0; }
int cuEventRecord(Handle event, Handle stream) { (void)event, (void)stream; return 0; }
int cuEventQuery(Handle event) { (void)event; return 0; }
int cuEventSynchronize(Handle event) { (void)event; COUNT(waits, 1); return 0; }
int cuEventElapsedTime_v2(float *ms, Handle start, Handle end) {
    (void)start, (void)end;
    *ms = 1;
    return 0;
}
int cuEventElapsedTime(float *ms, Handle start, Handle end) { return cuEventElapsedTime_v2(ms, start, end); }

// Memory is that of the process, and is all zeros.
int cuMemAlloc_v2(Pointer *pointer, size_t bytes) {
    void *memory;
    if (posix_memalign(&memory, 512, bytes ? bytes : 1)) return 2; // out of memory
    memset(memory, 0, bytes);
    *pointer = (Pointer)memory;
    COUNT(allocations, 1);
    return 0;
}
int cuMemAllocAsync(Pointer *pointer, size_t bytes, Handle stream) { (void)stream; return cuMemAlloc_v2(pointer, bytes); }
int cuMemFree_v2(Pointer pointer) { free((void *)pointer); return 0; }
int cuMemFreeAsync(Pointer pointer, Handle stream) { (void)stream; return cuMemFree_v2(pointer); }
int cuMemAllocHost_v2(void **pointer, size_t bytes) {
    return posix_memalign(pointer, 512, bytes ? bytes : 1) ? 2 : 0;
}
int cuMemFreeHost(void *pointer) { free(pointer); return 0; }
int cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, Handle stream) {
    (void)to, (void)from, (void)stream;
    COUNT(uploads, 1), COUNT(upload_bytes, bytes);
    return 0;
}
int cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, Handle stream) {
    (void)stream;
    memcpy(to, (void *)from, bytes);
    COUNT(reads, 1), COUNT(read_bytes, bytes);
    return 0;
}
int cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, Handle stream) {
    (void)stream;
    memmove((void *)to, (void *)from, bytes);
    COUNT(copies, 1);
    return 0;
}
int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Handle stream) {
    (void)stream;
    memset((void *)to, value, bytes);
    return 0;
}

// `CUDA_MEMCPY2D`; a memory type of 1 is the host, and 2 is the card.
struct Plane { size_t x, y; int type; const char *host; Pointer device; Handle array; size_t pitch; };
struct Copy { struct Plane from, to; size_t width, height; };
static char *start(const struct Plane *plane) {
    return (char *)(plane->type == 1 ? plane->host : (char *)plane->device) + plane->y * plane->pitch + plane->x;
}
int cuMemcpy2DAsync_v2(const struct Copy *copy, Handle stream) {
    (void)stream;
    size_t bytes = copy->width * copy->height;
    if (copy->from.type == 1) {
        COUNT(uploads, 1), COUNT(upload_bytes, bytes);
        return 0;
    }
    for (size_t row = 0; row < copy->height; row++)
        memcpy(start(&copy->to) + row * copy->to.pitch, start(&copy->from) + row * copy->from.pitch, copy->width);
    if (copy->to.type == 1) COUNT(reads, 1), COUNT(read_bytes, bytes);
    else COUNT(copies, 1);
    return 0;
}

// Modules are kept as text, and kernels are not started.
int cuModuleLoadData(Handle *module, const char *text) {
    char name[64];
    snprintf(name, sizeof name, "%d-%05u.ptx", getpid(), __atomic_fetch_add(&modules, 1, __ATOMIC_RELAXED));
    FILE *file = opened(name);
    if (file) fputs(text, file), fclose(file);
    return made(module);
}
int cuModuleUnload(Handle module) { (void)module; return 0; }
int cuModuleGetFunction(Handle *function, Handle module, const char *name) {
    (void)module, (void)name;
    return made(function);
}
int cuFuncSetAttribute(Handle function, int attribute, int value) {
    (void)function, (void)attribute, (void)value;
    return 0;
}
int cuFuncGetAttribute(int *value, int attribute, Handle function) {
    (void)attribute, (void)function;
    *value = 0;
    return 0;
}
int cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
    unsigned bz, unsigned shared, Handle stream, void **arguments, void **extra) {
    (void)function, (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared;
    (void)stream, (void)arguments, (void)extra;
    COUNT(launches, 1);
    return 0;
}
int cuLaunchKernelEx(const void *setting, Handle function, void **arguments, void **extra) {
    (void)setting, (void)function, (void)arguments, (void)extra;
    COUNT(launches, 1);
    return 0;
}
int cuTensorMapEncodeTiled(void *map) { memset(map, 0, 128); return 0; }
int cuTensorMapEncodeIm2col(void *map) { memset(map, 0, 128); return 0; }
int cuTensorMapEncodeIm2colWide(void *map) { memset(map, 0, 128); return 0; }

int cuGetErrorName(int status, const char **name) { (void)status; *name = "status of no card"; return 0; }
int cuGetErrorString(int status, const char **text) { return cuGetErrorName(status, text); }
