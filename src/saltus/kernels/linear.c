/* y = x W^T + b of every member, and its gradients.

   x [member][row][inputs]; W [outputs][inputs] and b [outputs] (or null) of the next member stand
   `w_next` and `b_next` numbers further on; y is written into rows of `pitch` numbers, so that
   several products can fill one buffer side by side. */

#include "products.h"

/* Numbers in a vector: what the kernels were compiled for. */
int64_t lanes(void) { return LANES; }

void linear_forward(int64_t members, int64_t rows, int64_t inputs, int64_t outputs, int64_t pitch,
                    int64_t w_next, int64_t b_next, const float *x, const float *w,
                    const float *b, float *y) {
    for (int64_t m = 0; m < members; m++) {
        product(rows, outputs, inputs, x, inputs, 1, w, 1, inputs, y, pitch, b, 0);
        x += rows * inputs, w += w_next, y += rows * pitch;
        if (b) b += b_next;
    }
}

/* dx is added to if `onto`; dw [member][outputs][inputs] and db [member][outputs] are written, db
   where it is not null. */
void linear_backward(int64_t members, int64_t rows, int64_t inputs, int64_t outputs, int64_t pitch,
                     int64_t w_next, int64_t onto, const float *x, const float *w, const float *dy, float *dx,
                     float *dw, float *db) {
    for (int64_t m = 0; m < members; m++) {
        product(rows, inputs, outputs, dy, pitch, 1, w, inputs, 1, dx, inputs, 0, onto);
        product(outputs, inputs, rows, dy, 1, pitch, x, inputs, 1, dw, inputs, 0, 0);
        if (db) {
            column_sums(rows, outputs, dy, pitch, db, 0);
            db += outputs;
        }
        x += rows * inputs, dx += rows * inputs, dy += rows * pitch;
        w += w_next, dw += outputs * inputs;
    }
}
