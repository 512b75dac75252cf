/* softmax(Q K^T * scale) V for short sequences, and its gradients.

   `fused` [sample][position][3][head][own] holds Q, K and V as one product leaves them; `heads`
   [sample][position][head][own] is what the output projection takes; kept for the backward pass:
   the weights, `pattern` [sample][head][query][key]. A causal query sees no later key. */

#include "vectors.h"

#define LONGEST 64 /* positions */
#define WIDEST 128 /* numbers of a head */

/* x[i][c] at distance `row`, as rows padded with zeros to whole vectors. */
INLINE void padded(int64_t rows, int64_t columns, const float *x, int64_t row, float *to,
                   int64_t pitch) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < columns; c += LANES)
            store(to + i * pitch + c, load_part(x + i * row + c, columns - c));
}

/* x[i][c] as to[c][i], padded likewise. */
INLINE void turned(int64_t rows, int64_t columns, const float *x, int64_t row, float *to,
                   int64_t pitch) {
    for (int64_t c = 0; c < columns; c++) {
        for (int64_t i = 0; i < rows; i++) to[c * pitch + i] = x[i * row + c];
        for (int64_t i = rows; i < pitch; i++) to[c * pitch + i] = 0;
    }
}

INLINE int64_t whole(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

/* sum_k weight[k] rows[k][c..] */
INLINE vector mixed(int64_t count, const float *weight, int64_t step, const float *rows,
                    int64_t pitch) {
    vector total = {0};
    for (int64_t k = 0; k < count; k++) total += weight[k * step] * load(rows + k * pitch);
    return total;
}

void attention_forward(int64_t samples, int64_t positions, int64_t heads, int64_t own,
                       int64_t causal, double scale, const float *fused, float *pattern,
                       float *out) {
    float keys[WIDEST * LONGEST], values[LONGEST * WIDEST], row[LONGEST];
    int64_t width = heads * own, long_ = whole(positions), wide = whole(own);
    for (int64_t s = 0; s < samples; s++, fused += positions * 3 * width, out += positions * width)
        for (int64_t h = 0; h < heads; h++, pattern += positions * positions) {
            const float *q = fused + h * own, *k = q + width, *v = k + width;
            turned(positions, own, k, 3 * width, keys, long_);
            padded(positions, own, v, 3 * width, values, wide);
            for (int64_t i = 0; i < positions; i++) {
                int64_t seen = causal ? i + 1 : positions;
                vector high = all(-__builtin_inff()), total = {0};
                for (int64_t j = 0; j < seen; j += LANES) {
                    vector u = mixed(own, q + i * 3 * width, 1, keys + j, long_) * (float)scale;
                    u = choose(first(seen - j), u, all(-__builtin_inff()));
                    high = choose((u > high) | (u != u), u, high);
                    store(row + j, u);
                }
                float top = largest(high);
                for (int64_t j = 0; j < seen; j += LANES) {
                    vector e = exponential(load(row + j) - top);
                    e = choose(first(seen - j), e, all(0.0f));
                    total += e;
                    store(row + j, e);
                }
                float share = 1 / sum(total);
                float *weights = pattern + i * positions;
                for (int64_t j = 0; j < positions; j += LANES) {
                    vector p = j < seen ? load(row + j) * share : all(0.0f);
                    store(row + j, p);
                    store_part(weights + j, p, positions - j);
                }
                for (int64_t c = 0; c < own; c += LANES)
                    store_part(out + i * width + h * own + c, mixed(seen, row, 1, values + c, wide),
                               own - c);
            }
        }
}

/* `dfused` is laid out as `fused` and `dout` as `out`. */
void attention_backward(int64_t samples, int64_t positions, int64_t heads, int64_t own,
                        int64_t causal, double scale, const float *fused, const float *pattern,
                        const float *dout, float *dfused) {
    float values[WIDEST * LONGEST], queries[LONGEST * WIDEST], keys[LONGEST * WIDEST];
    float above[LONGEST * WIDEST], below[LONGEST * LONGEST];
    int64_t width = heads * own, long_ = whole(positions), wide = whole(own), all_ = 3 * width;
    for (int64_t s = 0; s < samples; s++) {
        for (int64_t h = 0; h < heads; h++, pattern += positions * positions) {
            const float *q = fused + h * own;
            float *dq = dfused + h * own, *dk = dq + width, *dv = dk + width;
            padded(positions, own, q, all_, queries, wide);
            padded(positions, own, q + width, all_, keys, wide);
            turned(positions, own, q + 2 * width, all_, values, long_);
            padded(positions, own, dout + h * own, width, above, wide);
            for (int64_t i = 0; i < positions; i++) { /* the logits' gradient, row by row */
                int64_t seen = causal ? i + 1 : positions;
                const float *weights = pattern + i * positions;
                vector dot = {0};
                for (int64_t j = 0; j < seen; j += LANES) {
                    vector dp = mixed(own, above + i * wide, 1, values + j, long_);
                    dot += dp * load_part(weights + j, seen - j);
                    store(below + i * long_ + j, dp);
                }
                float mean = sum(dot);
                for (int64_t j = 0; j < long_; j += LANES) {
                    vector ds = {0};
                    if (j < seen)
                        ds = (load(below + i * long_ + j) - mean) *
                             load_part(weights + j, seen - j) * (float)scale;
                    store(below + i * long_ + j, ds);
                }
            }
            for (int64_t i = 0; i < positions; i++) {
                int64_t seen = causal ? i + 1 : positions, from = causal ? i : 0;
                int64_t rest = positions - from;
                for (int64_t c = 0; c < own; c += LANES) {
                    const float *slopes = below + from * long_ + i;
                    const float *weights = pattern + from * positions + i;
                    store_part(dq + i * all_ + c, mixed(seen, below + i * long_, 1, keys + c, wide),
                               own - c);
                    store_part(dk + i * all_ + c,
                               mixed(rest, slopes, long_, queries + from * wide + c, wide), own - c);
                    store_part(dv + i * all_ + c,
                               mixed(rest, weights, positions, above + from * wide + c, wide),
                               own - c);
                }
            }
        }
        fused += positions * all_, dfused += positions * all_, dout += positions * width;
    }
}
