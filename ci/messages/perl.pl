# How Perl's programs call: MODE ADDRESS PORT [SOURCE SOURCE_PORT].
use strict;
use warnings;
use Socket;
use IO::Socket::IP;
my ($mode, $address, $port, $source, $source_port) = @ARGV;
my @local = defined $source ? (LocalHost => $source, LocalPort => $source_port) : ();
if ($mode eq 'connect') {
    my $socket = IO::Socket::IP->new(PeerHost => $address, PeerPort => $port, @local)
        or die "cannot connect to $address:$port: $@";
    $socket->syswrite("hello\n");
    defined $socket->sysread(my $byte, 1) or die "read from $address:$port: $!";
} elsif ($mode eq 'raw') {
    socket(my $socket, AF_INET, SOCK_STREAM, 0) or die "socket: $!";
    connect($socket, pack_sockaddr_in($port, inet_aton($address))) or die "connect: $!";
} elsif ($mode eq 'listen') {
    IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 5)
        or die "cannot listen on port $port: $@";
} elsif ($mode eq 'raw-listen') {
    socket(my $socket, AF_INET, SOCK_STREAM, 0) or die "socket: $!";
    bind($socket, pack_sockaddr_in($port, inet_aton($address))) or die "bind: $!";
} elsif ($mode eq 'udp') {
    socket(my $socket, AF_INET, SOCK_DGRAM, 0) or die "socket: $!";
    send($socket, 'hello', 0, pack_sockaddr_in($port, inet_aton($address))) or die "send: $!";
} elsif ($mode eq 'exhaust') {
    my @all;
    for (1 .. 5000) {
        socket(my $socket, AF_INET, SOCK_STREAM, 0) or die "Can't create socket: $!";
        push @all, $socket;
    }
}
