/* The MLP of every member, W_2 activation(W_1 x + b_1) + b_2, and its gradients.

   x, y [member][row][width]; W_1 [hidden][width], b_1 [hidden], W_2 [width][hidden], b_2 [width] of
   the next member stand so many numbers further on as their `_next` says; no biases where null.
   Kept for the backward pass: the activations and their slopes, [member][row][hidden].
   A member goes through in tiles of rows whose hidden numbers stay in cache. */

#include "products.h"

enum activation { GELU, GELU_TANH, RELU };
#define HIDDEN_BYTES (1 << 17) /* of a tile of rows */

/* x Phi(x) and its slope Phi(x) + x phi(x). With u = |x| / sqrt(2), erfc(u) is e^(-u^2) t P(t) at
   t = 1 / (1 + 0.34 u); P was fitted to scipy's erfcx on 0 <= u <= 9, and what is left of the
   error of erfc is 8e-10, far below float32's. */
INLINE vector gelu(vector x, vector *slope) {
    vector size = (vector)((bits)x & 0x7fffffff);
    vector bell = exponential(x * x * -0.5f);
    vector t = 1.0f / (size * (0.34f * 0.707106781f) + 1.0f);
    vector p = all(-0.2469837332f);
    p = p * t + 1.08761598f;
    p = p * t - 1.250995861f;
    p = p * t + 1.211197455f;
    p = p * t - 0.2860429352f;
    p = p * t + 0.3050614351f;
    p = p * t + 0.1801476589f;
    vector tail = p * t * bell * 0.5f;
    vector below = choose(x < 0.0f, tail, 1.0f - tail);
    *slope = below + x * bell * 0.398942280f;
    return x * below;
}

/* x s(2 v) with v = sqrt(2 / pi) (x + 0.044715 x^3), which is x (1 + tanh v) / 2. Beyond |x| = 20,
   where s is 0 or 1, v need not grow, and the slope is not 0 times infinity. */
INLINE vector gelu_tanh(vector x, vector *slope) {
    vector near = choose(x > 20.0f, all(20.0f), choose(x < -20.0f, all(-20.0f), x));
    vector square = near * near;
    vector twice = near * (square * (2 * 0.797884561f * 0.044715f) + 2 * 0.797884561f);
    vector other = exponential(-twice), s = 1.0f / (1.0f + other);
    vector steep = square * (6 * 0.797884561f * 0.044715f) + 2 * 0.797884561f;
    *slope = s + near * s * (s * other) * steep; /* 1 - s would lose digits */
    return x * s;
}

INLINE vector relu(vector x, vector *slope) {
    bits above = x > 0.0f;
    *slope = choose(above, all(1.0f), all(0.0f));
    return choose(above | (x != x), x, all(0.0f));
}

INLINE void activate_all(enum activation how, int64_t count, float *x, float *slope) {
    for (int64_t i = 0; i < count; i += LANES) {
        vector steep, value = load_part(x + i, count - i);
        if (how == GELU) value = gelu(value, &steep);
        else if (how == GELU_TANH) value = gelu_tanh(value, &steep);
        else value = relu(value, &steep);
        store_part(x + i, value, count - i);
        store_part(slope + i, steep, count - i);
    }
}

static void activate(int64_t how, int64_t count, float *x, float *slope) {
    if (how == GELU) activate_all(GELU, count, x, slope);
    else if (how == GELU_TANH) activate_all(GELU_TANH, count, x, slope);
    else activate_all(RELU, count, x, slope);
}

static int64_t tile_of_rows(int64_t hidden) {
    int64_t rows = HIDDEN_BYTES / (hidden * sizeof(float)) / TALL * TALL;
    return rows < TALL ? TALL : rows;
}

void mlp_forward(int64_t members, int64_t rows, int64_t width, int64_t hidden, int64_t how,
                 int64_t w1_next, int64_t b1_next, int64_t w2_next, int64_t b2_next, const float *x, const float *w1, const float *b1, const float *w2,
                 const float *b2, float *after, float *slope, float *y) {
    int64_t step = tile_of_rows(hidden);
    for (int64_t m = 0; m < members; m++) {
        for (int64_t i = 0; i < rows; i += step) {
            int64_t high = rows - i < step ? rows - i : step;
            float *h = after + i * hidden;
            product(high, hidden, width, x + i * width, width, 1, w1, 1, width, h, hidden, b1, 0);
            activate(how, high * hidden, h, slope + i * hidden);
            product(high, width, hidden, h, hidden, 1, w2, 1, hidden, y + i * width, width, b2, 0);
        }
        x += rows * width, y += rows * width;
        after += rows * hidden, slope += rows * hidden;
        w1 += w1_next, w2 += w2_next;
        if (b1) b1 += b1_next, b2 += b2_next;
    }
}

/* Gradients of weights and biases are [member][...] without gaps. `scratch` holds a tile of
   `mlp_scratch(hidden)` numbers. */
void mlp_backward(int64_t members, int64_t rows, int64_t width, int64_t hidden, int64_t w1_next,
                  int64_t w2_next, const float *x, const float *w1, const float *w2, const float *after, const float *slope,
                  const float *dy, float *dx, float *dw1, float *db1, float *dw2, float *db2,
                  float *scratch) {
    int64_t step = tile_of_rows(hidden);
    for (int64_t m = 0; m < members; m++) {
        for (int64_t i = 0; i < rows; i += step) {
            int64_t high = rows - i < step ? rows - i : step, count = high * hidden;
            const float *above = dy + i * width, *steep = slope + i * hidden;
            product(high, hidden, width, above, width, 1, w2, hidden, 1, scratch, hidden, 0, 0);
            for (int64_t n = 0; n < count; n += LANES)
                store_part(scratch + n, load_part(scratch + n, count - n) *
                                            load_part(steep + n, count - n), count - n);
            product(width, hidden, high, above, 1, width, after + i * hidden, hidden, 1, dw2,
                    hidden, 0, i > 0);
            product(hidden, width, high, scratch, 1, hidden, x + i * width, width, 1, dw1, width,
                    0, i > 0);
            product(high, width, hidden, scratch, hidden, 1, w1, width, 1, dx + i * width, width,
                    0, 0);
            if (db1) {
                column_sums(high, hidden, scratch, hidden, db1, i > 0);
                column_sums(high, width, above, width, db2, i > 0);
            }
        }
        x += rows * width, dy += rows * width, dx += rows * width;
        after += rows * hidden, slope += rows * hidden;
        w1 += w1_next, w2 += w2_next, dw1 += width * hidden, dw2 += width * hidden;
        if (db1) db1 += hidden, db2 += width;
    }
}

int64_t mlp_scratch(int64_t hidden) { return tile_of_rows(hidden) * hidden; }
