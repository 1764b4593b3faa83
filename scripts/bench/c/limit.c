/* limit BOARD COUNT PROBE -- what the kernel alone costs: COUNT probes made by vfork and exec, and a loop that waits for
 * an end and starts the successor. No supervisor can be faster. SIGTERM ends the probes, then itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static volatile sig_atomic_t ending;

static void on_term(int signal) {
    (void)signal;
    ending = 1;
}

static pid_t start(const char *probe, char *place) {
    char *argv[] = {(char *)probe, place, NULL};
    pid_t pid = vfork();
    if (pid == 0) {
        execve(probe, argv, environ);
        _exit(127);
    }
    if (pid < 0) {
        perror("vfork");
        exit(1);
    }
    return pid;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int count = atoi(argv[2]);
    pid_t *pids = calloc(count, sizeof *pids);
    char **places = calloc(count, sizeof *places);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
    for (int i = 0; i < count; i++) {
        if (asprintf(&places[i], "%s:%d", argv[1], i) < 0) return 1;
        pids[i] = start(argv[3], places[i]);
    }
    while (!ending) {
        pid_t gone = waitpid(-1, NULL, 0);
        for (int i = 0; gone > 0 && i < count; i++) {
            if (pids[i] == gone) {
                pids[i] = start(argv[3], places[i]);
                break;
            }
        }
    }
    for (int i = 0; i < count; i++) kill(pids[i], SIGTERM);
    while (wait(NULL) > 0 || errno == EINTR) {}
    return 0;
}
