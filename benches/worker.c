/*
 * The worker of every supervisor that is measured: tells when its main was reached, then waits.
 *
 *     worker FIFO
 *
 * Writes one record of two 64-bit numbers into FIFO: its pid, and CLOCK_MONOTONIC in nanoseconds. It
 * never ends by itself, not even when nobody reads: a supervisor would only start it again, at once
 * and for ever.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t report[2] = {getpid(), now.tv_sec * INT64_C(1000000000) + now.tv_nsec};
    /* Shorter than PIPE_BUF, so the reports of many workers do not mix (pipe(7)). A report that
     * cannot be given is missed by the reader, which says so; there is nothing to do about it here. */
    int fifo = open(argc > 1 ? argv[1] : "", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (write(fifo, report, sizeof report) != sizeof report)
        write(STDERR_FILENO, "worker: no report\n", 18);
    close(fifo);
    for (;;)
        pause();
}
