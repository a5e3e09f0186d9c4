/* See places.h. */
#include "cli/places.h"

#include "base/mp.h"
#include "cli/view.h"

#include <stdio.h>
#include <string.h>

static void next(struct places *places);

void places_begin(struct places *places, const char *address)
{
    *places = (struct places){.count = 1};
    snprintf(places->list[0], sizeof places->list[0], "%s", address);
}

void places_end(struct places *places)
{
    rpc_client_close(places->client);
    places->client = NULL;
}

void places_learn(struct places *places, struct slice members)
{
    struct mp_reader reader = mp_reader_of(members);
    struct slice member;
    uint32_t count;
    if (!mp_read_array(&reader, &count)) return;
    while (places->count < PLACES_MAX && mp_skip(&reader, &member)) {
        char *place = places->list[places->count];
        view_text(member, "address", place, sizeof places->list[0]);
        if (*place != 0 && strcmp(place, places->list[0]) != 0) places->count++;
    }
}

enum error_code places_connect(struct places *places, struct error *error)
{
    enum error_code code = places->client != NULL ? ERROR_OK : ERROR_UNAVAILABLE;
    for (size_t i = 0; i < places->count && code == ERROR_UNAVAILABLE; i++) {
        code = rpc_client_open(&places->client, places->list[places->at], PLACES_CONNECT_MS, error);
        if (code == ERROR_UNAVAILABLE) next(places);
    }
    return code;
}

enum error_code places_call(struct places *places, const char *method, struct slice params, unsigned timeout_ms,
                            struct slice *result, struct error *error)
{
    enum error_code code = rpc_client_call(places->client, method, params, timeout_ms, result, error);
    if (code == ERROR_TIMEOUT || code == ERROR_UNAVAILABLE || code == ERROR_SHUTTING_DOWN) {
        places_end(places);
        next(places);
    }
    return code;
}

static void next(struct places *places)
{
    places->at = (places->at + 1) % places->count;
}
