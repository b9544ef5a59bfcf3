// How Node's own library calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT]. No error is caught, so that Node prints it.
const net = require('net'), dgram = require('dgram'), http = require('http');
const [mode, host, port, source, sourcePort] = process.argv.slice(2);
const type = host.includes(':') ? 'udp6' : 'udp4';
if (mode === 'connect') {
  const local = source ? { localAddress: source, localPort: Number(sourcePort) } : {};
  net.connect({ host, port, ...local }).on('connect', function () { this.write('hello\n'); });
} else if (mode === 'http') {
  http.get({ host, port });
} else if (mode === 'fetch') {
  fetch(`http://${host.includes(':') ? `[${host}]` : host}:${port}/`);
} else if (mode === 'listen') {
  net.createServer().listen(Number(port), host);
} else if (mode === 'udp') {
  dgram.createSocket(type).send('hello', Number(port), host);
} else if (mode === 'udp-connect') {
  const socket = dgram.createSocket(type);
  socket.connect(Number(port), host, () => { socket.send('hello'); setTimeout(() => socket.send('hello'), 100); });
} else if (mode === 'udp-bind') {
  dgram.createSocket(type).bind(Number(port), host);
} else if (mode === 'exhaust') {
  for (let i = 0; i < 2000; i++) net.connect({ host, port });
}
