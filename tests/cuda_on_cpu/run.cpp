// The kernel's own source, as C++: `run` is a launch.
#include "shim.h"

#include "prepare.cu"

#define CASE(NAME, PIXEL)                                                                          \
    FOR_EVERY_THREAD(grid, block,                                                                  \
        NAME((const PIXEL*)at[0], (const float*)at[1], (const float*)at[2], (const int*)at[3],     \
             (const int*)at[4], (const float*)at[5], (const int*)at[6], (const int*)at[7],         \
             (const float*)at[8], (float*)at[9], *sizes))

extern "C" void run(int pixel, Place grid, Place block, void** at, const Sizes* sizes)
{
    if (pixel == 0) {
        CASE(prepare_int16, short);
    } else if (pixel == 1) {
        CASE(prepare_uint16, unsigned short);
    } else {
        CASE(prepare_float32, float);
    }
}
