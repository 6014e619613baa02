/* A server that reads the beginning of what comes on its only connection, and nothing more; with a second argument it reads to
 * the end. Usage: reader PORT [all]. Says when it listens, and waits for the end of its input. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

NOINLINE static long read_some(int fd) {
    char buffer[4];
    return read(fd, buffer, sizeof buffer); /* line of read */
}

NOINLINE static void serve(int fd, int all) {
    long count = read_some(fd);
    while (all && count > 0)
        count = read_some(fd);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    char byte;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        exit(2);
    puts("listening");
    fflush(stdout);
    serve(accept(listener, NULL, NULL), argc > 2);
    return read(0, &byte, 1) != 0;
}
