/* A libnvidia-ml.so.1 that answers from the text file that FAKE_NVML names, for tests without a GPU.
 *
 *   driver 580.95.05
 *   cuda 13000
 *   gpu 8 NVIDIA H100 80GB HBM3      so many of them; the next lines are about these
 *   memory 81559 516 1               MiB: all, kept by the driver, used by processes
 *   capability 9.0
 *   ecc on                           on, off or unsupported; so is mig
 *   mig off
 *   bus 5120 2619                    width of the memory bus in bits, its highest clock in MHz
 *   power 700                        watts
 *   nvlink                           they are joined to each other
 *   fabric 3                         registered with NVSwitch: 3 done, 2 in progress, 1 not started; 0 knows none
 *   slice 3g.40gb 40448 44           of the last of these GPUs: profile, MiB in all and used
 *   process 0 4711 30000 COMMAND     on this GPU (their number in the file): pid, MiB or -1 where it is not told
 *   fail FUNCTION CODE [GPU]         this function answers CODE (for this GPU only)
 *
 * In the last two, slices count from 100.
 *
 * Other lines are for the tests. Without the file, nvmlInitWithFlags answers 9, "driver not loaded". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, WRONG_VERSION = 25 };
enum { MOST_GPUS = 16, MOST_SLICES = 32, MOST_PROCESSES = 32, MOST_FAILURES = 64 };
typedef unsigned long long wide;
typedef struct {
    char name[96], uuid[96], profile[32];
    wide total, reserved, used;
    int number, block, parent, major, minor, ecc, mig, width, clock, power, nvlink, fabric;
} gpu_t;
typedef struct { unsigned version; wide total, reserved, free, used; } memory_v2_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } pci_t;
typedef struct { unsigned pid; wide used; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { unsigned char cluster[16]; int status; unsigned clique; unsigned char state; } fabric_t;
typedef struct {
    unsigned processors, copy, decoder, encoder, jpeg, flow, gpu_slices, compute_slices;
    wide megabytes;
} attributes_t;

static gpu_t gpus[MOST_GPUS], slices[MOST_SLICES];
static struct { int gpu; unsigned pid; long long used; } processes[MOST_PROCESSES];
static struct { char function[96]; int code, gpu; } failures[MOST_FAILURES];
static int gpu_count, slice_count, process_count, failure_count, cuda;
static char driver[80];

static int failure(const char *function, const gpu_t *gpu) {
    for (int i = 0; i < failure_count; i++)
        if (!strcmp(failures[i].function, function) && (failures[i].gpu < 0 || (gpu && gpu->number == failures[i].gpu)))
            return failures[i].code;
    return 0;
}
#define CHECK(gpu) do { int code = failure(__func__, gpu); if (code) return code; } while (0)
/* What NVML answers about a slice only through the GPU that it was cut from. */
#define WHOLE(gpu) do { CHECK(gpu); if ((gpu)->parent >= 0) return INVALID; } while (0)

static int mode(const char *word) { return !strcmp(word, "on") ? 1 : !strcmp(word, "off") ? 0 : -1; }

static void add_gpus(int count, const char *name) {
    static int block;
    block++;
    while (count-- > 0 && gpu_count < MOST_GPUS) {
        gpu_t *g = &gpus[gpu_count];
        memset(g, 0, sizeof *g);
        snprintf(g->name, sizeof g->name, "%s", name);
        snprintf(g->uuid, sizeof g->uuid, "GPU-%08d-0000-4000-8000-000000000000", gpu_count);
        g->number = gpu_count++; g->block = block; g->parent = -1; g->ecc = g->mig = -1;
    }
}

