/*
 * The worker of every supervisor that is measured: tells when its main was reached, then waits.
 *
 *     worker ROLL FIFO
 *
 * Appends one record of two 64-bit numbers to the file ROLL: its pid, and CLOCK_MONOTONIC in
 * nanoseconds. The first number of ROLL is the length it is expected to reach; the worker that reaches
 * it writes one byte into FIFO, so a thousand of them wake their reader once. It never ends by itself,
 * not even when nobody reads: a supervisor would only start it again, at once and for ever.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

/* What fails here is missed by the reader, which says so. */
static void report(const char *roll, const char *fifo, const int64_t record[2]) {
    int64_t expected;
    int file = open(roll, O_RDWR | O_APPEND | O_CLOEXEC);
    if (write(file, record, 16) != 16 || pread(file, &expected, 8, 0) != 8)
        return;
    /* An appending write leaves the position at its own end, whoever appends besides (write(2)). */
    off_t length = lseek(file, 0, SEEK_CUR);
    close(file);
    if (length != expected)
        return;
    int reader = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (write(reader, "", 1) == 1)
        close(reader);
}

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t record[2] = {getpid(), now.tv_sec * INT64_C(1000000000) + now.tv_nsec};
    if (argc == 3)
        report(argv[1], argv[2], record);
    for (;;)
        pause();
}
