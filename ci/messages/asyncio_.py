# The same with asyncio.
import asyncio
import sys

mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
source = (sys.argv[4], int(sys.argv[5])) if len(sys.argv) > 5 else None


async def main():
    loop = asyncio.get_running_loop()
    if mode == "connect":
        reader, writer = await asyncio.open_connection(address, port, local_addr=source)
        writer.write(b"hello\n")
        await reader.read(1)
    elif mode == "listen":
        await asyncio.start_server(print, address, port)
    elif mode == "udp-bind":
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(address, port))


asyncio.run(main())
