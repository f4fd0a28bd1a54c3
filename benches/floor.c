/*
 * The floor: the least a supervisor can do, so what a complete one costs can be told as a ratio.
 *
 *     floor SOCKET COUNT COMMAND [ARGUMENT]...
 *
 * Keeps COUNT workers alive (epoll, signalfd, posix_spawn, waitpid) and answers the lines `status`,
 * `restart` and `quit` on SOCKET, one JSON line each. It has no features on purpose: no cgroup, no
 * back-off, no events, no log, no second restart while one is under way, and what goes wrong ends it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char *path;
static char **command;
static posix_spawnattr_t attributes;
static pid_t *workers;
static int count;
static long spawns;
static int epoll;
static int restarter;   /* the connection that waits for the restart under way */
static int unrestarted; /* how many exits that restart still waits for */

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void spawn(int place) {
    errno = posix_spawn(&workers[place], command[0], NULL, &attributes, command, environ);
    if (errno != 0)
        fail(command[0]);
    spawns++;
}

static void signal_all(int number) {
    for (int i = 0; i < count; i++)
        kill(workers[i], number);
}

/* MSG_NOSIGNAL and no look at the result: a client that has gone misses its answer, no more. */
static void answer(int connection, const char *what) {
    char line[64];
    int length = snprintf(line, sizeof line, "{\"%s\":%d,\"spawns\":%ld}\n", what, count, spawns);
    send(connection, line, length, MSG_NOSIGNAL);
}

static void replace(pid_t ended) {
    for (int i = 0; i < count; i++)
        if (workers[i] == ended)
            spawn(i);
    if (unrestarted > 0 && --unrestarted == 0)
        answer(restarter, "restarted");
}

static void quit(void) {
    signal_all(SIGKILL);
    while (wait(NULL) > 0)
        ;
    unlink(path);
    exit(0);
}

/* One signalfd record may stand for many SIGCHLD, so all that can be waited for is. */
static void on_signal(int signals) {
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != sizeof info)
        fail("signalfd");
    if (info.ssi_signo != SIGCHLD)
        quit();
    for (pid_t ended; (ended = waitpid(-1, NULL, WNOHANG)) > 0;)
        replace(ended);
}

static void watch(int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0)
        fail("epoll_ctl");
}

static void on_connect(int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection >= 0)
        watch(connection);
}

/* A request is taken to arrive in one piece: every one is shorter than any socket buffer. */
static void on_request(int connection) {
    char line[64];
    ssize_t length = read(connection, line, sizeof line - 1);
    line[length > 0 ? length : 0] = 0;
    if (strcmp(line, "status\n") == 0) {
        answer(connection, "workers");
    } else if (strcmp(line, "restart\n") == 0 && unrestarted == 0) {
        restarter = connection;
        unrestarted = count;
        signal_all(SIGTERM);
    } else if (strcmp(line, "quit\n") == 0) {
        quit();
    } else {
        close(connection);
    }
}

static int open_signals(void) {
    sigset_t ours, none;
    sigemptyset(&none);
    sigemptyset(&ours);
    sigaddset(&ours, SIGCHLD);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    return signalfd(-1, &ours, SFD_CLOEXEC);
}

static int open_listener(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        errno = ENAMETOOLONG, fail(path);
    strcpy(address.sun_path, path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0)
        fail(path);
    return listener;
}

int main(int argc, char **argv) {
    if (argc < 4 || (count = atoi(argv[2])) < 1)
        return 2;
    path = argv[1];
    command = argv + 3;
    workers = calloc(count, sizeof *workers);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int signals = open_signals(), listener = open_listener();
    if (workers == NULL || epoll < 0 || signals < 0)
        fail("start");
    watch(signals);
    watch(listener);
    for (int i = 0; i < count; i++)
        spawn(i);
    for (struct epoll_event event;;) {
        if (epoll_wait(epoll, &event, 1, -1) != 1)
            continue;
        if (event.data.fd == signals)
            on_signal(signals);
        else if (event.data.fd == listener)
            on_connect(listener);
        else
            on_request(event.data.fd);
    }
}
