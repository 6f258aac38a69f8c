// The rest of libcuda.cpp: recording, events, and the one kernel of the product.
#include "device.h"

struct Place {
    unsigned x, y, z;
};
// The product's kernel, see run.cpp; blocks and threads are its globals, so one launch at a time.
extern "C" void run(int pixel, Place grid, Place block, void** at, const void* sizes);

extern "C" {

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    WORKS(false);
    Stream* stream = stream_of(context, handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (!handle || stream->recorded || mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    stream->recorded = std::make_unique<std::vector<Work>>();
    stream->spoiled = false;
    recording = stream;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph)
{
    std::unique_ptr<std::vector<Work>> recorded;  // the recording ends in any case
    if (recording) recorded = std::move(recording->recorded);
    Stream* stream = recording;
    recording = nullptr;
    *graph = nullptr;
    WORKS(true);
    if (!recorded || stream != stream_of(context, handle)) return CUDA_ERROR_INVALID_VALUE;
    if (stream->spoiled) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *graph = fresh<CUgraph>();
    context.graphs[*graph] = *recorded;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec* ready, CUgraph graph, unsigned long long)
{
    WORKS(false);
    const auto found = context.graphs.find(graph);
    if (found == context.graphs.end()) return CUDA_ERROR_INVALID_HANDLE;
    *ready = fresh<CUgraphExec>();
    context.ready[*ready] = found->second;
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream)
{
    WORKS(false);
    const auto found = context.ready.find(handle);
    if (found == context.ready.end()) return CUDA_ERROR_INVALID_HANDLE;
    ++replayed;
    for (const Work& work : found->second)
        if (const CUresult refused = put(context, stream, work)) return refused;
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    WORKS(false);
    if (!context.ready.erase(handle)) return CUDA_ERROR_INVALID_HANDLE;
    delete reinterpret_cast<char*>(handle);
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph handle)
{
    WORKS(false);
    if (!context.graphs.erase(handle)) return CUDA_ERROR_INVALID_HANDLE;
    delete reinterpret_cast<char*>(handle);
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent* event, unsigned)
{
    WORKS(true);
    *event = fresh<CUevent>();
    context.events[*event] = std::make_shared<Event>();
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle)
{
    WORKS(true);
    if (!context.events.erase(handle)) return CUDA_ERROR_INVALID_HANDLE;
    delete reinterpret_cast<char*>(handle);
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent handle, CUstream stream)
{
    WORKS(true);
    const auto found = context.events.find(handle);
    if (found == context.events.end()) return CUDA_ERROR_INVALID_HANDLE;
    const std::shared_ptr<Event> event = found->second;
    event->recorded = true;
    event->done = false;
    return put(context, stream, [event] { event->at = Clock::now(), event->done = true; });
}

CUresult cuEventElapsedTime(float* milliseconds, CUevent from, CUevent to)
{
    WORKS(true);
    const auto first = context.events.find(from), second = context.events.find(to);
    if (first == context.events.end() || second == context.events.end())
        return CUDA_ERROR_INVALID_HANDLE;
    const Event &began = *first->second, &ended = *second->second;
    if (!began.recorded || !ended.recorded) return CUDA_ERROR_INVALID_HANDLE;
    if (!began.done || !ended.done) return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(ended.at - began.at).count();
    return CUDA_SUCCESS;
}

// The code is what nvcc made, for a GPU; what runs is the same source, compiled for the CPU.
CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**)
{
    WORKS(false);
    if (std::memcmp(image, "\177ELF", 4) != 0) return CUDA_ERROR_INVALID_IMAGE;
    *module = fresh<CUmodule>();
    context.modules[*module] = std::make_unique<Module>();
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name)
{
    WORKS(false);
    static const char* const known[] = {"prepare_int16", "prepare_uint16", "prepare_float32"};
    const auto found = context.modules.find(module);
    if (found == context.modules.end()) return CUDA_ERROR_INVALID_HANDLE;
    for (int pixel = 0; pixel < 3; ++pixel) {
        if (std::strcmp(known[pixel], name) != 0) continue;
        const auto made = found->second->functions.insert(std::make_unique<int>(pixel));
        *function = reinterpret_cast<CUfunction>(made.first->get());
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

// Outdated, but pycuda says it before each launch.
CUresult cuFuncSetBlockShape(CUfunction, int, int, int)
{
    WORKS(true);
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module)
{
    WORKS(false);
    if (!context.modules.erase(module)) return CUDA_ERROR_INVALID_HANDLE;
    delete reinterpret_cast<char*>(module);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned across, unsigned down, unsigned deep,
                        unsigned wide, unsigned high, unsigned thick, unsigned, CUstream stream,
                        void**, void** extra)
{
    WORKS(true);
    int pixel = -1;
    for (const auto& [_, module] : context.modules)
        for (const auto& one : module->functions)
            if (reinterpret_cast<CUfunction>(one.get()) == function) pixel = *one;
    if (pixel < 0) return CUDA_ERROR_INVALID_HANDLE;
    if (!across || !down || !deep || down > 65535 || deep > 65535 || wide * high * thick > 1024)
        return CUDA_ERROR_INVALID_VALUE;
    const char* given = nullptr;
    size_t size = 0;
    for (; extra && *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) given = static_cast<const char*>(extra[1]);
        if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) size = *static_cast<const size_t*>(extra[1]);
    }
    if (!given || size != KERNEL_POINTERS * sizeof(void*) + KERNEL_SIZES)
        return CUDA_ERROR_INVALID_VALUE;
    const std::vector<char> arguments(given, given + size);
    for (int i = 0; i < KERNEL_POINTERS; ++i) {
        void* at = reinterpret_cast<void* const*>(given)[i];
        if (!inside(context, at, 1, false)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    ++launched;
    return put(context, stream, [=] {
        std::lock_guard<std::recursive_mutex> one_at_a_time(guard);
        std::vector<char> own = arguments;
        void** at = reinterpret_cast<void**>(own.data());
        run(pixel, {across, down, deep}, {wide, high, thick}, at, at + KERNEL_POINTERS);
    });
}

}  // extern "C"
