/* A client that leaks: a thread connects, reads to the end, and forgets to close. The server is in the same process.
 * Usage: pool PORT CONNECTIONS. Prints the thread's id when all is done, and waits for the end of its input. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static struct sockaddr_in address;

NOINLINE static int open_pool(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) /* line of connect */
        exit(2);
    return fd;
}

NOINLINE static void read_to_the_end(int fd) {
    char buffer[64];
    long count = 1;
    while (count > 0)
        count = read(fd, buffer, sizeof buffer); /* line of eof */
}

NOINLINE static void handle(int fd) {
    char buffer[4];
    long count = recv(fd, buffer, sizeof buffer, 0); /* line of first use */
    if (write(fd, buffer, count) != count)
        exit(3);
    close(fd);
}

static void *client(void *connections) {
    for (int i = 0; i < *(int *)connections; i++) {
        int fd = open_pool();
        if (write(fd, "ping", 4) != 4)
            exit(4);
        read_to_the_end(fd);
    }
    printf("%d\n", gettid());
    fflush(stdout);
    return NULL;
}

int main(int argc, char **argv) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), reuse = 1, connections = argc > 2 ? atoi(argv[2]) : 1;
    pthread_t thread;
    char byte;
    address.sin_family = AF_INET;
    address.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64))
        exit(5);
    pthread_create(&thread, NULL, client, &connections);
    for (int i = 0; i < connections; i++)
        handle(accept(listener, NULL, NULL));
    pthread_join(thread, NULL);
    return read(0, &byte, 1) != 0;
}