static void add_slice(const char *profile, wide total, wide used) {
    gpu_t *s = &slices[slice_count], *g = &gpus[gpu_count - 1];
    *s = *g;
    s->parent = g->number;
    s->number = 100 + slice_count;
    s->total = total << 20; s->used = used << 20; s->reserved = 0;
    snprintf(s->profile, sizeof s->profile, "%.31s", profile);
    snprintf(s->name, sizeof s->name, "%.58s MIG %.31s", g->name, profile);
    snprintf(s->uuid, sizeof s->uuid, "MIG-%08d-0000-4000-8000-%012d", g->number, slice_count++);
}

static void set(gpu_t *g, const char *line) {
    char word[16] = "";
    wide total, reserved, used;
    if (sscanf(line, "memory %llu %llu %llu", &total, &reserved, &used) == 3) {
        g->total = total << 20; g->reserved = reserved << 20; g->used = used << 20;
    }
    sscanf(line, "capability %d.%d", &g->major, &g->minor);
    sscanf(line, "bus %d %d", &g->width, &g->clock);
    sscanf(line, "power %d", &g->power);
    sscanf(line, "fabric %d", &g->fabric);
    if (sscanf(line, "ecc %15s", word) == 1) g->ecc = mode(word);
    if (sscanf(line, "mig %15s", word) == 1) g->mig = mode(word);
    if (!strncmp(line, "nvlink", 6)) g->nvlink = 1;
}

