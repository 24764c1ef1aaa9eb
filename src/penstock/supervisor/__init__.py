"""Workers, generations, the overlay and the control socket: what operates a server."""
