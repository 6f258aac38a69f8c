// A CUDA driver whose device is this machine's own memory, for the real pycuda to run over: what
// pycuda and the product call of it. What is put on a stream is done when somebody waits for it and
// not before, so that a missing wait shows. It counts what lives and says so when the process ends.
// Source: CUDA driver API; the declarations are those of its cuda.h.
#include "device.h"

#include <cstdio>

namespace {

constexpr int MAJOR = 8, MINOR = 7;  // as a Jetson Orin's

struct Report {
    ~Report();
};
Report at_the_end;

}  // namespace

extern "C" {

// --- What a test asks ---------------------------------------------------------------------

// Make the call with that number from now fail, and with `lasting` each one after it.
void stand_in_fail(long after, int result, int lasting)
{
    std::lock_guard<std::recursive_mutex> held(guard);
    fail_at = after < 0 ? -1 : calls + after;
    failure = static_cast<CUresult>(result);
    for_good = lasting;
}

long stand_in_calls() { return calls; }

// What lives, as JSON; `depth` is that of this thread's stack.
void stand_in_counts(char* text, size_t size)
{
    std::lock_guard<std::recursive_mutex> held(guard);
    size_t streams = 0, events = 0, modules = 0, graphs = 0, device = 0, pinned = 0;
    auto add = [&](const Context& one) {
        device += one.bytes(false), pinned += one.bytes(true), streams += one.streams.size();
        events += one.events.size(), modules += one.modules.size();
        graphs += one.graphs.size() + one.ready.size();
    };
    add(primary);
    for (const auto& one : others) add(*one);
    std::snprintf(text, size,
                  "{\"device\": %zu, \"pinned\": %zu, \"streams\": %zu, \"events\": %zu, "
                  "\"modules\": %zu, \"graphs\": %zu, \"retained\": %d, \"contexts\": %zu, "
                  "\"depth\": %zu, \"outlived\": %zu, \"pageable\": %zu, \"launched\": %zu, "
                  "\"replayed\": %zu}\n",
                  device, pinned, streams, events, modules, graphs, primary.retained,
                  others.size(), stack.size(), outlived, pageable, launched, replayed);
}

// --- The driver ----------------------------------------------------------------------------

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int* version) { return *version = CUDA_VERSION, CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }

