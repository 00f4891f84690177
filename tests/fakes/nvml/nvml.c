/* A libnvidia-ml.so.1 that answers from the text file that FAKE_NVML names, for tests without a GPU.
 *
 *   driver 580.65.06
 *   cuda 13000
 *   gpu NAME|UUID|TOTAL|USED|MAJOR|MINOR|MIG      MIG: 0 off, 1 on, -1 not supported
 *   slice PARENT|UUID|TOTAL|USED                   a MIG slice of gpu number PARENT
 *   fail FUNCTION CODE [INDEX]                     this function answers CODE (for this device only)
 *
 * Without the file, nvmlInitWithFlags answers 9, "driver not loaded". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char name[96], uuid[96]; unsigned long long total, used; int major, minor, mig, parent; } gpu_t;
static gpu_t gpus[64], slices[64];
static int gpu_count, slice_count, failure_count;
static char driver[80] = "580.65.06";
static int cuda = 13000;
static struct { char function[96]; int code, index; } failures[16];

static int failure(const char *function, gpu_t *gpu) {
    for (int i = 0; i < failure_count; i++)
        if (!strcmp(failures[i].function, function) && (failures[i].index < 0 || (gpu && gpu - gpus == failures[i].index)))
            return failures[i].code;
    return 0;
}
#define CHECK(gpu) do { int code = failure(__func__, gpu); if (code) return code; } while (0)

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    FILE *file = fopen(getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "/nonexistent", "r");
    char line[512];
    if (!file) return 9;
    gpu_count = slice_count = failure_count = 0;
    while (fgets(line, sizeof line, file)) {
        gpu_t *g = &gpus[gpu_count], *s = &slices[slice_count];
        if (sscanf(line, "driver %79s", driver) == 1 || sscanf(line, "cuda %d", &cuda) == 1) continue;
        if (sscanf(line, "gpu %95[^|]|%95[^|]|%llu|%llu|%d|%d|%d", g->name, g->uuid, &g->total, &g->used, &g->major,
                   &g->minor, &g->mig) == 7) gpu_count++;
        if (sscanf(line, "slice %d|%95[^|]|%llu|%llu", &s->parent, s->uuid, &s->total, &s->used) == 4) slice_count++;
        failures[failure_count].index = -1;
        if (sscanf(line, "fail %95s %d %d", failures[failure_count].function, &failures[failure_count].code,
                   &failures[failure_count].index) >= 2) failure_count++;
    }
    fclose(file);
    CHECK(NULL);
    return 0;
}
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { (void)code; return "Fake"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { CHECK(NULL); snprintf(out, size, "%s", driver); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { CHECK(NULL); *out = cuda; return 0; }
int nvmlDeviceGetCount_v2(unsigned *out) { CHECK(NULL); *out = gpu_count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu_t **out) {
    if ((int)index >= gpu_count) return 2;
    CHECK(&gpus[index]);
    *out = &gpus[index];
    return 0;
}
int nvmlDeviceGetName(gpu_t *g, char *out, unsigned size) { CHECK(g); snprintf(out, size, "%s", g->name); return 0; }
int nvmlDeviceGetUUID(gpu_t *g, char *out, unsigned size) { CHECK(g); snprintf(out, size, "%s", g->uuid); return 0; }
int nvmlDeviceGetMemoryInfo(gpu_t *g, unsigned long long out[3]) { /* total, free, used */
    CHECK(g);
    out[0] = g->total; out[1] = g->total - g->used; out[2] = g->used;
    return 0;
}
int nvmlDeviceGetCudaComputeCapability(gpu_t *g, int *major, int *minor) {
    CHECK(g);
    *major = g->major; *minor = g->minor;
    return 0;
}
int nvmlDeviceGetMigMode(gpu_t *g, unsigned *current, unsigned *pending) {
    CHECK(g);
    if (g->mig < 0) return 3;
    *current = *pending = g->mig;
    return 0;
}
int nvmlDeviceGetMaxMigDeviceCount(gpu_t *g, unsigned *out) { CHECK(g); *out = g->mig > 0 ? 7 : 0; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(gpu_t *g, unsigned index, gpu_t **out) {
    unsigned seen = 0;
    for (int i = 0; i < slice_count; i++)
        if (&gpus[slices[i].parent] == g && seen++ == index) { *out = &slices[i]; return 0; }
    return 6;
}
