// How Go's own library calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT].
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	mode, host, port := os.Args[1], os.Args[2], os.Args[3]
	target := net.JoinHostPort(host, port)
	var err error
	var connection net.Conn
	switch mode {
	case "connect", "udp":
		network := map[string]string{"connect": "tcp", "udp": "udp"}[mode]
		dialer := net.Dialer{}
		if len(os.Args) > 5 {
			dialer.LocalAddr, _ = net.ResolveTCPAddr("tcp", net.JoinHostPort(os.Args[4], os.Args[5]))
		}
		connection, err = dialer.Dial(network, target)
		for i := 0; err == nil && i < 3; i++ {
			_, err = connection.Write([]byte("hello\n"))
			time.Sleep(50 * time.Millisecond)
			if err == nil && mode == "connect" {
				_, err = connection.Read(make([]byte, 1))
			}
		}
	case "http":
		_, err = http.Get("http://" + target + "/")
	case "listen":
		_, err = net.Listen("tcp", target)
	case "serve":
		log.Fatal(http.ListenAndServe(target, nil))
	case "udp-bind":
		_, err = net.ListenPacket("udp", target)
	case "udp-to":
		var socket net.PacketConn
		if socket, err = net.ListenPacket("udp4", ":0"); err == nil {
			address, _ := net.ResolveUDPAddr("udp", target)
			_, err = socket.WriteTo([]byte("hello"), address)
		}
	case "exhaust":
		for i := 0; err == nil && i < 100000; i++ {
			_, err = net.Dial("udp", target)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
