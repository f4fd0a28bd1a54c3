/*
 * The floor's own client: one request as a whole process, against `circusctl`.
 *
 *     client SOCKET REQUEST
 *
 * Sends the line, prints the line that answers it. No options and no messages; 0 if an answer came.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char line[4096];
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path || strlen(argv[2]) >= sizeof line)
        return 2;
    strcpy(address.sun_path, argv[1]);
    size_t length = strlen(argv[2]);
    memcpy(line, argv[2], length);
    line[length++] = '\n';
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    alarm(30); /* A silent server fails the run instead of holding it up. */
    if (connect(server, (struct sockaddr *)&address, sizeof address) != 0)
        return 1;
    if (write(server, line, length) != (ssize_t)length)
        return 1;
    ssize_t got;
    do {
        got = read(server, line, sizeof line);
        if (got <= 0 || write(STDOUT_FILENO, line, got) != got)
            return 1;
    } while (line[got - 1] != '\n');
    return 0;
}
