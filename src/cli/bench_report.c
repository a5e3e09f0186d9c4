/* Latencies, errors, and what the load generator prints. */
#include "cli/bench.h"

#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define CLASS_SUBS (1u << BENCH_CLASS_BITS)

static unsigned class_of(uint64_t ns);
static uint64_t class_middle(unsigned class);
static double quantile_ms(const struct bench_figures *figures, double part);
static void print_row(const struct bench_options *options, const char *operation, const struct bench_figures *figures,
                      double seconds);
static void print_json(const struct bench_options *options, const char *operation,
                       const struct bench_figures *figures, double seconds);
static void print_errors(const struct bench_errors *errors);
static double processor_seconds(void);
static void write_integer(struct buffer *out, const char *key, uint64_t value);
static void write_number(struct buffer *out, const char *key, double value);

static const char *const operation_names[BENCH_OPERATIONS] = {"put", "get"};

void bench_report(const struct bench_options *options, const struct bench_figures *figures,
                  const struct bench_errors *errors, uint64_t measured_ns)
{
    double seconds = (double)measured_ns / 1e9;
    if (!options->json && !options->no_header) {
        printf("%-9s %7s %8s %7s %12s %9s %9s %9s %9s %8s\n", "operation", "clients", "pipeline", "size",
               "throughput/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "errors");
    }
    for (int i = 0; i < BENCH_OPERATIONS; i++) {
        bool asked_for = i == BENCH_PUT ? options->reads < 100 : options->reads > 0;
        if (!asked_for) continue;
        if (options->json) {
            print_json(options, operation_names[i], &figures[i], seconds);
        } else {
            print_row(options, operation_names[i], &figures[i], seconds);
        }
    }
    print_errors(errors);
}

void bench_count_error(struct bench_errors *errors, const char *code)
{
    for (size_t i = 0; i < errors->count; i++) {
        bool last = i + 1 == BENCH_ERRORS_MAX;
        if (!last && strcmp(errors->rows[i].code, code) != 0) continue;
        if (last) snprintf(errors->rows[i].code, BENCH_CODE_MAX, "others");
        errors->rows[i].count++;
        return;
    }
    struct bench_error *row = &errors->rows[errors->count++];
    snprintf(row->code, sizeof row->code, "%s", code);
    row->count = 1;
}

/* ---- latencies ---- */

void bench_sample(struct bench_figures *figures, uint64_t ns)
{
    figures->sampled++;
    figures->classes[class_of(ns)]++;
    if (ns > figures->longest_ns) figures->longest_ns = ns;
}

/* Below CLASS_SUBS one class per value; above, CLASS_SUBS classes for each doubling. */
static unsigned class_of(uint64_t ns)
{
    if (ns < CLASS_SUBS) return (unsigned)ns;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(ns) - BENCH_CLASS_BITS;
    return (exponent << BENCH_CLASS_BITS) + (unsigned)(ns >> exponent);
}

static uint64_t class_middle(unsigned class)
{
    if (class < 2 * CLASS_SUBS) return class;
    unsigned exponent = (class >> BENCH_CLASS_BITS) - 1;
    uint64_t least = (uint64_t)(class - (exponent << BENCH_CLASS_BITS)) << exponent;
    return least + ((uint64_t)1 << exponent) / 2;
}

static double quantile_ms(const struct bench_figures *figures, double part)
{
    uint64_t wanted = (uint64_t)(part * (double)figures->sampled), seen = 0;
    if (figures->sampled == 0) return 0;
    if (wanted >= figures->sampled) wanted = figures->sampled - 1;
    for (unsigned i = 0; i < BENCH_CLASSES; i++) {
        seen += figures->classes[i];
        if (seen <= wanted) continue;
        uint64_t ns = class_middle(i);
        return (double)(ns < figures->longest_ns ? ns : figures->longest_ns) / 1e6;
    }
    return (double)figures->longest_ns / 1e6;
}

/* ---- printing ---- */

static void print_row(const struct bench_options *options, const char *operation, const struct bench_figures *figures,
                      double seconds)
{
    char name[16];
    snprintf(name, sizeof name, "%s%s", options->http ? "http " : "", operation);
    printf("%-9s %7" PRIu64 " %8" PRIu64 " %7" PRIu64 " %12.0f %9.3f %9.3f %9.3f %9.3f %8" PRIu64 "\n", name,
           options->clients, options->pipeline, options->size,
           seconds > 0 ? (double)figures->succeeded / seconds : 0, quantile_ms(figures, 0.50),
           quantile_ms(figures, 0.99), quantile_ms(figures, 0.999), (double)figures->longest_ns / 1e6,
           figures->failed);
}

static void print_json(const struct bench_options *options, const char *operation,
                       const struct bench_figures *figures, double seconds)
{
    struct buffer value = {0}, json = {0};
    mp_write_map(&value, 14);
    write_integer(&value, "clients", options->clients);
    write_integer(&value, "errors", figures->failed);
    write_number(&value, "max_ms", (double)figures->longest_ns / 1e6);
    mp_write_text(&value, "operation");
    mp_write_text(&value, operation);
    write_number(&value, "p50_ms", quantile_ms(figures, 0.50));
    write_number(&value, "p99_9_ms", quantile_ms(figures, 0.999));
    write_number(&value, "p99_ms", quantile_ms(figures, 0.99));
    write_integer(&value, "pipeline", options->pipeline);
    write_number(&value, "processor_seconds", processor_seconds());
    mp_write_text(&value, "protocol");
    mp_write_text(&value, options->http ? "http" : "rpc");
    write_number(&value, "seconds", seconds);
    write_integer(&value, "size", options->size);
    write_integer(&value, "succeeded", figures->succeeded);
    write_number(&value, "throughput", seconds > 0 ? (double)figures->succeeded / seconds : 0);
    if (json_from_value(buffer_slice(&value), &json, NULL) == ERROR_OK) {
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    }
    buffer_deinit(&value);
    buffer_deinit(&json);
}

/* On stderr: what is printed on stdout is for programs, too. */
static void print_errors(const struct bench_errors *errors)
{
    fflush(stdout);
    for (size_t i = 0; i < errors->count; i++) {
        fprintf(stderr, "%s%s: %" PRIu64, i == 0 ? "errors: " : ", ", errors->rows[i].code, errors->rows[i].count);
    }
    if (errors->count > 0) fputc('\n', stderr);
}

/* What the load generator itself has used, so that one can tell whose time was measured. */
static double processor_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void write_integer(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_number(struct buffer *out, const char *key, double value)
{
    mp_write_text(out, key);
    mp_write_float(out, value);
}
