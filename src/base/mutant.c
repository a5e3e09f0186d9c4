/* The one variable of a mutant build; the product has none. Set by the simulator before a run,
 * never during one. */
#include "base/mutant.h"

#ifdef MOONCLAVE_MUTANTS
enum mutant mutant_active = MUTANT_NONE;
#endif
