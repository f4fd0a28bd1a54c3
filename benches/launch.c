/*
 * Becomes a program that is told to end when whoever started it ends, in whatever way.
 *
 *     launch PARENT PROGRAM [ARGUMENT]...
 *
 * So no supervisor outlives a harness that was killed: SIGTERM, to let it end its workers. The kernel
 * keeps the setting over execve and does not hand it to children (PR_SET_PDEATHSIG(2const)). PARENT is
 * the pid of the starter: one that ended before the setting was made is not noticed otherwise.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3 || prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != atoi(argv[1]))
        return 2;
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
