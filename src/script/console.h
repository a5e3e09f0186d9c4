/*
 * The console: Lua that a person runs on a node, to look at it. A Lua state of its own beside those of the app: it
 * never runs anything of the state machine, and sees the state through handles that cannot write. It runs in slices
 * between which the node does its work; the state may change meanwhile, and a handle is looked up anew in each
 * slice.
 *
 * What is there: Lua without what reaches the world (no io, no files, of os the clocks); `state`, pairs, #, count(t),
 * scan(t, range) over it; status(), members(). Globals stay from one evaluation to the next.
 *
 * Limits: CONSOLE_BUDGET_MS of computing for each evaluation, CONSOLE_MEMORY_MAX, and what is encoded of a result.
 */
#ifndef MOONCLAVE_SCRIPT_CONSOLE_H
#define MOONCLAVE_SCRIPT_CONSOLE_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define CONSOLE_BUDGET_MS  5000
#define CONSOLE_MEMORY_MAX ((size_t)64 << 20)

struct console;
struct state;

struct console_ports {
    void *context;
    const struct state *(*state)(void *context); /* not while a transaction is open; null: there is none yet */
    void (*status)(void *context, struct buffer *out);  /* one msgpack map */
    void (*members)(void *context, struct buffer *out); /* one msgpack array */
};

struct console *console_new(const struct console_ports *ports); /* copies */
void console_free(struct console *console);                     /* null is allowed; what runs is given up */

/* Compiles an expression or statements, to be run by console_step; gives up what ran before. SCRIPT: it does not
 * compile, with line and reason. */
enum error_code console_begin(struct console *console, struct slice source, struct error *error);
/* Runs on for about so long. true: it has not ended. false: it has; OK, and `out` gets {"count": how many values,
 * "cut": is something left out, "output": what it printed, "values": [...]}; or SCRIPT with line and reason. */
bool console_step(struct console *console, unsigned slice_us, struct buffer *out, enum error_code *code,
                  struct error *error);
void console_cancel(struct console *console); /* the next step ends it */

#endif
