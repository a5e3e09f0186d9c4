/* The variables of a generated copy. What was met in this process is written to the file MOONCLAVE_MUTANTS_MET at its
 * end: the count of conditions, then numbers. MOONCLAVE_MUTANTS_TICKS: how many conditions it may meet.
 * MOONCLAVE_MUTANT_NAMED: the place in base/mutant.h's table of a named mutant to switch on for a core or a host that no
 * simulator runs. */
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
