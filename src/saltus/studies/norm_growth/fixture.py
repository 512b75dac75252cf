"""What is recorded of T5-base's pretraining: the norms and directions behind Figures 1 and 5.

The checkpoints are not public. These are the curves of the authors' figures, read off their vector
graphics (Appendix A and section 6.1 of our spec): the parameters of encoder and decoder without
the shared embedding, so not the encoder alone that the text speaks of (section 9, item 6).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

STEPS: Int64[np.ndarray, " 104"] = np.append(5100 * np.arange(103), 524_288)

# L2 norm at each step, within 1.
NORMS: Float64[np.ndarray, " 104"] = np.array([
    471, 569, 744, 873, 980, 1076, 1164, 1239, 1307, 1371, 1431, 1487, 1540, 1591, 1641, 1688, 1735,
    1780, 1825, 1868, 1910, 1951, 1991, 2031, 2069, 2106, 2143, 2179, 2215, 2249, 2284, 2318, 2351,
    2384, 2417, 2450, 2482, 2514, 2546, 2577, 2608, 2639, 2669, 2700, 2729, 2759, 2788, 2817, 2846,
    2874, 2902, 2930, 2958, 2985, 3012, 3039, 3066, 3092, 3118, 3144, 3170, 3196, 3221, 3246, 3271,
    3295, 3320, 3344, 3369, 3393, 3418, 3442, 3466, 3490, 3514, 3538, 3562, 3586, 3610, 3633, 3657,
    3680, 3704, 3727, 3750, 3773, 3796, 3819, 3842, 3864, 3887, 3909, 3932, 3954, 3976, 3998, 4020,
    4042, 4063, 4085, 4107, 4128, 4149, 4166,
], dtype=np.float64)  # fmt: skip

# Cosine of the parameters at two consecutive steps, within 0.0005; the first ends at 5,100.
COSINES: Float64[np.ndarray, " 103"] = np.array([
    0.7994, 0.8550, 0.9219, 0.9468, 0.9594, 0.9664, 0.9710, 0.9743, 0.9765, 0.9785, 0.9807, 0.9820,
    0.9832, 0.9842, 0.9850, 0.9858, 0.9864, 0.9870, 0.9876, 0.9881, 0.9886, 0.9890, 0.9894, 0.9898,
    0.9903, 0.9906, 0.9910, 0.9913, 0.9915, 0.9918, 0.9920, 0.9922, 0.9924, 0.9925, 0.9927, 0.9929,
    0.9930, 0.9932, 0.9933, 0.9934, 0.9936, 0.9937, 0.9939, 0.9940, 0.9941, 0.9942, 0.9943, 0.9944,
    0.9946, 0.9947, 0.9948, 0.9949, 0.9950, 0.9950, 0.9952, 0.9952, 0.9953, 0.9954, 0.9955, 0.9955,
    0.9956, 0.9956, 0.9956, 0.9957, 0.9958, 0.9958, 0.9958, 0.9959, 0.9959, 0.9960, 0.9960, 0.9960,
    0.9961, 0.9962, 0.9962, 0.9962, 0.9962, 0.9963, 0.9963, 0.9964, 0.9964, 0.9964, 0.9965, 0.9965,
    0.9965, 0.9965, 0.9966, 0.9966, 0.9967, 0.9967, 0.9967, 0.9968, 0.9968, 0.9968, 0.9968, 0.9969,
    0.9969, 0.9969, 0.9970, 0.9970, 0.9970, 0.9970, 0.9976,
], dtype=np.float64)  # fmt: skip

# Encoder layers 1 to 12: every one starts at LAYER_START and ends at its own norm. Of what lies
# between only the quality of fits is recorded: r² of √t at least, of t between these two.
LAYER_START = 87.8
LAYER_ENDS: Float64[np.ndarray, " 12"] = np.array(
    [520, 607, 623, 609, 627, 617, 616, 614, 631, 681, 712, 800], dtype=np.float64
)
LAYER_ROOT_R_SQUARED = 0.997
LAYER_LINEAR_R_SQUARED = (0.937, 0.968)
