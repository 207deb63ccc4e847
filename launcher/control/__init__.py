"""How a command speaks to the mesh that runs in a home: requests and replies over a Unix socket."""
