// What a CUDA kernel needs to be compiled as C++ and run on the CPU, one thread after the other.
#include <cstddef>

#define __global__
#define __device__ static inline

struct Place {
    unsigned x, y, z;
};
static Place blockIdx, blockDim, threadIdx;

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }

// Calls STATEMENT for every thread of a grid.
#define FOR_EVERY_THREAD(GRID, BLOCK, STATEMENT)                                                   \
    blockDim = BLOCK;                                                                              \
    for (blockIdx.z = 0; blockIdx.z < GRID.z; ++blockIdx.z)                                        \
        for (blockIdx.y = 0; blockIdx.y < GRID.y; ++blockIdx.y)                                    \
            for (blockIdx.x = 0; blockIdx.x < GRID.x; ++blockIdx.x)                                \
                for (threadIdx.z = 0; threadIdx.z < BLOCK.z; ++threadIdx.z)                        \
                    for (threadIdx.y = 0; threadIdx.y < BLOCK.y; ++threadIdx.y)                    \
                        for (threadIdx.x = 0; threadIdx.x < BLOCK.x; ++threadIdx.x)                \
    STATEMENT