CUresult cuDeviceGet(CUdevice* device, int ordinal)
{
    *device = ordinal;
    return ordinal == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetName(char* name, int size, CUdevice)
{
    std::snprintf(name, size, "stand-in");
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice)
{
    *major = MAJOR, *minor = MINOR;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice)
{
    *value = which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? MAJOR
             : which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? MINOR
                                                                     : 1;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult result, const char** text)
{
    static const std::map<int, const char*> names = {
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
        {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
        {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
        {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
        {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY"},
        {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
    };
    const auto found = names.find(result);
    *text = found == names.end() ? "CUDA_ERROR_NOT_SUPPORTED" : found->second;  // as in absent.c
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult result, const char** text)
{
    return cuGetErrorName(result, text);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice)
{
    std::lock_guard<std::recursive_mutex> held(guard);
    primary.primary = true;
    ++primary.retained;
    *context = reinterpret_cast<CUcontext>(&primary);
    return CUDA_SUCCESS;
}

// It does not touch any stack, as the reference says.
CUresult cuDevicePrimaryCtxRelease(CUdevice)
{
    std::lock_guard<std::recursive_mutex> held(guard);
    if (primary.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    if (--primary.retained == 0) {
        outlived += primary.things();
        primary.destroy();
    }
    return CUDA_SUCCESS;
}

#if CUDA_VERSION >= 13000
CUresult cuCtxCreate(CUcontext* context, CUctxCreateParams*, unsigned, CUdevice)
#else
CUresult cuCtxCreate(CUcontext* context, unsigned, CUdevice)
#endif
{
    std::lock_guard<std::recursive_mutex> held(guard);
    Context* made = others.insert(std::make_unique<Context>()).first->get();
    stack.push_back(made);
    *context = reinterpret_cast<CUcontext>(made);
    return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext context)
{
    std::lock_guard<std::recursive_mutex> held(guard);
    for (auto one = others.begin(); one != others.end(); ++one) {
        if (reinterpret_cast<CUcontext>(one->get()) != context) continue;
        outlived += (*one)->things();
        (*one)->destroy();
        if (current() == one->get()) stack.pop_back();
        others.erase(one);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPushCurrent(CUcontext context)
{
    Context* pushed = reinterpret_cast<Context*>(context);
    if (pushed == &primary && primary.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    stack.push_back(pushed);
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext* context)
{
    if (stack.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *context = reinterpret_cast<CUcontext>(stack.back());
    stack.pop_back();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device)
{
    return *device = 0, current() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxSynchronize()
{
    {
        WORKS(false);
    }
    finish_all(*current());
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* at, size_t size)
{
    WORKS(false);
    return take(context, size, false, reinterpret_cast<void**>(at));
}

CUresult cuMemFree(CUdeviceptr at)
{
    {
        WORKS(false);
    }
    finish_all(*current());
    std::lock_guard<std::recursive_mutex> held(guard);
    return give(*current(), address(at), false);
}

CUresult cuMemGetInfo(size_t* left, size_t* total)
{
    WORKS(true);
    *total = DEVICE_MEMORY;
    *left = DEVICE_MEMORY - context.bytes(false);
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** at, size_t size, unsigned)
{
    WORKS(false);
    return take(context, size, true, at);
}

CUresult cuMemFreeHost(void* at)
{
    {
        WORKS(false);
    }
    finish_all(*current());
    std::lock_guard<std::recursive_mutex> held(guard);
    return give(*current(), at, true);
}

static CUresult copied(void* to, const void* from, size_t size, const void* on_device)
{
    {
        WORKS(false);
        if (!inside(context, on_device, size, false)) return CUDA_ERROR_INVALID_VALUE;
    }
    finish_all(*current());
    std::memcpy(to, from, size);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t size)
{
    return copied(address(to), from, size, address(to));
}

CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t size)
{
    return copied(to, address(from), size, address(from));
}

static CUresult put_copy(void* to, const void* from, size_t size, CUstream stream,
                         const void* on_device, const void* on_host)
{
    WORKS(true);
    if (!inside(context, on_device, size, false)) return CUDA_ERROR_INVALID_VALUE;
    pageable += !inside(context, on_host, size, true);
    return put(context, stream, [=] { std::memcpy(to, from, size); });
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t size, CUstream stream)
{
    return put_copy(address(to), from, size, stream, address(to), from);
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t size, CUstream stream)
{
    return put_copy(to, address(from), size, stream, address(from), to);
}

CUresult cuStreamCreate(CUstream* stream, unsigned)
{
    WORKS(false);
    *stream = fresh<CUstream>();
    context.streams[*stream] = std::make_unique<Stream>();
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream handle)
{
    WORKS(true);
    if (recording && recording == stream_of(context, handle)) recording = nullptr;
    if (!context.streams.erase(handle)) return CUDA_ERROR_INVALID_HANDLE;
    delete reinterpret_cast<char*>(handle);
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream handle)
{
    Stream* stream;
    {
        WORKS(false);
        stream = stream_of(context, handle);
        if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    }
    finish(*stream);
    return CUDA_SUCCESS;
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn work, void* given)
{
    WORKS(true);
    return put(context, stream, [=] { work(given); });
}
}  // extern "C"

namespace {

// Written when the process ends, after all that it does at its end.
Report::~Report()
{
    const char* file = std::getenv("STAND_IN_REPORT");
    if (!file) return;
    char text[512];
    stand_in_counts(text, sizeof text);
    if (FILE* out = std::fopen(file, "w")) {
        std::fputs(text, out);
        std::fclose(out);
    }
}

}  // namespace
