# How Python's own library calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT]. No error is caught, so that Python prints it.
import socket
import sys

mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
source = (sys.argv[4], int(sys.argv[5])) if len(sys.argv) > 5 else None
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if mode == "connect":
    connection = socket.create_connection((address, port), source_address=source)
    connection.sendall(b"hello\n")
    connection.recv(1)
elif mode == "raw":
    sock = socket.socket(family)
    sock.connect((address, port))
elif mode == "listen":
    socket.create_server((address, port), family=family)
elif mode == "http":
    import http.server
    http.server.ThreadingHTTPServer((address, port), http.server.SimpleHTTPRequestHandler)
elif mode == "urllib":
    import urllib.request
    host = f"[{address}]" if ":" in address else address
    urllib.request.urlopen(f"http://{host}:{port}/")
elif mode == "udp":
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.sendto(b"hello", (address, port))
elif mode == "udp-connect":
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((address, port))
    for _ in range(2):
        sock.send(b"hello")
        sock.recv(1) if "--read" in sys.argv else None
elif mode == "udp-bind":
    socket.socket(family, socket.SOCK_DGRAM).bind((address, port))
elif mode == "exhaust":
    sockets = [socket.socket(family) for _ in range(100_000)]
