/*
 * The variables of a generated copy, set from the environment: MOONCLAVE_MUTANT, a number to switch on;
 * MOONCLAVE_MUTANT_NAMED, a row of base/mutant.h, for a core or a host that no simulator runs;
 * MOONCLAVE_MUTANTS_TICKS, how many conditions this process may meet; MOONCLAVE_MUTANTS_MET, a file to which what
 * was met is added at its end: the count of conditions, then numbers.
 */
#include "base/mutant_points.h"

#include "base/mutant.h"

#include <stdio.h>
#include <stdlib.h>

unsigned mutant_point;
uint64_t mutant_ticks, mutant_ticks_most = UINT64_MAX;
unsigned char mutant_met[MUTANT_POINTS];

__attribute__((constructor)) static void begin(void)
{
    const char *number = getenv("MOONCLAVE_MUTANT");
    const char *named = getenv("MOONCLAVE_MUTANT_NAMED");
    const char *most = getenv("MOONCLAVE_MUTANTS_TICKS");
    if (number != NULL) mutant_point = (unsigned)strtoul(number, NULL, 10);
    if (named != NULL) mutant_active = (enum mutant)strtoul(named, NULL, 10);
    if (most != NULL) mutant_ticks_most = strtoull(most, NULL, 10);
}

void mutant_ends(void)
{
    fputs("it goes round in circles\n", stderr);
    _Exit(1);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("MOONCLAVE_MUTANTS_MET");
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (file == NULL) return;
    fprintf(file, "ticks %llu\n", (unsigned long long)mutant_ticks);
    for (unsigned i = 1; i < MUTANT_POINTS; i++) {
        if (mutant_met[i]) fprintf(file, "%u\n", i);
    }
    fclose(file);
}
