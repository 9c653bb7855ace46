/* Seconds since 1970, as a JSON number, in microseconds: what Python makes of them. float() takes the nearest double,
 * and datetime.fromtimestamp() the nearest microsecond of that, of two the even one.
 *
 * A double is right without long arithmetic where digits and power of ten are doubles themselves: one operation on them
 * rounds once. Source: Clinger, How to Read Floating Point Numbers Accurately (1990).
 */
#ifndef SP_EPOCH_SECONDS_H
#define SP_EPOCH_SECONDS_H

#include <float.h>

#include "slice.h"

/* The number of the cursor's digits, after `number`; -1 from 2^53 on, nearly, where not all are doubles. */
static inline int64_t sp_more_digits(sp_cursor *in, int64_t number) {
    for (; in->p != in->end && *in->p >= '0' && *in->p <= '9'; in->p++) {
        if (number >= 900719925474099) return -1;
        number = number * 10 + (*in->p - '0');
    }
    return number;
}

/* A number in JSON, not below 0, in microseconds; -1 where there is none, or one that is longer, or larger, than times
 * of this age are. */
static inline int64_t sp_epoch_microseconds(sp_slice number) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int64_t exponent = 0;

    if (FLT_EVAL_METHOD != 0 || number.size == 0 || *number.data < '0' || *number.data > '9') return -1;
    sp_cursor in = sp_cursor_over(number);
    int64_t digits = sp_more_digits(&in, 0);
    if (digits >= 0 && in.p != in.end && *in.p == '.') {
        const uint8_t *point = ++in.p;
        digits = sp_more_digits(&in, digits);
        exponent = point - in.p;
    }
    if (digits < 0) return -1;
    if (in.p != in.end && (*in.p == 'e' || *in.p == 'E')) {
        int is_negative = in.end - in.p > 1 && in.p[1] == '-',
            has_sign = is_negative || (in.end - in.p > 1 && in.p[1] == '+');
        in.p += 1 + has_sign;
        int64_t written = sp_more_digits(&in, 0);
        if (written < 0) return -1;
        exponent += is_negative ? -written : written;
    }
    if (in.p != in.end || exponent < -22 || exponent > 22) return -1;

    double seconds = exponent < 0 ? (double)digits / powers[-exponent] : (double)digits * powers[exponent];
    if (seconds >= 1e10) return -1;
    int64_t whole = (int64_t)seconds;
    double fraction = seconds - (double)whole; /* exact, and so is what is left below */
    double scaled = fraction * 1e6;
    int64_t microseconds = (int64_t)scaled;
    double left = scaled - (double)microseconds;
    if (left > 0.5 || (left == 0.5 && microseconds & 1)) microseconds++;
    return whole * 1000000 + microseconds;
}

#endif
