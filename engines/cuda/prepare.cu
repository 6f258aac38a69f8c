// Stored pixels to what a model eats, in one pass: rescale, window, resize, normalise.
//
// One thread makes one pixel of one plane. Its arithmetic is that of engines/cuda/recipe.py, step by
// step: every operation is rounded by itself (the _rn intrinsics are never fused into one that
// rounds once), and sums run from the first tap to the last. Two planes of one slice read the same
// source pixels, which the cache then holds.

struct Sizes {
    int slices, rows, columns;
    int windows, height, width;
    int top, left, fitted_rows, fitted_columns;
    int row_taps, column_taps;
};

template <typename Pixel>
__device__ void prepare(const Pixel* stack, const float* lines, const float* steps,
                        const int* row_first, const int* row_count, const float* row_weights,
                        const int* column_first, const int* column_count,
                        const float* column_weights, float* planes, const Sizes sizes)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    const int plane = blockIdx.z;
    if (x >= sizes.width || y >= sizes.height) {
        return;
    }
    const int slice = plane / sizes.windows;
    const float* step = steps + 4 * (plane % sizes.windows);
    const float slope = lines[2 * slice], intercept = lines[2 * slice + 1];
    const int row = y - sizes.top, column = x - sizes.left;
    float total = 0.0f;
    if (row >= 0 && row < sizes.fitted_rows && column >= 0 && column < sizes.fitted_columns) {
        const Pixel* source = stack + (size_t)slice * sizes.rows * sizes.columns;
        for (int i = 0; i < row_count[row]; ++i) {
            const Pixel* from = source + (size_t)(row_first[row] + i) * sizes.columns
                                + column_first[column];
            float line = 0.0f;
            for (int j = 0; j < column_count[column]; ++j) {
                const float unit = __fadd_rn(__fmul_rn((float)from[j], slope), intercept);
                float bright = __fmul_rn(__fsub_rn(unit, step[0]), step[1]);
                bright = bright < 0.0f ? 0.0f : bright > 1.0f ? 1.0f : bright;
                const float weight = column_weights[column * sizes.column_taps + j];
                line = __fadd_rn(line, __fmul_rn(bright, weight));
            }
            total = __fadd_rn(total, __fmul_rn(line, row_weights[row * sizes.row_taps + i]));
        }
    }
    planes[((size_t)plane * sizes.height + y) * sizes.width + x] =
        __fmul_rn(__fsub_rn(total, step[2]), step[3]);
}

#define PREPARE(NAME, PIXEL)                                                                       \
    extern "C" __global__ void NAME(                                                               \
        const PIXEL* stack, const float* lines, const float* steps, const int* row_first,          \
        const int* row_count, const float* row_weights, const int* column_first,                   \
        const int* column_count, const float* column_weights, float* planes, const Sizes sizes)    \
    {                                                                                              \
        prepare(stack, lines, steps, row_first, row_count, row_weights, column_first,              \
                column_count, column_weights, planes, sizes);                                      \
    }

PREPARE(prepare_int16, short)
PREPARE(prepare_uint16, unsigned short)
PREPARE(prepare_float32, float)
