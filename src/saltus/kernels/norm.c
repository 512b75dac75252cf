/* LayerNorm of every member, (x - mean) / sqrt(variance + epsilon) * weight + bias.

   x, y [member][row][width]; weight and bias (or null), [width], of the next member stand `w_next`
   and `b_next` numbers further on. Kept for the backward
   pass: a row's mean and the reciprocal of its deviation, [member][row]. */

#include <math.h>
#include "vectors.h"

void norm_forward(int64_t members, int64_t rows, int64_t width, double epsilon, int64_t w_next,
                  int64_t b_next, const float *x, const float *weight, const float *bias, float *mean, float *scale, float *y) {
    for (int64_t m = 0; m < members; m++) {
        for (int64_t i = 0; i < rows; i++, x += width, y += width) {
            vector plain = {0}, square = {0};
            for (int64_t j = 0; j < width; j += LANES) plain += load_part(x + j, width - j);
            float middle = sum(plain) / width;
            for (int64_t j = 0; j < width; j += LANES) {
                vector apart = load_part(x + j, width - j) - middle;
                apart = choose(first(width - j), apart, all(0.0f));
                square += apart * apart;
            }
            float reciprocal = 1 / sqrtf(sum(square) / width + (float)epsilon);
            *mean++ = middle, *scale++ = reciprocal;
            for (int64_t j = 0; j < width; j += LANES) {
                vector normal = (load_part(x + j, width - j) - middle) * reciprocal;
                normal *= load_part(weight + j, width - j);
                if (bias) normal += load_part(bias + j, width - j);
                store_part(y + j, normal, width - j);
            }
        }
        weight += w_next;
        if (bias) bias += b_next;
    }
}

/* Gradients of weight and bias (where it is not null), [member][width], arrive as zeros. */
void norm_backward(int64_t members, int64_t rows, int64_t width, int64_t w_next, const float *x,
                   const float *weight, const float *mean, const float *scale, const float *dy,
                   float *dx, float *dweight, float *dbias) {
    for (int64_t m = 0; m < members; m++) {
        for (int64_t i = 0; i < rows; i++, x += width, dy += width, dx += width) {
            float middle = *mean++, reciprocal = *scale++;
            vector plain = {0}, along = {0};
            for (int64_t j = 0; j < width; j += LANES) {
                int64_t own = width - j;
                vector above = load_part(dy + j, own);
                vector normal = (load_part(x + j, own) - middle) * reciprocal;
                vector inner = above * load_part(weight + j, own);
                plain += inner;
                along += inner * normal;
                store_part(dweight + j, load_part(dweight + j, own) + above * normal, own);
                if (dbias) store_part(dbias + j, load_part(dbias + j, own) + above, own);
            }
            float shift = sum(plain) / width, turn = sum(along) / width;
            for (int64_t j = 0; j < width; j += LANES) {
                int64_t own = width - j;
                vector normal = (load_part(x + j, own) - middle) * reciprocal;
                vector inner = load_part(dy + j, own) * load_part(weight + j, own);
                store_part(dx + j, (inner - shift - normal * turn) * reciprocal, own);
            }
        }
        weight += w_next, dweight += width;
        if (dbias) dbias += width;
    }
}
