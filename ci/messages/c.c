// How a program in C says it, with perror(): MODE ADDRESS PORT [SOURCE SOURCE_PORT].
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int result, const char *call) {
    if (result < 0) {
        perror(call);
        exit(1);
    }
}

int main(int count, char **args) {
    const char *mode = args[1];
    int type = strncmp(mode, "udp", 3) ? SOCK_STREAM : SOCK_DGRAM, one = 1;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = type}, *to, *from;
    getaddrinfo(args[2], args[3], &hints, &to);
    for (int i = 0; !strcmp(mode, "exhaust") && i < 100000; i++) check(socket(to->ai_family, type, 0), "socket");
    int fd = socket(to->ai_family, type, 0);
    check(fd, "socket");
    if (count > 5) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        getaddrinfo(args[4], args[5], &hints, &from);
        check(bind(fd, from->ai_addr, from->ai_addrlen), "bind");
    }
    if (strstr(mode, "bind") || !strcmp(mode, "listen")) {
        check(bind(fd, to->ai_addr, to->ai_addrlen), "bind");
        if (type == SOCK_STREAM) check(listen(fd, 5), "listen");
    } else if (!strcmp(mode, "udp")) {
        check(sendto(fd, "hello", 5, 0, to->ai_addr, to->ai_addrlen), "sendto");
    } else {
        check(connect(fd, to->ai_addr, to->ai_addrlen), "connect");
        for (int i = 0; i < 2; i++) {
            check(send(fd, "hello", 5, 0), "send");
            usleep(50000);
            char byte;
            if (type == SOCK_STREAM) check(recv(fd, &byte, 1, 0), "recv");
        }
    }
}
