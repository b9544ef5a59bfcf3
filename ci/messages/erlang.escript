#!/usr/bin/env escript
%% How Erlang's own library calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT]. An error is no match, and is printed so.
main([Mode, Address, Text | Source]) ->
    {ok, Ip} = inet:parse_address(Address),
    Port = list_to_integer(Text),
    Family = case tuple_size(Ip) of 4 -> inet; 8 -> inet6 end,
    Local = case Source of
        [From, FromPort] -> {ok, Own} = inet:parse_address(From), [{ip, Own}, {port, list_to_integer(FromPort)}];
        [] -> []
    end,
    case Mode of
        "connect" -> {ok, _} = gen_tcp:connect(Ip, Port, [Family | Local]);
        "listen" -> {ok, _} = gen_tcp:listen(Port, [{ip, Ip}, Family]);
        "udp-bind" -> {ok, _} = gen_udp:open(Port, [{ip, Ip}, Family]);
        "udp" ->
            {ok, Socket} = gen_udp:open(0, [Family]),
            ok = gen_udp:send(Socket, Ip, Port, "hello")
    end.
