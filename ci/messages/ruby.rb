# How Ruby's own library calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT]. No error is caught, so that Ruby prints it.
require 'socket'
require 'net/http'
mode, address, port, source, source_port = ARGV
family = address.include?(':') ? Socket::AF_INET6 : Socket::AF_INET
case mode
when 'connect'
  socket = TCPSocket.new(address, port.to_i, source, source_port&.to_i)
  socket.puts 'hello'
  socket.sysread 1
when 'raw' then Socket.tcp(address, port.to_i)
when 'http' then Net::HTTP.get(URI("http://#{address.include?(':') ? "[#{address}]" : address}:#{port}/"))
when 'listen' then TCPServer.new(address, port.to_i)
when 'udp' then UDPSocket.new(family).send('hello', 0, address, port.to_i)
when 'udp-connect'
  socket = UDPSocket.new(family)
  socket.connect(address, port.to_i)
  2.times { socket.send('hello', 0); sleep 0.05 }
when 'udp-bind' then UDPSocket.new(family).bind(address, port.to_i)
when 'exhaust' then all = Array.new(5000) { Socket.new(family, :STREAM) }
end
