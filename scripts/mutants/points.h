/*
 * What a generated copy of the sources calls in place of its conditions: see scripts/mutants/c.lua. Each answers the
 * condition as it is, unless one of its numbers is the one switched on; and notes which of its mutants would have
 * answered something else here, so that a run in which none did need not be made again with that mutant.
 */
#ifndef MOONCLAVE_BASE_MUTANT_POINTS_H
#define MOONCLAVE_BASE_MUTANT_POINTS_H

#include <stdbool.h>
#include <stdint.h>

extern unsigned mutant_point;      /* the mutant that is on; 0: none. From MOONCLAVE_MUTANT */
extern unsigned char mutant_met[]; /* by number */
extern uint64_t mutant_ticks, mutant_ticks_most; /* conditions met, and to be met at most */
void mutant_ends(void); /* too many: it goes round in circles */

static inline bool mutant_negate(unsigned number, bool value)
{
    if (++mutant_ticks > mutant_ticks_most) mutant_ends();
    mutant_met[number] = 1;
    return mutant_point == number ? !value : value;
}

static inline bool mutant_loop(unsigned number, bool value)
{
    if (++mutant_ticks > mutant_ticks_most) mutant_ends();
    if (value) mutant_met[number] = 1;
    return mutant_point == number ? false : value;
}

static inline bool mutant_if(unsigned number, bool value)
{
    return mutant_loop(number + 1, mutant_negate(number, value));
}

static inline bool mutant_and(unsigned number, bool value)
{
    if (!value) mutant_met[number] = 1;
    return mutant_point == number ? true : mutant_negate(number + 1, value);
}

static inline bool mutant_or(unsigned number, bool value)
{
    if (value) mutant_met[number] = 1;
    return mutant_point == number ? false : mutant_negate(number + 1, value);
}

#define MUTANT_BOUND(number, left, right, operator, other)   \
    __extension__({                                          \
        __auto_type left_ = (left);                          \
        __auto_type right_ = (right);                        \
        if (left_ == right_) mutant_met[number] = 1;         \
        mutant_point == (number) ? left_ other right_ : left_ operator right_; \
    })
#define MUTANT_BELOW(number, left, right) MUTANT_BOUND(number, left, right, <, <=)
#define MUTANT_UP_TO(number, left, right) MUTANT_BOUND(number, left, right, <=, <)
#define MUTANT_ABOVE(number, left, right) MUTANT_BOUND(number, left, right, >, >=)
#define MUTANT_FROM(number, left, right)  MUTANT_BOUND(number, left, right, >=, >)

#endif
