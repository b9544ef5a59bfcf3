-- How LuaSocket calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT].
local socket = require("socket")
local mode, address, port, source, source_port = arg[1], arg[2], arg[3], arg[4], arg[5]
if mode == "connect" then
  assert(socket.connect(address, port, source, source_port))
elseif mode == "listen" then
  assert(socket.bind(address, port))
elseif mode == "udp" then
  assert(socket.udp():sendto("hello", address, tonumber(port)))
elseif mode == "udp-bind" then
  assert(socket.udp():setsockname(address, tonumber(port)))
end
