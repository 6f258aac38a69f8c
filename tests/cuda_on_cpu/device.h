// The device of libcuda.cpp: what lives in its memory, on whose stack, and what waits on a stream.
// It is strict where the driver is: a call without a current context, a handle that is gone, an
// address outside its allocation or a wait while recording fails. It can fail at any call.
#pragma once
#include <cuda.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

using Work = std::function<void()>;
using Clock = std::chrono::steady_clock;

constexpr size_t DEVICE_MEMORY = size_t(1) << 30;
constexpr int KERNEL_POINTERS = 10;
constexpr size_t KERNEL_SIZES = 48;

struct Stream {
    std::deque<Work> waiting;
    std::unique_ptr<std::vector<Work>> recorded;  // while recording
    bool spoiled = false;                         // by what must not be recorded
    std::recursive_mutex busy;                    // held by whoever does what waits
};

struct Event {
    bool recorded = false;
    bool done = false;
    Clock::time_point at;
};

struct Allocation {
    size_t size;
    bool pinned;
};

struct Module {
    std::string code;
    std::set<std::unique_ptr<int>> functions;  // each the number of a pixel type
};

inline thread_local Stream* recording = nullptr;  // what this thread records on

// All that lives in a context; one primary context, and those made by cuCtxCreate.
struct Context {
    bool primary = false;
    int retained = 0;
    Stream legacy;
    std::map<char*, Allocation> memory;
    std::map<CUstream, std::unique_ptr<Stream>> streams;
    std::map<CUevent, std::shared_ptr<Event>> events;
    std::map<CUmodule, std::unique_ptr<Module>> modules;
    std::map<CUgraph, std::vector<Work>> graphs;
    std::map<CUgraphExec, std::vector<Work>> ready;

    size_t bytes(bool pinned) const
    {
        size_t sum = 0;
        for (const auto& [_, one] : memory) sum += one.pinned == pinned ? one.size : 0;
        return sum;
    }
    size_t things() const
    {
        return memory.size() + streams.size() + events.size() + modules.size() + graphs.size()
               + ready.size();
    }
    void destroy()  // what is left goes with the context
    {
        for (auto& [at, _] : memory) std::free(at);
        memory.clear(), streams.clear(), events.clear(), modules.clear(), graphs.clear();
        ready.clear(), legacy.waiting.clear();
        recording = nullptr;
    }
};

inline std::recursive_mutex guard;  // all that follows
inline Context primary;
inline std::set<std::unique_ptr<Context>> others;
inline size_t outlived = 0, pageable = 0, launched = 0, replayed = 0;
inline long calls = 0, fail_at = -1;
inline CUresult failure = CUDA_SUCCESS;
inline bool for_good = false;
// Never destroyed: the report at the end of the process reads it.
inline thread_local std::vector<Context*>& stack = *new std::vector<Context*>;

inline Context* current() { return stack.empty() ? nullptr : stack.back(); }

// How a call begins that works in a context, and may be made to fail.
inline CUresult begins(bool while_recording)
{
    if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
    const long number = calls++;
    if (number == fail_at || (for_good && fail_at >= 0 && number > fail_at)) return failure;
    if (recording && !while_recording) {
        recording->spoiled = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return CUDA_SUCCESS;
}

#define WORKS(WHILE_RECORDING)                                                                     \
    std::lock_guard<std::recursive_mutex> held(guard);                                             \
    if (const CUresult refused = begins(WHILE_RECORDING)) return refused;                          \
    Context& context = *current();                                                                 \
    (void)context

inline Stream* stream_of(Context& context, CUstream handle)
{
    if (!handle) return &context.legacy;
    const auto found = context.streams.find(handle);
    return found == context.streams.end() ? nullptr : found->second.get();
}

// Do what waits on a stream. Work may call back into Python: `guard` is not held meanwhile.
inline void finish(Stream& stream)
{
    std::unique_lock<std::recursive_mutex> busy(stream.busy, std::try_to_lock);
    if (!busy) return;  // another thread is at it
    while (true) {
        Work work;
        {
            std::lock_guard<std::recursive_mutex> held(guard);
            if (stream.waiting.empty()) return;
            work = std::move(stream.waiting.front());
            stream.waiting.pop_front();
        }
        work();
    }
}

inline CUresult put(Context& context, CUstream handle, Work work)
{
    Stream* stream = stream_of(context, handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    (stream->recorded ? static_cast<void>(stream->recorded->push_back(std::move(work)))
                      : static_cast<void>(stream->waiting.push_back(std::move(work))));
    return CUDA_SUCCESS;
}

// The stream that the default stream waits for, as it waits for all.
inline void finish_all(Context& context)
{
    std::vector<Stream*> all;
    {
        std::lock_guard<std::recursive_mutex> held(guard);
        for (auto& [_, stream] : context.streams) all.push_back(stream.get());
    }
    for (Stream* stream : all) finish(*stream);
    finish(context.legacy);
}

inline bool inside(const Context& context, const void* at, size_t size, bool pinned)
{
    const char* from = static_cast<const char*>(at);
    auto next = context.memory.upper_bound(const_cast<char*>(from));
    if (next == context.memory.begin()) return false;
    const auto& [start, one] = *--next;
    return one.pinned == pinned && from + size <= start + one.size;
}

inline void* address(CUdeviceptr at) { return reinterpret_cast<void*>(at); }

inline CUresult take(Context& context, size_t size, bool pinned, void** at)
{
    if (!size) return CUDA_ERROR_INVALID_VALUE;
    if (!pinned && context.bytes(false) + size > DEVICE_MEMORY) return CUDA_ERROR_OUT_OF_MEMORY;
    char* made = static_cast<char*>(std::malloc(size));
    std::memset(made, 0xA5, size);  // nobody may count on zeros
    context.memory[made] = {size, pinned};
    *at = made;
    return CUDA_SUCCESS;
}

inline CUresult give(Context& context, void* at, bool pinned)
{
    const auto found = context.memory.find(static_cast<char*>(at));
    if (found == context.memory.end() || found->second.pinned != pinned)
        return CUDA_ERROR_INVALID_VALUE;
    std::free(at);
    context.memory.erase(found);
    return CUDA_SUCCESS;
}

// A handle that nothing else has: the address of a byte of its own.
template <typename Handle> Handle fresh() { return reinterpret_cast<Handle>(new char); }
