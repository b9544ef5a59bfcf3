# A server that resets each connection when it has read from it: ADDRESS PORT.
import socket
import struct
import sys

server = socket.create_server((sys.argv[1], int(sys.argv[2])))
for _ in range(1000):
    connection, _ = server.accept()
    connection.settimeout(1)
    try:
        connection.recv(1)
    except TimeoutError:
        pass
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
