(* How OCaml calls: MODE ADDRESS PORT. An error is not caught, so that OCaml prints it. *)
let () =
  let address = Unix.ADDR_INET (Unix.inet_addr_of_string Sys.argv.(2), int_of_string Sys.argv.(3)) in
  match Sys.argv.(1) with
  | "connect" -> ignore (Unix.open_connection address)
  | "listen" -> Unix.bind (Unix.socket (Unix.domain_of_sockaddr address) Unix.SOCK_STREAM 0) address
  | _ -> ignore (Unix.sendto (Unix.socket (Unix.domain_of_sockaddr address) Unix.SOCK_DGRAM 0) (Bytes.of_string "hello") 0 5 [] address)
