/* Vectors of float32 as wide as the machine has them, through the compiler's own vector types.

   A lane never meets another but in `sum`, whose order is fixed, so what a kernel computes depends
   on its operands and on the width of a vector alone: not on alignment, nor on who stands beside. */

#ifndef SALTUS_VECTORS
#define SALTUS_VECTORS

#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vector __attribute__((vector_size(LANES * 4)));
typedef int32_t bits __attribute__((vector_size(LANES * 4)));
typedef float unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vector load(const float *from) { return *(const unaligned *)from; }
INLINE void store(float *to, vector x) { *(unaligned *)to = x; }

INLINE vector all(float x) { return x - (vector){0}; }

INLINE vector choose(bits which, vector yes, vector no) {
    return (vector)((which & (bits)yes) | (~which & (bits)no));
}

/* 0, 1, 2, ... */
INLINE bits numbers(void) {
    static const int32_t number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    bits lane;
    memcpy(&lane, number, sizeof(lane));
    return lane;
}

/* True in the first `count` lanes. */
INLINE bits first(int64_t count) { return numbers() < (int32_t)count; }

/* The first `count` lanes, at least one; the others are 0, and are not written. */
INLINE vector load_part(const float *from, int64_t count) {
    if (count >= LANES) return load(from);
#if defined(__AVX512F__)
    return (vector)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#elif defined(__AVX__)
    return (vector)_mm256_maskload_ps(from, (__m256i)first(count));
#else
    vector x = {0};
    memcpy(&x, from, count * sizeof(float));
    return x;
#endif
}

INLINE void store_part(float *to, vector x, int64_t count) {
    if (count >= LANES) {
        store(to, x);
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)x);
#elif defined(__AVX__)
    _mm256_maskstore_ps(to, (__m256i)first(count), (__m256)x);
#else
    memcpy(to, &x, count * sizeof(float));
#endif
}

/* Lane i is number which[i] of the lanes of `a` followed by those of `b`. */
INLINE vector pick(vector a, vector b, bits which) {
#if defined(__clang__)
    vector found;
    for (int i = 0; i < LANES; i++) found[i] = which[i] < LANES ? a[which[i]] : b[which[i] - LANES];
    return found;
#else
    return __builtin_shuffle(a, b, which);
#endif
}

/* The sum of all lanes, by halves. */
INLINE float sum(vector x) {
    float lane[LANES];
    store(lane, x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

INLINE float largest(vector x) {
    float lane[LANES];
    store(lane, x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) lane[i] = lane[i + width] > lane[i] ? lane[i + width] : lane[i];
    return lane[0];
}

/* e^x to 2 units in the last place: 2^n e^r with |r| <= ln(2) / 2 and e^r by its Taylor series.
   Below -87 it is 0, above 88 it is e^88; NaN stays NaN. */
INLINE vector exponential(vector x) {
    vector y = choose(x > 88.0f, all(88.0f), x);
    vector n = y * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the sum rounds to whole numbers */
    bits power = (bits)n - (bits)all(12582912.0f);
    n -= 12582912.0f;
    vector r = y - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts */
    vector e = all(1.0f / 5040);
    e = e * r + 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    e = (vector)((bits)e + (power << 23));
    e = choose(x < -87.0f, all(0.0f), e);
    return choose(x == x, e, x);
}

#endif
