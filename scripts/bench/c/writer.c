/* writer FILE BYTES MILLIS LENGTH -- waits until FILE is removed; then writes lines of 100 bytes to its standard output, LENGTH
 * bytes with each write, until BYTES are written or MILLIS are over; writes "bytes nanoseconds" to FILE.done. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000000000UL + moment.tv_nsec;
}

int main(int count, char **words) {
    if (count != 5) return 2;
    uint64_t most = strtoul(words[2], 0, 10), nanos = strtoul(words[3], 0, 10) * 1000000, length = strtoul(words[4], 0, 10);
    char *text = malloc(length), name[4096];
    if (!text) return 3;
    memset(text, 'x', length);
    for (uint64_t at = 99; at < length; at += 100) text[at] = '\n';
    while (access(words[1], F_OK) == 0) usleep(1000);
    uint64_t began = now(), done = 0, round = 0;
    while (done < most && ((round++ & 15) || now() - began < nanos)) {
        for (uint64_t sent = 0; sent < length;) {
            ssize_t more = write(1, text + sent, length - sent);
            if (more < 0) return 4;
            sent += more;
        }
        done += length;
    }
    uint64_t took = now() - began;
    snprintf(name, sizeof name, "%s.new", words[1]);
    FILE *file = fopen(name, "w");
    if (!file) return 5;
    fprintf(file, "%lu %lu\n", done, took);
    fclose(file);
    snprintf(name, sizeof name, "%s.done", words[1]);
    char from[4096];
    snprintf(from, sizeof from, "%s.new", words[1]);
    rename(from, name);
    for (;;) pause();
}
