/* Products of small matrices, at any strides: C = [bias +] [C +] A B.

   Libraries are tuned for matrices that fill a cache; those of a tiny model are over before such a
   routine has looked at its arguments. Here B is packed into panels of two vectors, padded with
   zeros, and a few rows of C stay in registers while their sum over `depth` runs: as many as fit,
   which changes no bit, since every number of C is summed by itself. */

#ifndef SALTUS_PRODUCTS
#define SALTUS_PRODUCTS

#include "vectors.h"

#if LANES == 16
#define TALL 8 /* rows of a tile: 16 of 32 registers */
#else
#define TALL 4 /* 8 of 16 */
#endif
#define WIDE 2                /* its vectors */
#define PANEL (WIDE * LANES)  /* its columns */
#define DEEP 128              /* depth of a packed panel, which stays in the first cache */

/* `height` rows of C, [row][PANEL] at distance `next`: what is in `from` (at distance `apart`, 0 for
   one row that all begin with) and a sum of `depth` outer products. */
INLINE void tile(int height, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                 const float *panel, const float *from, int64_t apart, float *c, int64_t next) {
    vector total[TALL][WIDE];
#pragma GCC unroll 8
    for (int i = 0; i < height; i++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) total[i][j] = load(from + i * apart + j * LANES);
    for (int64_t k = 0; k < depth; k++) {
        vector b[WIDE];
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) b[j] = load(panel + k * PANEL + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < height; i++) {
            float x = a[i * a_row + k * a_depth];
#pragma GCC unroll 2
            for (int j = 0; j < WIDE; j++) total[i][j] += x * b[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < height; i++)
#pragma GCC unroll 2
        for (int j = 0; j < WIDE; j++) store(c + i * next + j * LANES, total[i][j]);
}

/* The same where C has fewer columns than a panel. */
INLINE void narrow_tile(int height, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                        int64_t a_depth, const float *panel, const float *from, int64_t apart,
                        float *c, int64_t next) {
    float own[TALL * PANEL] = {0};
    for (int i = 0; i < height; i++)
        memcpy(own + i * PANEL, from + i * apart, columns * sizeof(float));
    tile(height, depth, a, a_row, a_depth, panel, own, PANEL, own, PANEL);
    for (int i = 0; i < height; i++) memcpy(c + i * next, own + i * PANEL, columns * sizeof(float));
}

/* to[k][n] = from[n][k] for LANES rows and columns: in each round, pairs of rows change the blocks
   that lie across the diagonal. */
INLINE void turn(const float *from, int64_t apart, float *to, int64_t next) {
    vector row[LANES];
    bits lane = numbers();
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) row[i] = load(from + i * apart);
#pragma GCC unroll 4
    for (int block = 1; block < LANES; block *= 2) {
        bits odd = (lane & block) != 0; /* -1 where it is */
        bits upper = lane + (odd & (LANES - block));
        bits lower = lane + block + (odd & (LANES - block));
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & block) continue;
            vector above = row[i], below = row[i + block];
            row[i] = pick(above, below, upper);
            row[i + block] = pick(above, below, lower);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(to + i * next, row[i]);
}

/* B[k][n] = b[k * b_depth + n * b_column] as [depth][PANEL], with zeros behind. */
static void pack(int64_t columns, int64_t depth, const float *b, int64_t b_depth, int64_t b_column,
                 float *panel) {
    int64_t n = 0, k = 0;
    if (b_column == 1) {
        for (; k < depth; k++)
            for (n = 0; n < PANEL; n += LANES) {
                int64_t own = columns - n;
                store(panel + k * PANEL + n, own > 0 ? load_part(b + k * b_depth + n, own) : all(0));
            }
        return;
    }
    if (columns < PANEL) memset(panel, 0, depth * PANEL * sizeof(float));
    if (b_depth == 1)
        for (; n + LANES <= columns; n += LANES)
            for (k = 0; k + LANES <= depth; k += LANES)
                turn(b + k + n * b_column, b_column, panel + k * PANEL + n, PANEL);
    /* What whole blocks have left over: the last rows of k, the last columns n. */
    for (int64_t i = 0; i < depth; i++)
        for (int64_t j = i < k ? n : 0; j < columns; j++)
            panel[i * PANEL + j] = b[i * b_depth + j * b_column];
}

/* C [rows][columns] at distance `c_row`; A[i][k] = a[i * a_row + k * a_depth]; B as in `pack`.
   C begins as `bias` [columns], as what it is if `onto`, or as 0. */
static void product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                    int64_t a_depth, const float *b, int64_t b_depth, int64_t b_column, float *c,
                    int64_t c_row, const float *bias, int onto) {
    static const float zero[PANEL] = {0};
    float panel[DEEP * PANEL] __attribute__((aligned(64)));
    for (int64_t j = 0; j < columns; j += PANEL) {
        int64_t wide = columns - j < PANEL ? columns - j : PANEL;
        for (int64_t k = 0; k < depth; k += DEEP) {
            int64_t deep = depth - k < DEEP ? depth - k : DEEP;
            pack(wide, deep, b + k * b_depth + j * b_column, b_depth, b_column, panel);
            int again = k > 0 || onto;
            int64_t apart = again ? c_row : 0;
            for (int64_t i = 0; i < rows; i += TALL) {
                const float *own = a + i * a_row + k * a_depth;
                float *to = c + i * c_row + j;
                const float *from = again ? to : bias ? bias + j : zero;
                if (rows - i < TALL)
                    for (int64_t r = 0; r < rows - i; r++)
                        if (wide < PANEL)
                            narrow_tile(1, wide, deep, own + r * a_row, a_row, a_depth, panel,
                                        from + r * apart, apart, to + r * c_row, c_row);
                        else
                            tile(1, deep, own + r * a_row, a_row, a_depth, panel,
                                 from + r * apart, apart, to + r * c_row, c_row);
                else if (wide < PANEL)
                    narrow_tile(TALL, wide, deep, own, a_row, a_depth, panel, from, apart, to,
                                c_row);
                else
                    tile(TALL, deep, own, a_row, a_depth, panel, from, apart, to, c_row);
            }
        }
    }
}

/* Sums over rows, [columns], as `to`, or added to it if `onto`. */
static void column_sums(int64_t rows, int64_t columns, const float *x, int64_t x_row, float *to,
                        int onto) {
    for (int64_t j = 0; j < columns; j += LANES) {
        vector total = onto ? load_part(to + j, columns - j) : all(0);
        for (int64_t i = 0; i < rows; i++) total += load_part(x + i * x_row + j, columns - j);
        store_part(to + j, total, columns - j);
    }
}

#endif
