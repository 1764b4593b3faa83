/* below COMMAND... -- runs one supervisor so that all it ever starts is found below this process (a child sub-reaper),
 * takes every orphan's end, and leaves when nothing is left. */
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return 2;
    pid_t command = vfork();
    if (command == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    int status, code = 0;
    pid_t gone;
    while ((gone = wait(&status)) > 0) {
        if (gone == command) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return code;
}
