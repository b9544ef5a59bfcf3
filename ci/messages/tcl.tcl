# How Tcl calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT].
lassign $argv mode address port source source_port
if {$mode eq "listen"} {
    set options [list -server accept -myaddr $address $port]
} elseif {$source eq ""} {
    set options [list $address $port]
} else {
    set options [list -myaddr $source -myport $source_port $address $port]
}
if {[catch {socket {*}$options} said]} { puts stderr $said }
