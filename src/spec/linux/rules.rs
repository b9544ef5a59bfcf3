//! Linux's rules. The code beside them says when each applies.
//!
//! Releases in which a rule began or ended are those that a baseline or a commit shows; for others nothing is said.

use crate::spec::rule::rules;

rules! {
    SOCKET_IS_MADE = "linux.socket.is-made"
        "socket() gives a socket without a name, in the state CLOSE."
        "inet_create(), net/ipv4/af_inet.c" => OK;

    NO_DESCRIPTOR = "linux.socket.no-descriptor"
        "socket() and accept() fail where the process may open no more files, before anything else is looked at."
        "get_unused_fd_flags() in sock_map_fd() and __sys_accept4_file(), net/socket.c" => EMFILE;
    ADDRESS_LONG = "linux.address.too-long"
        "No address is longer than struct sockaddr_storage."
        "move_addr_to_kernel(), net/socket.c" => EINVAL;
    LANDLOCK_FORBIDS_TCP = "linux.landlock.forbids-tcp"
        "Where Landlock forbids it, a TCP socket is neither bound nor connected, whatever the address is."
        "current_check_access_socket(), security/landlock/net.c" => EACCES;

    // setsockopt(2)
    OPTION_V6ONLY_OF_IPV4 = "linux.option.v6only-of-ipv4"
        "A socket of IPv4 has no IPV6_V6ONLY."
        "ip_setsockopt(), net/ipv4/ip_sockglue.c: the level is another family's" => ENOPROTOOPT;
    OPTION_V6ONLY_TOO_LATE = "linux.option.v6only-too-late"
        "IPV6_V6ONLY cannot be set on a socket that has a port."
        "do_ipv6_setsockopt(), net/ipv6/ipv6_sockglue.c: inet_num is set" => EINVAL;
    OPTION_DEVICE_TAKES_PRIVILEGE = "linux.option.device-takes-privilege"
        "Only CAP_NET_RAW may change the device of a socket that has one."
        "sock_bindtoindex_locked(), net/core/sock.c" => EPERM;
    OPTION_NO_DEVICE = "linux.option.no-device"
        "SO_BINDTODEVICE needs a device of that name."
        "sock_setbindtodevice(), net/core/sock.c" => ENODEV;
    OPTION_TTL_ZERO = "linux.option.ttl-zero"
        "IP_TTL is 1 at least."
        "do_ip_setsockopt(), net/ipv4/ip_sockglue.c" => EINVAL;
    OPTION_MARK_TAKES_PRIVILEGE = "linux.option.mark-takes-privilege"
        "SO_MARK takes CAP_NET_ADMIN or CAP_NET_RAW."
        "sk_setsockopt(), net/core/sock.c" => EPERM;
    OPTION_OF_TCP = "linux.option.of-tcp"
        "UDP has none of TCP's options."
        "udp_setsockopt(), net/ipv4/udp.c, and ip_setsockopt(), net/ipv4/ip_sockglue.c" => ENOPROTOOPT;
    OPTION_IS_SET = "linux.option.is-set"
        "Any other option that is set here is set, and counts from then on."
        "sk_setsockopt(), net/core/sock.c" => OK;

    // Which addresses overlap.
    V6ONLY_APART = "linux.address.v6only-is-apart"
        "A socket that receives IPv6 alone does not overlap one that receives IPv4 alone."
        "ipv6_rcv_saddr_equal() and ipv4_rcv_saddr_equal(), net/ipv4/inet_connection_sock.c: sk_ipv6only";
    OVERLAP_SAME = "linux.address.same-overlaps"
        "Two sockets with the same address overlap; an IPv4-mapped address is the IPv4 address."
        "inet_rcv_saddr_equal(), net/ipv4/inet_connection_sock.c";
    OVERLAP_WILDCARD = "linux.address.wildcard-overlaps"
        "The wildcard address overlaps every address that its socket receives for; :: does so for both families."
        "inet_rcv_saddr_equal(), net/ipv4/inet_connection_sock.c: match_wildcard";
    MAPPED_WILDCARD_MISSED = "linux.address.mapped-wildcard-is-missed"
        "A claimer of an IPv4-mapped address does not see a holder of ::ffff:0.0.0.0."
        "inet_bhash2_addr_any_hashbucket(), net/ipv4/inet_hashtables.c (6.1): only the bucket of :: is looked at"
        since (6, 1, 0) until (6, 6, 0);

    // Who may have a TCP port that others have.
    DEVICES_APART = "linux.port.devices-are-apart"
        "Sockets that are bound to different devices never conflict."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c; udp_lib_lport_inuse(), net/ipv4/udp.c: sk_bound_dev_if";
    LISTENER_EXCLUDES_REUSEADDR = "linux.port.listener-excludes-reuseaddr"
        "SO_REUSEADDR on both sockets shares no port with a holder that listens."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c: sk2->sk_state != TCP_LISTEN";
    REUSEADDR_SHARES = "linux.port.reuseaddr-shares"
        "SO_REUSEADDR on both sockets shares the port, as the options are now."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c";
    REUSEPORT_SHARES = "linux.port.reuseport-shares"
        "SO_REUSEPORT on both sockets shares the port between sockets of one user."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c";
    REUSEPORT_OTHER_USER = "linux.port.reuseport-not-with-another-user"
        "SO_REUSEPORT shares no port with another user's socket, not even for root."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c: uid_eq()";
    REUSEPORT_OVER_TIME_WAIT = "linux.port.reuseport-over-time-wait"
        "SO_REUSEPORT on both shares the port of an entry in TIME_WAIT, whoever made it."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c: sk2->sk_state == TCP_TIME_WAIT";
    CACHED_REUSEADDR = "linux.port.cached-reuseaddr"
        "Where every bind on the port had SO_REUSEADDR, one that has it is let in without a look at the holders."
        "inet_csk_get_port(), net/ipv4/inet_connection_sock.c: tb->fastreuse";
    CACHED_REUSEPORT = "linux.port.cached-reuseport"
        "Where the last bind on the port had SO_REUSEPORT, one of the same user that has it, too, is let in unseen."
        "sk_reuseport_match(), net/ipv4/inet_connection_sock.c: tb->fastreuseport";
    FIRST_BIND_CACHED = "linux.port.first-bind-is-cached"
        "The first bind on a port sets what its bucket remembers of both options."
        "inet_csk_update_fastreuse(), net/ipv4/inet_connection_sock.c; since 6.8 its bhash2 is never empty there"
        until (6, 8, 0);
    RELEASED_PORT_IS_SHARED_AGAIN = "linux.port.released-port-is-shared-again"
        "Once nobody is left on a port but sockets whose port connect() chose, connect() may choose it for others."
        "inet_bind_bucket_destroy(), net/ipv4/inet_hashtables.c (commit d57f4b874946; in 6.17.8 7f3df9e527c5)"
        since (6, 17, 8);

    // Which port the kernel picks.
    RANGE_OF_SOCKET = "linux.pick.range-of-socket"
        "IP_LOCAL_PORT_RANGE takes the place of the sysctl's range."
        "inet_sk_get_local_port_range(), net/ipv4/inet_connection_sock.c";
    RANGE_OF_SOCKET_WHOLE = "linux.pick.range-of-socket-is-looked-through"
        "With IP_LOCAL_PORT_RANGE connect() looks at every port of the range."
        "__inet_hash_connect(), net/ipv4/inet_hashtables.c: local_ports, in steps of one" since (6, 8, 0);
    ODD_RANGE_MISSES = "linux.pick.odd-range-misses-an-end"
        "In a range of odd size the search leaves out the lowest or the highest port, by chance."
        "__inet_hash_connect(), net/ipv4/inet_hashtables.c: remaining &= ~1U";
    RESERVED_NOT_PICKED = "linux.pick.reserved-is-not-picked"
        "The kernel picks no port of ip_local_reserved_ports."
        "inet_is_local_reserved_port(), include/net/ip.h";
    SEARCH_SHARES_NOTHING = "linux.pick.search-shares-nothing"
        "A search for a port takes none that overlaps a holder's, whatever the options are."
        "inet_csk_find_open_port(), net/ipv4/inet_connection_sock.c: reuseport_ok and relax are false";
    AUTOBIND_REUSE = "linux.pick.autobind-reuse"
        "With ip_autobind_reuse a search that has found nothing begins again, and takes what SO_REUSEADDR shares."
        "inet_csk_find_open_port(), net/ipv4/inet_connection_sock.c: sysctl_ip_autobind_reuse";
    SETTLES_NOT_FOR_REUSEPORT = "linux.pick.autobind-reuse-not-with-reuseport"
        "That search takes no port of a holder that has SO_REUSEPORT as well, as the claimer does."
        "inet_bind_conflict(), net/ipv4/inet_connection_sock.c: relax without reuseport_ok";
    AUTOBIND_NEVER_SHARES = "linux.pick.autobind-shares-no-bound-port"
        "connect() chooses no port that somebody bound, on any address and with any option."
        "__inet_hash_connect(), net/ipv4/inet_hashtables.c: fastreuse >= 0 or fastreuseport >= 0";

    // UDP's ports.
    UDP_REUSEADDR_SHARES = "linux.udp.reuseaddr-shares"
        "SO_REUSEADDR on both UDP sockets shares the port."
        "udp_lib_lport_inuse(), net/ipv4/udp.c";
    UDP_REUSEPORT_SHARES = "linux.udp.reuseport-shares"
        "SO_REUSEPORT on both UDP sockets shares the port between sockets of one user."
        "udp_lib_lport_inuse(), net/ipv4/udp.c";
    UDP_FIRST_SHARER_DECIDES = "linux.udp.first-sharer-decides"
        "The newest holder with which SO_REUSEPORT shares the port decides; older ones are not looked at."
        "udp_lib_lport_inuse(), net/ipv4/udp.c: return 0";
    UDP_PORTS_EXHAUSTED = "linux.udp.ports-exhausted"
        "connect() and sendto() of a UDP socket without a port fail where none is left."
        "inet_autobind(), net/ipv4/af_inet.c" => EAGAIN;
    UDP_BROADCAST = "linux.udp.broadcast"
        "A broadcast address takes SO_BROADCAST."
        "__ip4_datagram_connect(), net/ipv4/datagram.c; udp_sendmsg(), net/ipv4/udp.c" => EACCES;
    UDP_SEND_PORT_ZERO = "linux.udp.port-zero"
        "No datagram can be sent to port 0."
        "udp_sendmsg(), net/ipv4/udp.c; udpv6_sendmsg(), net/ipv6/udp.c" => EINVAL;
    UDP_SEND_WITHOUT_PEER = "linux.udp.without-peer"
        "send() of a UDP socket without a peer fails."
        "udp_sendmsg(), net/ipv4/udp.c; udpv6_sendmsg(), net/ipv6/udp.c" => EDESTADDRREQ;
    UDP_SEND_SHUT = "linux.udp.shut-down"
        "A UDP socket that is shut down for writing sends nothing."
        "sock_alloc_send_pskb(), net/core/sock.c: SEND_SHUTDOWN" => EPIPE;
    UDP_TOO_LONG = "linux.udp.too-long"
        "A datagram is no longer than its family's packets are: 65,507 bytes for IPv4 and 65,527 for IPv6."
        "__ip_append_data(), net/ipv4/ip_output.c; __ip6_append_data(), net/ipv6/ip6_output.c" => EMSGSIZE;
    UDP_REFUSED = "linux.udp.refused"
        "A datagram for a port that no socket receives at leaves an error on a sender that is connected to it."
        "__udp4_lib_err(), net/ipv4/udp.c; __udp6_lib_err(), net/ipv6/udp.c" => ECONNREFUSED;
    UDP_SENDS = "linux.udp.sends"
        "A datagram is sent; nobody has to receive it."
        "udp_sendmsg(), net/ipv4/udp.c" => OK;
    UDP_CONNECTS = "linux.udp.connects"
        "connect() of a UDP socket sets the peer; the same 4-tuple may exist already."
        "__ip4_datagram_connect(), net/ipv4/datagram.c" => OK;

    // bind(2)
    BIND_SELINUX_LENGTH = "linux.bind.selinux-looks-at-the-length"
        "SELinux refuses an address of AF_INET6 that is too short for one, whatever the socket's family is."
        "selinux_socket_bind(), security/selinux/hooks.c" => EINVAL;
    BIND_SHORT = "linux.bind.short-address"
        "An address must be as long as those of the socket's family."
        "inet_bind_sk(), net/ipv4/af_inet.c; inet6_bind_sk(), net/ipv6/af_inet6.c" => EINVAL;
    BIND_OTHER_FAMILY = "linux.bind.other-family"
        "The address must be of the socket's family."
        "__inet_bind(), net/ipv4/af_inet.c; __inet6_bind(), net/ipv6/af_inet6.c" => EAFNOSUPPORT;
    BIND_MULTICAST_STREAM = "linux.bind.ipv6-multicast-stream"
        "A TCP socket cannot be bound to an IPv6 multicast address."
        "__inet6_bind(), net/ipv6/af_inet6.c" => EINVAL;
    BIND_LINK_LOCAL_WITHOUT_DEVICE = "linux.bind.link-local-without-device"
        "A link-local address, of one or of many receivers, takes a device."
        "__inet6_bind(), net/ipv6/af_inet6.c: __ipv6_addr_needs_scope_id()" => EINVAL;
    BIND_FREEBIND = "linux.bind.freebind"
        "IP_FREEBIND lets a socket have any address."
        "inet_addr_valid_or_nonlocal(), include/net/inet_sock.h; ipv6_can_nonlocal_bind(), include/net/ipv6.h";
    BIND_NONLOCAL = "linux.bind.nonlocal"
        "ip_nonlocal_bind lets every socket have any address."
        "inet_can_nonlocal_bind(), include/net/inet_sock.h; ipv6_can_nonlocal_bind(), include/net/ipv6.h";
    BIND_NOT_LOCAL = "linux.bind.not-local"
        "The address must be one of this host's, the wildcard, or one for many receivers."
        "__inet_bind(), net/ipv4/af_inet.c; __inet6_bind(), net/ipv6/af_inet6.c: ipv6_chk_addr()" => EADDRNOTAVAIL;
    BIND_PRIVILEGED = "linux.bind.privileged-port"
        "A port below ip_unprivileged_port_start takes CAP_NET_BIND_SERVICE."
        "__inet_bind(), net/ipv4/af_inet.c; __inet6_bind(), net/ipv6/af_inet6.c" => EACCES;
    BIND_HAS_NAME = "linux.bind.has-name"
        "A socket that has a port, or is not in the state CLOSE, cannot be bound."
        "__inet_bind(), net/ipv4/af_inet.c; __inet6_bind(), net/ipv6/af_inet6.c: inet_num" => EINVAL;
    BIND_MAPPED_ON_V6ONLY = "linux.bind.mapped-on-v6only"
        "A socket that receives IPv6 alone cannot be bound to an IPv4-mapped address."
        "__inet6_bind(), net/ipv6/af_inet6.c: ipv6_only_sock()" => EINVAL;
    BIND_ADDRESS_ALONE = "linux.bind.address-alone"
        "With IP_BIND_ADDRESS_NO_PORT bind() to port 0 sets the address and leaves the port to connect()."
        "__inet_bind(), net/ipv4/af_inet.c: inet_test_bit(BIND_ADDRESS_NO_PORT)";
    BIND_PORT_HELD = "linux.bind.port-held"
        "The port is not given where a holder conflicts."
        "inet_csk_get_port(), net/ipv4/inet_connection_sock.c; udp_lib_get_port(), net/ipv4/udp.c" => EADDRINUSE;
    BIND_PORTS_EXHAUSTED = "linux.bind.ports-exhausted"
        "bind() to port 0 fails where the search finds no port."
        "inet_csk_get_port(), net/ipv4/inet_connection_sock.c; udp_lib_get_port(), net/ipv4/udp.c" => EADDRINUSE;
    BIND_TAKES_NAME = "linux.bind.takes-name"
        "bind() gives the socket its address and port."
        "__inet_bind(), net/ipv4/af_inet.c; __inet6_bind(), net/ipv6/af_inet6.c" => OK;

    // listen(2)
    LISTEN_NOT_A_STREAM = "linux.listen.not-a-stream"
        "A UDP socket cannot listen."
        "sock_no_listen(), net/core/sock.c" => EOPNOTSUPP;
    LISTEN_ATTEMPT = "linux.listen.attempt"
        "A socket that has a connection, or whose attempt at one has not been told the end of, cannot listen."
        "__inet_listen_sk(), net/ipv4/af_inet.c: sock->state != SS_UNCONNECTED" => EINVAL;
    LISTEN_HAS_PEER = "linux.listen.has-peer"
        "A socket that is neither in the state CLOSE nor a listener cannot listen."
        "__inet_listen_sk(), net/ipv4/af_inet.c" => EINVAL;
    LISTEN_AGAIN = "linux.listen.again"
        "A listener that listens again has a new backlog, and nothing else happens."
        "__inet_listen_sk(), net/ipv4/af_inet.c: old_state == TCP_LISTEN" => OK;
    LISTEN_PORT_HELD = "linux.listen.port-held"
        "listen() asks for the port again, as a listener: holders with which it shared by SO_REUSEADDR may conflict."
        "inet_csk_listen_start(), net/ipv4/inet_connection_sock.c" => EADDRINUSE;
    LISTEN_PORTS_EXHAUSTED = "linux.listen.ports-exhausted"
        "listen() of a socket without a port fails where the search finds none."
        "inet_csk_listen_start(), net/ipv4/inet_connection_sock.c" => EADDRINUSE;
    LISTENS = "linux.listen.listens"
        "listen() makes a listener of the socket, with a port that the kernel picks if it has none."
        "inet_csk_listen_start(), net/ipv4/inet_connection_sock.c" => OK;

    // connect(2)
    CONNECT_NO_FAMILY = "linux.connect.no-family"
        "An address must be long enough to have a family."
        "__inet_stream_connect() and inet_dgram_connect(), net/ipv4/af_inet.c" => EINVAL;
    CONNECT_CONNECTED = "linux.connect.connected"
        "A socket that has been told of its connection cannot connect."
        "__inet_stream_connect(), net/ipv4/af_inet.c: SS_CONNECTED" => EISCONN;
    CONNECT_PENDING = "linux.connect.pending"
        "An attempt that is under way cannot be begun again."
        "__inet_stream_connect(), net/ipv4/af_inet.c: SS_CONNECTING" => EALREADY;
    CONNECT_NOT_CLOSED = "linux.connect.not-closed"
        "A socket that is not in the state CLOSE, such as a listener, cannot connect."
        "__inet_stream_connect(), net/ipv4/af_inet.c: SS_UNCONNECTED" => EISCONN;
    CONNECT_SHORT = "linux.connect.short-address"
        "An address must be as long as those of the socket's family."
        "tcp_v4_connect(), net/ipv4/tcp_ipv4.c; tcp_v6_connect(), net/ipv6/tcp_ipv6.c" => EINVAL;
    CONNECT_OTHER_FAMILY = "linux.connect.other-family"
        "The address must be of the socket's family."
        "tcp_v4_connect(), net/ipv4/tcp_ipv4.c; tcp_v6_connect(), net/ipv6/tcp_ipv6.c" => EAFNOSUPPORT;
    CONNECT_WILDCARD_IS_LOOPBACK = "linux.connect.wildcard-is-this-host"
        "The wildcard address as a destination is the socket's own address, or loopback."
        "ip_route_output_key_hash_rcu(), net/ipv4/route.c; tcp_v6_connect(), net/ipv6/tcp_ipv6.c";
    CONNECT_MAPPED_ON_V6ONLY = "linux.connect.mapped-on-v6only"
        "A socket that sends IPv6 alone has no way to an IPv4-mapped address."
        "tcp_v6_connect(), net/ipv6/tcp_ipv6.c; __ip6_datagram_connect(), net/ipv6/datagram.c" => ENETUNREACH;
    CONNECT_TO_MANY = "linux.connect.to-many"
        "TCP has no way to a broadcast or multicast address."
        "tcp_v4_connect(), net/ipv4/tcp_ipv4.c; tcp_v6_connect(), net/ipv6/tcp_ipv6.c" => ENETUNREACH;
    CONNECT_NO_SOURCE = "linux.connect.no-source-address"
        "Without an IPv6 address of its own a host has none to send from, whatever the destination is."
        "ip6_dst_lookup_tail(), net/ipv6/ip6_output.c: ipv6_dev_get_saddr()" => EADDRNOTAVAIL;
    CONNECT_NO_ROUTE = "linux.connect.no-route"
        "There is no way to another host without a route."
        "ip_route_connect(), include/net/route.h; ip6_dst_lookup_flow(), net/ipv6/ip6_output.c" => ENETUNREACH;
    CONNECT_TUPLE_HELD = "linux.connect.tuple-held"
        "A socket that has a port asks for this very 4-tuple, and fails where somebody has it."
        "__inet_hash_connect(), net/ipv4/inet_hashtables.c: if (port)" => EADDRNOTAVAIL;
    CONNECT_PORTS_EXHAUSTED = "linux.connect.ports-exhausted"
        "A socket without a port fails where the search finds none for this destination."
        "__inet_hash_connect(), net/ipv4/inet_hashtables.c" => EADDRNOTAVAIL;
    TUPLE_IS_UNIQUE = "linux.connect.tuple-is-unique"
        "A 4-tuple that a socket has, in whatever state, is no other's."
        "__inet_check_established(), net/ipv4/inet_hashtables.c: not_unique";
    TIME_WAIT_WITH_TIMESTAMPS = "linux.connect.time-wait-with-timestamps"
        "An entry in TIME_WAIT is given up only if its connection had timestamps."
        "tcp_twsk_unique(), net/ipv4/tcp_ipv4.c: tw_ts_recent_stamp";
    TIME_WAIT_GIVEN_TO_A_PORT = "linux.connect.time-wait-given-to-a-bound-port"
        "A socket that has the port is given the 4-tuple of an entry in TIME_WAIT at once, whatever tcp_tw_reuse says."
        "tcp_twsk_unique(), net/ipv4/tcp_ipv4.c: twp is NULL";
    REUSE_FOR_LOOPBACK = "linux.connect.tw-reuse-for-loopback"
        "tcp_tw_reuse = 2 is for loopback addresses."
        "tcp_twsk_unique(), net/ipv4/tcp_ipv4.c: reuse == 2";
    REUSE_NOT_OF_FIN_WAIT_2 = "linux.connect.tw-reuse-not-of-fin-wait-2"
        "A search for a port takes no 4-tuple of an orphan in FIN_WAIT_2."
        "tcp_twsk_unique(), net/ipv4/tcp_ipv4.c: tw_substate == TCP_FIN_WAIT2";
    REUSE_AFTER_DELAY = "linux.connect.tw-reuse-after-a-second"
        "A search for a port takes the 4-tuple of an entry in TIME_WAIT that is older than tcp_tw_reuse_delay."
        "tcp_twsk_unique(), net/ipv4/tcp_ipv4.c";
    REUSE_AGE_IN_SECONDS = "linux.connect.tw-reuse-age-in-seconds"
        "The age of an entry in TIME_WAIT is counted in whole seconds: it may be of the second before."
        "tcp_twsk_unique(), net/ipv4/tcp_ipv4.c (6.13): ktime_get_seconds()" until (6, 14, 0);
    CONNECT_IN_PROGRESS = "linux.connect.in-progress"
        "A non-blocking connect() does not wait for the answer to its SYN, not even on loopback."
        "__inet_stream_connect(), net/ipv4/af_inet.c" => EINPROGRESS;
    CONNECT_WAITS = "linux.connect.waits"
        "A blocking connect() waits as long as its SYN is not answered."
        "inet_wait_for_connect(), net/ipv4/af_inet.c" => BLOCKED;
    CONNECT_TELLS_ERROR = "linux.connect.tells-error"
        "connect() tells why the attempt has failed, and makes a fresh socket of it."
        "__inet_stream_connect(), net/ipv4/af_inet.c: sock_error";
    CONNECT_ABORTED = "linux.connect.aborted"
        "Where another call has taken the error of the attempt, connect() still says that there is no connection."
        "__inet_stream_connect(), net/ipv4/af_inet.c: -ECONNABORTED" => ECONNABORTED;
    CONNECT_ENDS = "linux.connect.connects"
        "connect() tells once that there is a connection, whatever address it is called with."
        "__inet_stream_connect(), net/ipv4/af_inet.c" => OK;
    DISSOLVES = "linux.connect.dissolves"
        "connect() with AF_UNSPEC dissolves any association."
        "tcp_disconnect(), net/ipv4/tcp.c; __udp_disconnect(), net/ipv4/udp.c" => OK;

    // What segments do.
    SELF_CONNECT = "linux.segment.self-connect"
        "A SYN that comes back to its own socket makes a connection of it with itself."
        "tcp_rcv_synsent_state_process(), net/ipv4/tcp_input.c: simultaneous open";
    QUEUE_FULL = "linux.segment.queue-full"
        "A listener drops a SYN where more connections wait than its backlog says."
        "tcp_conn_request(), net/ipv4/tcp_input.c: sk_acceptq_is_full()";
    LISTENER_ANSWERS = "linux.segment.listener-answers"
        "A listener makes a socket of the SYN, with its own options, that has the port as well."
        "tcp_v4_syn_recv_sock(), net/ipv4/tcp_ipv4.c; __inet_inherit_port(), net/ipv4/inet_hashtables.c";
    ORPHAN_IN_FIN_WAIT_2 = "linux.segment.orphan-in-fin-wait-2"
        "A closed socket that comes into FIN_WAIT_2 becomes an entry of TIME_WAIT of that substate."
        "tcp_rcv_state_process(), net/ipv4/tcp_input.c: tcp_time_wait(sk, TCP_FIN_WAIT2)";
    RESET_REFUSES = "linux.segment.reset-refuses"
        "A reset in SYN_SENT refuses the connection."
        "tcp_reset(), net/ipv4/tcp_input.c" => ECONNREFUSED;
    RESET_AFTER_FIN = "linux.segment.reset-after-fin"
        "A reset after the peer's FIN leaves EPIPE."
        "tcp_reset(), net/ipv4/tcp_input.c: TCP_CLOSE_WAIT" => EPIPE;
    RESET_ENDS = "linux.segment.reset-ends"
        "A reset in any other state leaves ECONNRESET."
        "tcp_reset(), net/ipv4/tcp_input.c" => ECONNRESET;
    PORT_GIVEN_BACK = "linux.segment.port-given-back"
        "A socket that comes into CLOSE gives its port back, unless bind() has set the number."
        "tcp_set_state(), net/ipv4/tcp.c: SOCK_BINDPORT_LOCK";
    DISCONNECT_LEAVES_ERROR = "linux.segment.disconnect-leaves-error"
        "Who dissolves a connection or an attempt leaves ECONNRESET on the own socket."
        "tcp_disconnect(), net/ipv4/tcp.c" => ECONNRESET;
    UNACCEPTED_ARE_RESET = "linux.segment.unaccepted-are-reset"
        "When a listener goes away, the connections that nobody has accepted are reset."
        "inet_csk_listen_stop(), net/ipv4/inet_connection_sock.c";
    DATA_FOR_NOBODY = "linux.segment.data-for-nobody"
        "Data for a socket that is closed, or shut down in both directions, is answered by a reset."
        "tcp_rcv_state_process(), net/ipv4/tcp_input.c; tcp_timewait_state_process(), net/ipv4/tcp_minisocks.c";
    TIME_WAIT_ENDS = "linux.segment.time-wait-ends"
        "TIME_WAIT ends after 60 seconds, and for an orphan in FIN_WAIT_2 after tcp_fin_timeout or TCP_LINGER2."
        "tcp_time_wait(), net/ipv4/tcp_minisocks.c; tcp_fin_time(), include/net/tcp.h";

    // Calls on a connection.
    ACCEPT_NOT_A_STREAM = "linux.accept.not-a-stream"
        "A UDP socket accepts nothing."
        "sock_no_accept(), net/core/sock.c" => EOPNOTSUPP;
    ACCEPT_NOT_LISTENING = "linux.accept.not-listening"
        "A socket that does not listen accepts nothing."
        "inet_csk_accept(), net/ipv4/inet_connection_sock.c" => EINVAL;
    ACCEPT_WAITS = "linux.accept.waits"
        "accept() waits as long as there is no connection."
        "inet_csk_wait_for_connect(), net/ipv4/inet_connection_sock.c" => BLOCKED;
    ACCEPT_GIVES_THE_OLDEST = "linux.accept.gives-the-oldest"
        "accept() gives the oldest connection, even one that has been reset."
        "inet_csk_accept(), net/ipv4/inet_connection_sock.c" => OK;
    WAITS_FOR_A_TIME = "linux.receive.waits-for-a-time"
        "With SO_RCVTIMEO accept() and recv() wait no longer than that."
        "sock_rcvtimeo(), include/net/sock.h" => EAGAIN;
    ERROR_TOLD_ONCE = "linux.error.told-once"
        "An error is told once, to the call that asks first."
        "sock_error(), include/net/sock.h";
    SEND_WITHOUT_PEER = "linux.send.without-peer"
        "send() of a TCP socket that has no connection is EPIPE."
        "sk_stream_wait_connect(), net/core/stream.c" => EPIPE;
    SEND_WHILE_CONNECTING = "linux.send.while-connecting"
        "send() without waiting is EAGAIN as long as the connection is being made."
        "sk_stream_wait_connect(), net/core/stream.c" => EAGAIN;
    SEND_SHUT = "linux.send.shut-down"
        "send() on a socket that is shut down for writing is EPIPE."
        "tcp_sendmsg_locked(), net/ipv4/tcp.c: SEND_SHUTDOWN" => EPIPE;
    SEND_FULL = "linux.send.full"
        "send() without waiting is EAGAIN where the buffers are full."
        "tcp_sendmsg_locked(), net/ipv4/tcp.c: sk_stream_wait_memory()" => EAGAIN;
    SENDS = "linux.send.sends"
        "send() on a connection whose peer may still read succeeds."
        "tcp_sendmsg_locked(), net/ipv4/tcp.c" => OK;
    RECEIVE_LISTENING = "linux.receive.listening"
        "A listener receives no data."
        "tcp_recvmsg_locked(), net/ipv4/tcp.c: TCP_LISTEN" => ENOTCONN;
    RECEIVES = "linux.receive.receives"
        "recv() gives what has come."
        "tcp_recvmsg_locked(), net/ipv4/tcp.c" => OK;
    RECEIVE_END = "linux.receive.end"
        "recv() gives the end of file after the peer's FIN, which comes before any error, and after shutdown()."
        "tcp_recvmsg_locked(), net/ipv4/tcp.c: SOCK_DONE, RCV_SHUTDOWN";
    RECEIVE_WITHOUT_PEER = "linux.receive.without-peer"
        "recv() of a TCP socket in CLOSE that had no connection fails."
        "tcp_recvmsg_locked(), net/ipv4/tcp.c: TCP_CLOSE" => ENOTCONN;
    RECEIVE_WAITS = "linux.receive.waits"
        "recv() waits as long as nothing comes."
        "sk_wait_data(), net/core/sock.c" => BLOCKED;
    SO_ERROR_WAITS = "linux.so-error.waits"
        "A socket in SYN_SENT is neither writable nor in error."
        "tcp_poll(), net/ipv4/tcp.c";
    SO_ERROR_NONE = "linux.so-error.none"
        "SO_ERROR is 0 where no error is left."
        "sk_getsockopt(), net/core/sock.c" => OK;
    SHUTDOWN_WITHOUT_PEER = "linux.shutdown.without-peer"
        "shutdown() of a socket in CLOSE fails."
        "inet_shutdown(), net/ipv4/af_inet.c: TCP_CLOSE" => ENOTCONN;
    SHUTDOWN_LISTENER_WRITES = "linux.shutdown.listener-for-writing"
        "shutdown() of a listener for writing changes nothing."
        "inet_shutdown(), net/ipv4/af_inet.c: !(how & RCV_SHUTDOWN)" => OK;
    SHUTDOWN_DISCONNECTS = "linux.shutdown.disconnects"
        "shutdown() makes a fresh socket of a listener, and of one whose connection is being made."
        "inet_shutdown(), net/ipv4/af_inet.c: TCP_LISTEN, TCP_SYN_SENT" => OK;
    SHUTS_DOWN = "linux.shutdown.shuts-down"
        "shutdown() of a socket with a peer succeeds; for writing it sends a FIN."
        "inet_shutdown(), net/ipv4/af_inet.c; tcp_shutdown(), net/ipv4/tcp.c" => OK;
    CLOSE_NOT_THE_LAST = "linux.close.not-the-last"
        "A socket stays what it is as long as a process has a descriptor of it."
        "fput(), fs/file_table.c";
    CLOSE_RESETS_OVER_UNREAD = "linux.close.resets-over-unread"
        "close() over data that nobody has read sends a reset."
        "__tcp_close(), net/ipv4/tcp.c: data_was_unread";
    CLOSE_RESETS_BY_LINGER = "linux.close.resets-by-linger"
        "close() with SO_LINGER of 0 seconds sends a reset."
        "__tcp_close(), net/ipv4/tcp.c: sk_lingertime";
    CLOSES = "linux.close.closes"
        "close() succeeds; the kernel may keep the connection after it."
        "inet_release(), net/ipv4/af_inet.c" => OK;

    TABLE_LISTS_BOUND = "linux.table.lists-bound"
        "The socket table lists TCP sockets that are bound and nothing else."
        "inet_diag_dump_icsk(), net/ipv4/inet_diag.c: TCPF_BOUND_INACTIVE" since (6, 8, 0);
}
