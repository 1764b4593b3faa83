/* The board: shared memory where each service has one slot. Its layout is known to board.py too. */
#include <stdint.h>

struct slot {
    uint64_t born;   /* CLOCK_MONOTONIC in ns of the newest first instruction */
    uint64_t ended;  /* of the newest SIGTERM */
    uint32_t pid;    /* the newest process */
    uint32_t births; /* how many there were; written last */
    uint8_t rest[40];
};

struct board {
    uint32_t events; /* counts births and ends: the futex that the watcher sleeps on */
    uint32_t slots;
    uint8_t rest[56];
    struct slot slot[];
};
