//! How Rust's own library calls: MODE ADDRESS PORT. `fail` prints an error as `main` does, `panic` as `unwrap` does.
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let target = (args[2].parse::<IpAddr>().unwrap(), args[3].parse::<u16>().unwrap());
    match &*args[1] {
        "connect" => {
            let mut stream = TcpStream::connect(target)?;
            stream.write_all(b"hello\n")?;
            stream.read(&mut [0])?;
        }
        "panic" => drop(TcpStream::connect(target).unwrap()),
        "say" => {
            if let Err(error) = TcpStream::connect(target) {
                eprintln!("error: failed to connect to {}:{}: {error}", target.0, target.1);
            }
        }
        "listen" => drop(TcpListener::bind(target)?),
        "panic-listen" => drop(TcpListener::bind(target).unwrap()),
        "udp" => drop(UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", target)?),
        "udp-bind" => drop(UdpSocket::bind(target)?),
        "exhaust" => {
            let _all: Vec<_> = (0..5000).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        }
        _ => {}
    }
    Ok(())
}