static void take(const char *line) {
    char text[96];
    int count;
    wide total, used;
    if (sscanf(line, "driver %79s", driver) == 1 || sscanf(line, "cuda %d", &cuda) == 1) return;
    if (sscanf(line, "gpu %d %95[^\n]", &count, text) == 2) add_gpus(count, text);
    if (sscanf(line, "slice %31s %llu %llu", text, &total, &used) == 3 && gpu_count) add_slice(text, total, used);
    if (sscanf(line, "process %d %u %lld", &processes[process_count].gpu, &processes[process_count].pid,
               &processes[process_count].used) == 3) process_count++;
    failures[failure_count].gpu = -1;
    if (sscanf(line, "fail %95s %d %d", failures[failure_count].function, &failures[failure_count].code,
               &failures[failure_count].gpu) >= 2) failure_count++;
    for (int i = 0; i < gpu_count; i++)
        if (gpus[i].block == gpus[gpu_count - 1].block) set(&gpus[i], line);
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    FILE *file = fopen(getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "/nonexistent", "r");
    char line[512];
    if (!file) return NOT_LOADED;
    gpu_count = slice_count = process_count = failure_count = 0;
    cuda = 13000;
    strcpy(driver, "580.95.05");
    while (fgets(line, sizeof line, file)) take(line);
    fclose(file);
    CHECK(NULL);
    return 0;
}
int nvmlShutdown(void) { CHECK(NULL); return 0; }
const char *nvmlErrorString(int code) { (void)code; return "Fake"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { CHECK(NULL); snprintf(out, size, "%s", driver); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { CHECK(NULL); *out = cuda; return 0; }
int nvmlDeviceGetCount_v2(unsigned *out) { CHECK(NULL); *out = gpu_count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **out) {
    if ((int)index >= gpu_count) return INVALID;
    CHECK(&gpus[index]);
    *out = &gpus[index];
    return 0;
}
int nvmlDeviceGetName(gpu_t *g, char *out, unsigned size) { CHECK(g); snprintf(out, size, "%s", g->name); return 0; }
int nvmlDeviceGetUUID(gpu_t *g, char *out, unsigned size) { CHECK(g); snprintf(out, size, "%s", g->uuid); return 0; }
int nvmlDeviceGetPciInfo_v3(gpu_t *g, pci_t *out) {
    WHOLE(g);
    memset(out, 0, sizeof *out);
    out->bus = g->number + 1;
    snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
    snprintf(out->address, sizeof out->address, "00000000:%02X:00.0", out->bus);
    return 0;
}
int nvmlDeviceGetMemoryInfo(gpu_t *g, wide out[3]) { /* total, free, used: what the driver keeps counts as used */
    CHECK(g);
    out[0] = g->total; out[2] = g->used + g->reserved; out[1] = out[0] - out[2];
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(gpu_t *g, memory_v2_t *out) {
    CHECK(g);
    if (out->version != (sizeof *out | 2u << 24)) return WRONG_VERSION;
    out->total = g->total; out->reserved = g->reserved; out->used = g->used;
    out->free = g->total - g->reserved - g->used;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(gpu_t *g, int *major, int *minor) {
    WHOLE(g);
    *major = g->major; *minor = g->minor;
    return 0;
}
int nvmlDeviceGetEccMode(gpu_t *g, unsigned *current, unsigned *pending) {
    WHOLE(g);
    if (g->ecc < 0) return UNSUPPORTED;
    *current = *pending = g->ecc;
    return 0;
}
int nvmlDeviceGetMemoryBusWidth(gpu_t *g, unsigned *out) { WHOLE(g); *out = g->width; return g->width ? 0 : UNSUPPORTED; }
int nvmlDeviceGetMaxClockInfo(gpu_t *g, int type, unsigned *out) { /* 2: the memory's */
    WHOLE(g);
    *out = g->clock;
    return type == 2 && g->clock ? 0 : UNSUPPORTED;
}
int nvmlDeviceGetPowerManagementLimit(gpu_t *g, unsigned *out) {
    WHOLE(g);
    *out = g->power * 1000;
    return g->power ? 0 : UNSUPPORTED;
}
int nvmlDeviceGetP2PStatus(gpu_t *a, gpu_t *b, int index, int *out) { /* 2: NVLink; 0: yes, 5: not supported */
    WHOLE(a);
    *out = index == 2 && a->nvlink && a->block == b->block ? 0 : 5;
    return 0;
}
int nvmlDeviceGetGpuFabricInfo(gpu_t *g, fabric_t *out) {
    WHOLE(g);
    memset(out, 0, sizeof *out);
    out->state = g->fabric;
    return 0;
}
static int list(gpu_t *g, unsigned *count, process_t *out) {
    unsigned seen = 0;
    for (int i = 0; i < process_count; i++) {
        if (processes[i].gpu != g->number) continue;
        if (out && seen < *count) {
            process_t each = {processes[i].pid, processes[i].used < 0 ? -1ull : (wide)processes[i].used << 20, -1u, -1u};
            out[seen] = each;
        }
        seen++;
    }
    int small = seen > *count || (!out && seen);
    *count = seen;
    return small ? TOO_SMALL : 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(gpu_t *g, unsigned *count, process_t *out) { CHECK(g); return list(g, count, out); }
int nvmlDeviceGetComputeRunningProcesses_v2(gpu_t *g, unsigned *count, process_t *out) { CHECK(g); return list(g, count, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(gpu_t *g, unsigned *count, process_t *out) {
    (void)out;
    WHOLE(g);
    *count = 0;
    return 0;
}
int nvmlDeviceGetMigMode(gpu_t *g, unsigned *current, unsigned *pending) {
    WHOLE(g);
    if (g->mig < 0) return UNSUPPORTED;
    *current = *pending = g->mig;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(gpu_t *g, unsigned *out) { WHOLE(g); *out = g->mig > 0 ? 7 : 0; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(gpu_t *g, unsigned index, gpu_t **out) {
    unsigned seen = 0;
    WHOLE(g);
    for (int i = 0; i < slice_count; i++)
        if (slices[i].parent == g->number && seen++ == index) { *out = &slices[i]; return 0; }
    return NOT_FOUND;
}
int nvmlDeviceGetAttributes_v2(gpu_t *g, attributes_t *out) {
    CHECK(g);
    if (g->parent < 0) return UNSUPPORTED;
    memset(out, 0, sizeof *out);
    sscanf(g->profile, "%ug", &out->gpu_slices);
    out->compute_slices = out->gpu_slices;
    out->megabytes = g->total >> 20;
    return 0;
}
